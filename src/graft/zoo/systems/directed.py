"""Networks and directed models without axes: deterministic and stochastic nets, belief nets, autoencoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graft.distributions.supports import Binary, Real
from graft.factors.bernoulli import Bernoulli
from graft.factors.categorical import Categorical
from graft.factors.function import Function
from graft.factors.gaussian import Gaussian
from graft.factors.mixture import Mixture
from graft.factors.priors import Normal
from graft.model import Model
from graft.zoo.system import System
from graft.zoo.systems.nets import Flip, generator, mlp


def deterministic_net() -> Model:
    """The deterministic net."""
    return Model({
        "h = x": Function(mlp(4, 5), dim=5),
        "y | h": Categorical(nn.Linear(5, 3), 3),
    }, support={"x": Real(4)})  # fmt: skip


def mixture_density_net() -> Model:
    """The mixture density network."""
    return Model({"y | x": Mixture(mlp(2, 8, 9), components=3, dim=1)}, support={"x": Real(2)})


def stochastic_net() -> Model:
    """The stochastic net."""
    return Model({
        "xn | x": Gaussian(nn.Identity(), dim=4, scale=0.1),
        "h = xn": Function(mlp(4, 5, 5), dim=5),
        "hn | h": Gaussian(nn.Identity(), dim=5, scale=0.1),
        "y | hn": Categorical(nn.Linear(5, 3), 3),
    }, support={"x": Real(4)})  # fmt: skip


def bayes_net() -> Model:
    """The Bayesian network."""
    wet = torch.tensor([[[1.0, 0.0], [0.1, 0.9]], [[0.2, 0.8], [0.01, 0.99]]])
    return Model({
        "rain": Categorical(probs=torch.tensor([0.8, 0.2])),
        "sprinkler | rain": Categorical(probs=torch.tensor([[0.6, 0.4], [0.99, 0.01]])),
        "wet | rain, sprinkler": Categorical(probs=wet),
    }, labels=dict.fromkeys(("rain", "sprinkler", "wet"), ("no", "yes")))  # fmt: skip


def sigmoid_belief_net() -> Model:
    """The sigmoid belief net."""
    return Model({
        "h2": Bernoulli(dim=3),
        "h1 | h2": Bernoulli(nn.Linear(3, 4), dim=4),
        "x | h1": Bernoulli(nn.Linear(4, 6), dim=6),
    })  # fmt: skip


def sigmoid_belief_guide() -> Model:
    """The guide of the sigmoid belief net."""
    return Model({
        "h1 | x": Bernoulli(nn.Linear(6, 4), dim=4),
        "h2 | h1": Bernoulli(nn.Linear(4, 3), dim=3),
    })  # fmt: skip


def helmholtz() -> Model:
    """The Helmholtz machine."""
    return Model({
        "h3": Bernoulli(dim=2),
        "h2 | h3": Bernoulli(nn.Linear(2, 3), dim=3),
        "h1 | h2": Bernoulli(nn.Linear(3, 4), dim=4),
        "x | h1": Bernoulli(nn.Linear(4, 6), dim=6),
    })  # fmt: skip


def helmholtz_guide() -> Model:
    """The guide of the Helmholtz machine."""
    return Model({
        "h1 | x": Bernoulli(nn.Linear(6, 4), dim=4),
        "h2 | h1": Bernoulli(nn.Linear(4, 3), dim=3),
        "h3 | h2": Bernoulli(nn.Linear(3, 2), dim=2),
    })  # fmt: skip


def vae() -> Model:
    """The variational autoencoder."""
    return Model({
        "z": Gaussian(dim=2),
        "x | z": Bernoulli(mlp(2, 8, 6), dim=6),
    })  # fmt: skip


def vae_guide() -> Model:
    """The guide of the variational autoencoder."""
    return Model({"z | x": Gaussian(mlp(6, 8, 4), dim=2)})


def semi_supervised_vae() -> Model:
    """The semi-supervised VAE."""
    return Model({
        "y": Categorical(3),
        "z": Gaussian(dim=2),
        "x | y, z": Bernoulli(mlp(5, 8, 6), dim=6),
    })  # fmt: skip


def semi_supervised_guide() -> Model:
    """The guide of the semi-supervised VAE."""
    return Model({
        "y | x": Categorical(mlp(6, 8, 3), 3),
        "z | x, y": Gaussian(mlp(9, 8, 4), dim=2),
    })  # fmt: skip


def denoising_autoencoder() -> Model:
    """The denoising autoencoder."""
    return Model({"x | noisy": Bernoulli(mlp(6, 8, 6), dim=6)}, support={"noisy": Binary(6)})


def corruption() -> Model:
    """The guide of the denoising autoencoder."""
    return Model({"noisy | x": Bernoulli(Flip(0.1), dim=6)})


def inpainting() -> Model:
    """The semantic inpainting."""
    return Model({
        "z": Gaussian(dim=2),
        "g = z": Function(generator(2), shape=(1, 4, 4)),
        "x | g": Gaussian(nn.Identity(), shape=(1, 4, 4), scale=0.1),
    })  # fmt: skip


class MovingAverage(nn.Module):
    r"""The simulator $x_t = \epsilon_t + \theta_1 \epsilon_{t-1} + \theta_2 \epsilon_{t-2}$, a test of likelihood-free
    inference (J.-M. Marin et al., Approximate Bayesian computational methods, 2012, section 2)."""

    def forward(self, theta: Tensor, noise: Tensor) -> Tensor:
        one, two = theta[..., :1], theta[..., 1:]
        return noise[..., 2:] + one * noise[..., 1:-1] + two * noise[..., :-2]


def simulator() -> Model:
    """The simulator."""
    return Model({
        "theta": Normal(torch.zeros(2), torch.ones(2)),
        "noise": Gaussian(dim=7),
        "x = theta, noise": Function(MovingAverage(), dim=5, concat=False),
    })  # fmt: skip


DIRECTED = (
    System(
        "deterministic_net",
        "deterministic net",
        "A feed-forward classifier as a graphical model: hidden layers are functions, the output is a conditional.",
        deterministic_net,
        inputs=lambda batch: {"x": torch.randn(*batch, 4)},
    ),
    System(
        "mdn",
        "mixture density network",
        "A network whose output is a mixture of Gaussians (Bishop 1994).",
        mixture_density_net,
        inputs=lambda batch: {"x": torch.randn(*batch, 2)},
    ),
    System(
        "stochastic_net",
        "stochastic net",
        "A network with noise on its input, its hidden layer and its label.",
        stochastic_net,
        inputs=lambda batch: {"x": torch.randn(*batch, 4)},
    ),
    System("bayes_net", "Bayesian network", "Rain, sprinkler and wet grass (Pearl 1988).", bayes_net),
    System(
        "sigmoid_belief_net",
        "sigmoid belief net",
        "Layers of binary units, each given the one above (Neal 1992).",
        sigmoid_belief_net,
        sigmoid_belief_guide,
    ),
    System(
        "helmholtz",
        "Helmholtz machine",
        "A deep belief net learnt with a recognition net by wake and sleep (Dayan et al. 1995).",
        helmholtz,
        helmholtz_guide,
    ),
    System(
        "vae",
        "variational autoencoder",
        "A latent vector, a decoder, and an encoder as the guide (Kingma and Welling 2014).",
        vae,
        vae_guide,
    ),
    System(
        "semi_supervised_vae",
        "semi-supervised VAE",
        "A class and a style make an image; the guide classifies (Kingma et al. 2014).",
        semi_supervised_vae,
        semi_supervised_guide,
    ),
    System(
        "dae",
        "denoising autoencoder",
        "A network restores what the guide corrupts (Vincent et al. 2008).",
        denoising_autoencoder,
        corruption,
        inputs=lambda batch: {"noisy": torch.randint(2, (*batch, 6)).to(torch.get_default_dtype())},
    ),
    System(
        "inpainting",
        "semantic inpainting",
        "The code whose image agrees with the visible pixels fills in the others (Yeh et al. 2017).",
        inpainting,
    ),
    System(
        "simulator",
        "simulator",
        "A program of parameters and noise whose output has no density: an implicit model (Marin et al. 2012).",
        simulator,
    ),
)

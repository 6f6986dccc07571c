"""Generators trained against a critic, and autoencoders that borrow one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graft.distributions.supports import Real
from graft.factors.bernoulli import Bernoulli
from graft.factors.function import Function
from graft.factors.gaussian import Gaussian
from graft.model import Model
from graft.zoo.system import System
from graft.zoo.systems.nets import generator, mlp


def gan() -> Model:
    """A generator of vectors."""
    return Model({
        "z": Gaussian(dim=2),
        "x = z": Function(mlp(2, 8, 3), dim=3),
    })  # fmt: skip


def dcgan() -> Model:
    """The DCGAN."""
    return Model({
        "z": Gaussian(dim=4),
        "x = z": Function(generator(4, side=8), shape=(1, 8, 8)),
    })  # fmt: skip


def gaussian_vae() -> Model:
    """A VAE of real vectors."""
    return Model({
        "z": Gaussian(dim=2),
        "x | z": Gaussian(mlp(2, 8, 3), dim=3, scale=0.5),
    })  # fmt: skip


def gaussian_vae_guide() -> Model:
    """The guide of a VAE of real vectors."""
    return Model({"z | x": Gaussian(mlp(3, 8, 4), dim=2)})


class RealOrFake(nn.Module):
    """Data where y is 1 (real), the generator's output where it is 0 (fake).

    Args:
        net: the generator.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, y: Tensor, z: Tensor, data: Tensor) -> Tensor:
        return torch.where(y == 1, data, self.net(z))


def augmented_vae() -> Model:
    """The adversary-activated VAE."""
    return Model({
        "y": Bernoulli(probs=0.5),
        "z": Gaussian(dim=2),
        "x | y, z, data": Gaussian(RealOrFake(mlp(2, 8, 3)), dim=3, scale=0.5, concat=False),
    }, support={"data": Real(3)})  # fmt: skip


def augmented_vae_guide() -> Model:
    """The guide of the adversary-activated VAE."""
    return Model({
        "y | x": Bernoulli(mlp(3, 8, 1), scalar=True),
        "z | x, y": Gaussian(mlp(4, 8, 4), dim=2),
    })  # fmt: skip


def augmented_gan() -> Model:
    """The importance-weighted GAN."""
    return Model({
        "y": Bernoulli(probs=0.5),
        "z": Gaussian(dim=2),
        "x = y, z, data": Function(RealOrFake(mlp(2, 8, 3)), dim=3, concat=False),
    }, support={"data": Real(3)})  # fmt: skip


def _data(batch: tuple[int, ...]) -> dict[str, Tensor]:
    return {"data": torch.randn(*batch, 3)}


ADVERSARIAL = (
    System("gan", "GAN", "A generator trained against a discriminator (Goodfellow et al. 2014).", gan),
    System("f_gan", "f-GAN", "The same generator under any f-divergence (Nowozin et al. 2016).", gan),
    System("dcgan", "DCGAN", "A convolutional generator of images (Radford et al. 2016).", dcgan),
    System(
        "unrolled_gan",
        "unrolled GAN",
        "A generator that looks ahead at its discriminator's next steps (Metz et al. 2017).",
        gan,
    ),
    System(
        "vae_gan",
        "VAE-GAN",
        "An autoencoder whose decoder also faces a discriminator (Larsen et al. 2016).",
        gaussian_vae,
        gaussian_vae_guide,
    ),
    System(
        "perceptual_vae",
        "perceptual VAE",
        "An autoencoder that compares features instead of pixels (Dosovitskiy and Brox 2016).",
        gaussian_vae,
        gaussian_vae_guide,
    ),
    System(
        "aavae",
        "adversary-activated VAE",
        "A VAE with a real/fake variable whose learnt posterior lets fakes teach (Hu et al. 2018).",
        augmented_vae,
        augmented_vae_guide,
        inputs=_data,
    ),
    System(
        "iwgan",
        "importance-weighted GAN",
        "A GAN with a real/fake variable, its samples weighted by the discriminator (Hu et al. 2018).",
        augmented_gan,
        inputs=_data,
    ),
)

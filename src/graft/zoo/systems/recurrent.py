"""Sequences of continuous values with networks that remember: VRNN, STORN, DRAW, Kalman filters, walks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graft.distributions.supports import Binary
from graft.factors.bernoulli import Bernoulli
from graft.factors.function import Function
from graft.factors.gaussian import Gaussian
from graft.factors.recurrent import Recurrent
from graft.model import Model
from graft.zoo.system import System
from graft.zoo.systems.nets import Flip, mlp


def vrnn() -> Model:
    """The variational RNN."""
    return Model({
        "z[t] | h[t-1]": Gaussian(mlp(5, 8, 4), dim=2),
        "x[t] | z[t], h[t-1]": Gaussian(mlp(7, 8, 6), dim=3),
        "h[t] = x[t], z[t], h[t-1]": Recurrent(nn.GRUCell(5, 5)),
    })  # fmt: skip


def vrnn_guide() -> Model:
    """The guide of the variational RNN."""
    return Model({"z[t] | x[t], h[t-1]": Gaussian(mlp(8, 8, 4), dim=2)})


def storn() -> Model:
    """The stochastic RNN."""
    return Model({
        "z[t]": Gaussian(dim=2),
        "h[t] = x[t-1], z[t], h[t-1]": Recurrent(nn.GRUCell(5, 5)),
        "x[t] | h[t]": Gaussian(mlp(5, 8, 6), dim=3),
    })  # fmt: skip


def storn_guide() -> Model:
    """The guide of the stochastic RNN."""
    return Model({
        "g[t] = x[t], g[t-1]": Recurrent(nn.GRUCell(3, 4)),
        "z[t] | g[t]": Gaussian(mlp(4, 8, 4), dim=2),
    })  # fmt: skip


def vrae() -> Model:
    """The variational recurrent autoencoder."""
    return Model({
        "z": Gaussian(dim=2),
        "h[0] = z": Function(mlp(2, 5), dim=5),
        "h[t] = x[t-1], h[t-1]": Recurrent(nn.GRUCell(3, 5)),
        "x[t] | h[t]": Gaussian(mlp(5, 8, 6), dim=3),
    })  # fmt: skip


def vrae_guide() -> Model:
    """The guide of the variational recurrent autoencoder."""
    return Model({
        "g[t] = x[t], g[t-1]": Recurrent(nn.GRUCell(3, 4)),
        "z | g[-1]": Gaussian(mlp(4, 8, 4), dim=2),
    })  # fmt: skip


class Paint(nn.Module):
    """The canvas after one stroke: what was there, plus what a linear map paints of the decoder's state.

    Args:
        state: length of the decoder's state.
        cells: of the canvas.
    """

    def __init__(self, state: int, cells: int) -> None:
        super().__init__()
        self.stroke = nn.Linear(state, cells)

    def forward(self, canvas: Tensor, state: Tensor) -> Tensor:
        return canvas + self.stroke(state)


class Read(nn.Module):
    """What the encoder reads: the image, what the canvas still lacks of it, and the decoder's state."""

    def forward(self, x: Tensor, canvas: Tensor, state: Tensor) -> Tensor:
        return torch.cat([x, x - canvas.sigmoid(), state], -1)


def draw() -> Model:
    """The DRAW."""
    return Model({
        "z[t]": Gaussian(dim=2),
        "h[t] = z[t], h[t-1]": Recurrent(nn.LSTMCell(2, 5)),
        "c[t] = c[t-1], h[t]": Function(Paint(5, 6), dim=6, concat=False),
        "x | c[-1]": Bernoulli(nn.Identity(), dim=6),
    })  # fmt: skip


def draw_guide() -> Model:
    """The guide of the DRAW."""
    return Model({
        "r[t] = x, c[t-1], h[t-1]": Function(Read(), dim=17, concat=False),
        "e[t] = r[t], h[t-1], e[t-1]": Recurrent(nn.LSTMCell(22, 4)),
        "z[t] | e[t]": Gaussian(mlp(4, 8, 4), dim=2),
    })  # fmt: skip


def deep_kalman_filter() -> Model:
    """The deep Kalman filter."""
    return Model({
        "z[0]": Gaussian(dim=2, learn=True),
        "z[t] | z[t-1]": Gaussian(mlp(2, 8, 4), dim=2),
        "x[t] | z[t]": Gaussian(mlp(2, 8, 6), dim=3),
    })  # fmt: skip


def smoothing_guide() -> Model:
    """A guide that reads the future backward."""
    return Model({
        "g[t] = x[t], g[t+1]": Recurrent(nn.GRUCell(3, 4)),
        "z[0] | g[0]": Gaussian(mlp(4, 8, 4), dim=2),
        "z[t] | z[t-1], g[t]": Gaussian(mlp(6, 8, 4), dim=2),
    })  # fmt: skip


class Gated(nn.Module):
    r"""A gate between a linear and a nonlinear next state: $(1 - g) \odot (W z + b) + g \odot f(z)$, and log-scales.

    Source: R. G. Krishnan et al., Structured inference networks for nonlinear state space models, AAAI 2017,
    section 3 (gated transition function).

    Args:
        dim: of the state.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate, self.proposal, self.linear = mlp(dim, 8, dim), mlp(dim, 8, dim), nn.Linear(dim, dim)
        self.log_scale = nn.Linear(dim, dim)

    def forward(self, z: Tensor) -> Tensor:
        gate, proposal = self.gate(z).sigmoid(), self.proposal(z)
        return torch.cat([(1 - gate) * self.linear(z) + gate * proposal, self.log_scale(proposal.relu())], -1)


def deep_markov_model() -> Model:
    """The deep Markov model."""
    return Model({
        "z[0]": Gaussian(dim=2, learn=True),
        "z[t] | z[t-1]": Gaussian(Gated(2), dim=2),
        "x[t] | z[t]": Bernoulli(mlp(2, 8, 6), dim=6),
    })  # fmt: skip


def deep_markov_guide() -> Model:
    """The guide of the deep Markov model."""
    return Model({
        "g[t] = x[t], g[t+1]": Recurrent(nn.GRUCell(6, 4)),
        "z[0] | g[0]": Gaussian(mlp(4, 8, 4), dim=2),
        "z[t] | z[t-1], g[t]": Gaussian(mlp(6, 8, 4), dim=2),
    })  # fmt: skip


def walkback() -> Model:
    """The walkback."""
    return Model({
        "h[0] | start": Bernoulli(Flip(0.1), dim=6),
        "h[t] | x[t-1]": Bernoulli(Flip(0.1), dim=6),
        "x[t] | h[t]": Bernoulli(mlp(6, 8, 6), dim=6),
    }, support={"start": Binary(6)})  # fmt: skip


def gsn() -> Model:
    """The generative stochastic network."""
    return Model({
        "h[0] | start": Gaussian(mlp(6, 4), dim=4, scale=0.5),
        "h[t] | x[t-1], h[t-1]": Gaussian(mlp(10, 4), dim=4, scale=0.5),
        "x[t] | h[t]": Bernoulli(mlp(4, 8, 6), dim=6),
    }, support={"start": Binary(6)})  # fmt: skip


def _start(batch: tuple[int, ...]) -> dict[str, Tensor]:
    return {"start": torch.randint(2, (*batch, 6)).to(torch.get_default_dtype())}


RECURRENT = (
    System(
        "vrnn",
        "variational RNN",
        "A VAE at every step of a recurrent net (Chung et al. 2015).",
        vrnn,
        vrnn_guide,
        sizes={"t": 4},
    ),
    System(
        "storn",
        "stochastic RNN",
        "A recurrent net with a latent vector as a further input (Bayer and Osendorfer 2015).",
        storn,
        storn_guide,
        sizes={"t": 4},
    ),
    System(
        "vrae",
        "variational recurrent autoencoder",
        "One latent vector starts a recurrent net that writes the sequence (Fabius and van Amersfoort 2015).",
        vrae,
        vrae_guide,
        sizes={"t": 4},
    ),
    System(
        "draw",
        "DRAW",
        "An image painted stroke by stroke on a canvas (Gregor et al. 2015, without attention).",
        draw,
        draw_guide,
        sizes={"t": 3},
    ),
    System(
        "deep_kalman_filter",
        "deep Kalman filter",
        "A state-space model whose transition and emission are networks (Krishnan et al. 2015).",
        deep_kalman_filter,
        smoothing_guide,
        sizes={"t": 4},
    ),
    System(
        "dmm",
        "deep Markov model",
        "The same with a gated transition, the guide reading the future backward (Krishnan et al. 2017).",
        deep_markov_model,
        deep_markov_guide,
        sizes={"t": 4},
    ),
    System(
        "walkback",
        "walkback",
        "Corrupt, denoise, repeat: a Markov chain that walks away from the data (Bengio et al. 2013).",
        walkback,
        inputs=_start,
        sizes={"t": 3},
    ),
    System(
        "gsn",
        "generative stochastic network",
        "The same with a hidden state that remembers (Bengio et al. 2014).",
        gsn,
        inputs=_start,
        sizes={"t": 3},
    ),
)

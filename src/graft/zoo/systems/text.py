"""Sequences of words: sentence autoencoders, controlled text, dialogue."""

from __future__ import annotations

from torch import nn

from graft.factors.categorical import Categorical
from graft.factors.function import Function
from graft.factors.gaussian import Gaussian
from graft.factors.recurrent import Recurrent
from graft.model import Model
from graft.zoo.system import System
from graft.zoo.systems.nets import mlp


def sentence_vae() -> Model:
    """The sentence VAE."""
    return Model({
        "z": Gaussian(dim=2),
        "h[0] = z": Function(mlp(2, 5), dim=5),
        "h[t] = w[t-1], h[t-1]": Recurrent(nn.LSTMCell(7, 5)),
        "w[t] | h[t]": Categorical(nn.Linear(5, 7), 7),
    })  # fmt: skip


def sentence_guide() -> Model:
    """The guide of the sentence VAE."""
    return Model({
        "g[t] = w[t], g[t-1]": Recurrent(nn.LSTMCell(7, 4)),
        "z | g[-1]": Gaussian(mlp(4, 8, 4), dim=2),
    })  # fmt: skip


def controlled_text() -> Model:
    """The controlled text generation."""
    return Model({
        "z": Gaussian(dim=2),
        "c": Categorical(2),
        "h[0] = z, c": Function(mlp(4, 5), dim=5),
        "h[t] = w[t-1], h[t-1]": Recurrent(nn.GRUCell(7, 5)),
        "w[t] | h[t]": Categorical(nn.Linear(5, 7), 7),
    }, labels={"c": ("negative", "positive")})  # fmt: skip


def controlled_guide() -> Model:
    """The guide of the controlled text generation."""
    return Model({
        "g[t] = w[t], g[t-1]": Recurrent(nn.GRUCell(7, 4)),
        "z | g[-1]": Gaussian(mlp(4, 8, 4), dim=2),
        "c | g[-1]": Categorical(nn.Linear(4, 2), 2),
    })  # fmt: skip


def vhred() -> Model:
    """The latent variable hierarchical encoder-decoder."""
    return Model({
        "e[n,t] = w[n,t], e[n,t-1]": Recurrent(nn.GRUCell(6, 4)),
        "c[n] = e[n,-1], c[n-1]": Recurrent(nn.GRUCell(4, 5)),
        "z[n] | c[n-1]": Gaussian(mlp(5, 8, 4), dim=2),
        "h[n,0] = z[n], c[n-1]": Function(mlp(7, 3), dim=3),
        "h[n,t] = w[n,t-1], h[n,t-1]": Recurrent(nn.GRUCell(6, 3)),
        "w[n,t] | h[n,t]": Categorical(nn.Linear(3, 6), 6),
    })  # fmt: skip


def vhred_guide() -> Model:
    """The guide of the latent variable hierarchical encoder-decoder."""
    return Model({"z[n] | c[n-1], e[n,-1]": Gaussian(mlp(9, 8, 4), dim=2)})


TEXT = (
    System(
        "sentence_vae",
        "sentence VAE",
        "One latent vector starts a recurrent net that writes a sentence (Bowman et al. 2016).",
        sentence_vae,
        sentence_guide,
        sizes={"t": 4},
    ),
    System(
        "controlled_text",
        "controlled text generation",
        "A sentence from a free code and an attribute that can be set (Hu et al. 2017).",
        controlled_text,
        controlled_guide,
        sizes={"t": 4},
    ),
    System(
        "vhred",
        "latent variable hierarchical encoder-decoder",
        "A dialogue of turns, each with a latent vector, each written word by word (Serban et al. 2017).",
        vhred,
        vhred_guide,
        sizes={"n": 2, "t": 3},
    ),
)

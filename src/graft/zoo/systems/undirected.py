"""Markov random fields, Boltzmann machines, and networks under undirected models of images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from graft.distributions.supports import Binary, Finite, Real
from graft.factors.bernoulli import Bernoulli
from graft.factors.bias import Bias
from graft.factors.bilinear import Bilinear
from graft.factors.displacement import Displacement
from graft.factors.scores import Scores
from graft.factors.tables import Table
from graft.model import Model
from graft.zoo.system import System

JOINTS = ("face", "shoulder", "elbow", "wrist")


def markov_random_field() -> Model:
    """The Markov random field."""
    return Model({
        "a, b": Table(2, 2),
        "b, c": Table(2, 2),
        "c, a": Table(2, 2),
    })  # fmt: skip


def heat_map() -> Scores:
    """One joint's log-potentials at every cell of the image."""
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 1, 3, padding=1), nn.Flatten())
    return Scores(net, states=12)


def pose() -> Model:
    """The CNN + MRF pose."""
    return Model({
        "face | image": heat_map(),
        "shoulder | image": heat_map(),
        "elbow | image": heat_map(),
        "wrist | image": heat_map(),
        "face, shoulder": Displacement(4, 3),
        "shoulder, elbow": Displacement(4, 3),
        "wrist, elbow": Displacement(4, 3),
    }, support={"image": Real(1, 4, 3), **dict.fromkeys(JOINTS, Finite((4, 3)))})  # fmt: skip


class Deconvolution(nn.Module):
    """Scores of all labels at every pixel: down by convolution, up again by transposed convolution.

    Args:
        labels: how many there are.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(4, labels, 4, stride=2, padding=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(rows, 1, height, width) to (rows, height, width, labels)."""
        return self.net(image).movedim(1, -1)


def segmentation() -> Model:
    """The CNN + CRF segmentation."""
    return Model({
        "y[i,j] | image": Scores(Deconvolution(3), states=3),
        "y[i-1,j], y[i,j]": Table(3, 3),
        "y[i,j-1], y[i,j]": Table(3, 3),
    }, support={"image": Real(1, 4, 4)})  # fmt: skip


def rbm() -> Model:
    """The restricted Boltzmann machine."""
    return Model({
        "v, h": Bilinear(4, 3),
        "v": Bias(4),
        "h": Bias(3),
    }, support={"v": Binary(4), "h": Binary(3)})  # fmt: skip


def deep_boltzmann_machine() -> Model:
    """The deep Boltzmann machine."""
    return Model({
        "v, h1": Bilinear(4, 3),
        "h1, h2": Bilinear(3, 2),
        "v": Bias(4),
        "h1": Bias(3),
        "h2": Bias(2),
    }, support={"v": Binary(4), "h1": Binary(3), "h2": Binary(2)})  # fmt: skip


def deep_belief_net() -> Model:
    """The deep belief net."""
    return Model({
        "h1, h2": Bilinear(3, 2),
        "h1": Bias(3),
        "h2": Bias(2),
        "v | h1": Bernoulli(nn.Linear(3, 4), dim=4),
    }, support={"h1": Binary(3), "h2": Binary(2)})  # fmt: skip


def _image(*shape: int) -> Any:
    return lambda batch: {"image": torch.randn(*batch, *shape)}


UNDIRECTED = (
    System("mrf", "Markov random field", "Three variables in a cycle of tables.", markov_random_field),
    System(
        "pose",
        "CNN + MRF pose",
        "Joints on heat maps of a network, tied by kernels of their displacement (Tompson et al. 2014).",
        pose,
        inputs=_image(1, 4, 3),
    ),
    System(
        "segmentation",
        "CNN + CRF segmentation",
        "Labels of pixels scored by a deconvolution net, smoothed by a grid (Noh et al. 2015, Zheng et al. 2015).",
        segmentation,
        inputs=_image(1, 4, 4),
    ),
    System(
        "rbm",
        "restricted Boltzmann machine",
        "Visible and hidden units that touch only each other (Smolensky 1986).",
        rbm,
    ),
    System(
        "dbm",
        "deep Boltzmann machine",
        "Layers of units, each touching its neighbours (Salakhutdinov and Hinton 2009).",
        deep_boltzmann_machine,
    ),
    System(
        "dbn",
        "deep belief net",
        "A Boltzmann machine on top of a directed net (Hinton et al. 2006).",
        deep_belief_net,
    ),
)

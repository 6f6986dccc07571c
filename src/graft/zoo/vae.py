r"""The variational autoencoder: $p(z) = \mathcal N(0, I)$, $p(x \mid z)$ a network, and a network as the guide.

Arms: `vae` by the bound with one draw; `iwae` by the importance-weighted bound of several draws; `full` with a guide of
full covariance; `plane` with two latent dimensions, for pictures; `grey` for real-valued images: cells made continuous
by uniform noise, a normal distribution for each, figures in bits a cell.

`graft train vae data=mnist folder=... epochs=100` repeats the figures of the docs.

Source: Kingma & Welling, Auto-encoding variational Bayes, 2014; Burda, Grosse & Salakhutdinov, Importance weighted
autoencoders, 2016, whose networks these are: two layers of 200 tanh units, 50 latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from graft.data.images import Fresh, Images, Parts, batches
from graft.errors import GraftError
from graft.evaluation.activity import active_units
from graft.evaluation.likelihood import log_likelihood
from graft.factors.bernoulli import Bernoulli
from graft.factors.gaussian import Gaussian
from graft.factors.spread import Covariance
from graft.model import Model
from graft.objectives.elbo import ELBO
from graft.objectives.importance import ImportanceWeighted
from graft.zoo.experiment.experiment import Experiment, Pair
from graft.zoo.experiment.measure import TEST_SEED, likelihood, trust
from graft.zoo.experiment.nets import from_mean, layers
from graft.zoo.experiment.settings import Settings
from graft.zoo.vae_pictures import pictures


@dataclass(frozen=True)
class Config(Settings):
    """Everything that `graft train vae` can be told.

    Args:
        latent: dimensions of z, in all arms but `plane`.
        hidden: units of both layers of both networks.
        samples: draws in the bound of `iwae`.
    """

    latent: int = 50
    hidden: int = 200
    samples: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("latent", "hidden"):
            if getattr(self, key) < 1:
                raise GraftError(f"{key} must be at least 1, not {getattr(self, key)}")
        if self.samples < 2:
            raise GraftError(f"samples must be at least 2, not {self.samples}: with one, iwae is vae")


class Grey(Fresh):
    """Batches of images whose cells are made continuous by uniform noise, anew every time."""

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        return {"x": self.images.take(torch.as_tensor(rows)).continuous()}


class VAE(Experiment[Config]):
    """See the head of this file."""

    name = "vae"
    title = "vae: test images, nats an image"
    settings = Config
    arms = ("vae", "iwae", "full", "plane", "grey")
    usual = ("vae", "iwae", "full", "plane")

    def pair(self, told: Config, arm: str, data: Parts) -> Pair:
        cells, z, hidden = data.train.cells, 2 if arm == "plane" else told.latent, (told.hidden,) * 2
        shape: Covariance = "full" if arm == "full" else "diag"
        numbers = z + z * (z + 1) // 2 if arm == "full" else 2 * z
        encoder = Gaussian(layers(cells, *hidden, numbers), dim=z, covariance=shape)
        decoder: Any
        if arm == "grey":
            decoder = Gaussian(layers(z, *hidden, 2 * cells), dim=cells)
        else:
            decoder = Bernoulli(from_mean(layers(z, *hidden, cells), data.train.pixels), dim=cells)
        return Pair(Model({"z": Gaussian(dim=z), "x | z": decoder}), Model({"z | x": encoder}))

    def objective(self, told: Config, arm: str, pair: Pair) -> nn.Module:
        if arm == "iwae":
            return ImportanceWeighted(pair.model, pair.guide, samples=told.samples)
        return ELBO(pair.model, pair.guide)

    def batches(self, told: Config, arm: str, data: Parts, seed: int) -> DataLoader[Any]:
        return batches(Grey(data.train) if arm == "grey" else Fresh(data.train), told.batch, seed)

    def figures(self, told: Config, arm: str, pair: Pair, data: Parts) -> dict[str, float]:
        if arm == "grey":
            return continuous(told, pair, data.test)
        x = data.test.spaced(told.rows).binary(TEST_SEED)
        active = active_units(pair.model, pair.guide, {"x": x}, "z")
        return {**likelihood(told, pair.model, pair.guide, data), "active units": float(active.active)}

    def pictures(self, told: Config, trained: Mapping[str, Pair], data: Parts, folder: Path) -> Sequence[Path]:
        return pictures(trained, data.test, folder)


def continuous(told: Settings, pair: Pair, test: Images) -> dict[str, float]:
    """Negative log-density of test images made continuous once, in nats; and the bits a cell that this bounds."""
    images = test.spaced(told.rows)
    x = images.continuous(torch.Generator().manual_seed(TEST_SEED))
    found = log_likelihood(pair.model, pair.guide, {"x": x}, samples=told.draws, seed=0)
    bits = -found.mean / (images.cells * math.log(2)) + math.log2(images.levels)
    return {"NLL": -found.mean, **trust(found), "bits a cell": bits}


RECIPE = VAE()

r"""The semi-supervised VAE: images of which few are labelled, and the label of the others summed out exactly.

Arms: `m2`, a label and a style make an image, $p(y)\,p(z)\,p(x \mid y, z)$, guide $q(y \mid x)\,q(z \mid x, y)$;
`m1m2`, the same over features $z_1$ of the image that a VAE has learnt from all images without labels, $p(y)\,p(z_2)\,
p(z_1 \mid y, z_2)\,p(x \mid z_1)$; `supervised`, the network of $q(y \mid x)$ alone, on the labelled images.

Protocol: a seed draws the labelled images, as many of each class, the unlabelled ones from the rest, and everything
else. All arms make as many steps and see as many labelled rows; before that, `m1m2` learns its features for as many
epochs. Images are made binary anew at every step; the classifier then reads the intensities of test images, and its
answer is the most probable label. `m2` and `supervised` had as many trials to choose their settings by
(`semi_supervised_config`), `m1m2` has those of `m2`.

`graft train semi_supervised data=mnist folder=... labels=1000 epochs=4 seeds=5` repeats the figures of the docs.

Source: Kingma, Rezende, Mohamed & Welling, Semi-supervised learning with deep generative models, 2014.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer
from torch.utils.data import DataLoader

from graft.data.images import Fresh, Images, Parts, batches
from graft.data.partly_labelled import Mixed, PartlyLabelled
from graft.model import Model
from graft.objectives.elbo import ELBO
from graft.objectives.likelihood import Likelihood
from graft.objectives.schedules import LinearSchedule
from graft.objectives.semi_supervised import SemiSupervised
from graft.zoo.experiment.experiment import Experiment, Pair
from graft.zoo.experiment.measure import TEST_SEED
from graft.zoo.semi_supervised_config import Config
from graft.zoo.semi_supervised_models import first_stage, m1m2, m2, second_stage, supervised
from graft.zoo.semi_supervised_pictures import pictures

#: Rows whose labels are all gone through at once when a bound is measured.
CHUNK = 500


class Featured(Mixed):
    """Batches of which a guide has drawn features: z1 in place of x.

    Args:
        data: both kinds of images.
        beside: labelled rows in every batch.
        guide: of z1 | x.
    """

    def __init__(self, data: PartlyLabelled, beside: int, guide: Model) -> None:
        super().__init__(data, beside)
        self.guide = guide

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        batch = super().__getitems__(rows)
        with torch.no_grad():
            return {"z1": self.guide.sample((), x=batch["x"])["z1"], "y": batch["y"]}


class SemiSupervisedVAE(Experiment[Config]):
    """See the head of this file."""

    name = "semi_supervised"
    title = "semi-supervised VAE: test images"
    settings = Config
    arms = ("m2", "m1m2", "supervised")

    def pair(self, told: Config, arm: str, data: Parts) -> Pair:
        if arm == "supervised":
            return supervised(data.train, told.hidden, told.supervised_dropout)
        if arm == "m2":
            return m2(data.train, told.hidden, told.latent, told.dropout)
        return m1m2(data.train, told.features, told.hidden, told.latent, told.dropout)

    def objective(self, told: Config, arm: str, pair: Pair) -> nn.Module:
        if pair.guide is None:
            return Likelihood(pair.model)
        learnt = second_stage(pair) if arm == "m1m2" else pair
        return SemiSupervised(learnt.model, learnt.guide, label="y", alpha=told.alpha)

    def batches(self, told: Config, arm: str, data: Parts, seed: int) -> DataLoader[Any]:
        drawn = told.drawn(data, seed)
        return batches(Mixed(drawn, told.beside, alone=arm == "supervised"), told.batch, seed)

    def optimizer(self, told: Config, arm: str, objective: nn.Module) -> Optimizer:
        if arm == "supervised":
            rate, decay = told.supervised_rate, told.supervised_decay
            return AdamW(objective.parameters(), lr=rate, weight_decay=decay, fused=True)
        return Adam((p for p in objective.parameters() if p.requires_grad), lr=told.rate, fused=True)

    def learn(self, told: Config, arm: str, pair: Pair, data: Parts, seed: int, folder: Path) -> float:
        if arm != "m1m2":
            return super().learn(told, arm, pair, data, seed, folder)
        first, drawn = first_stage(pair, told.features), told.drawn(data, seed)
        assert first.guide is not None
        feed = batches(Fresh(drawn.all), told.batch, seed)
        # without a warm-up the small images' features fall to the prior and stay there
        beta = LinearSchedule(0.0, 1.0, steps=max(1, told.epochs * len(feed) * 3 // 10))
        before = self.fitted(told, arm, ELBO(first.model, first.guide, beta=beta), feed, seed, folder / "m1")
        feed = batches(Featured(drawn, told.beside, first.guide), told.batch, seed)
        return before + self.fitted(told, arm, self.objective(told, arm, pair), feed, seed, folder)

    def figures(self, told: Config, arm: str, pair: Pair, data: Parts) -> dict[str, float]:
        right = predicted(pair, data.test) == data.test.labels
        found = {"accuracy %": 100 * float(right.double().mean())}
        return found if pair.guide is None else {**found, "-ELBO": bound_of(pair, data.test.spaced(told.rows))}

    def pictures(self, told: Config, trained: Mapping[str, Pair], data: Parts, folder: Path) -> Sequence[Path]:
        return pictures(trained, data.test, folder)


def predicted(pair: Pair, images: Images) -> Tensor:
    r"""The most probable label by $q(y \mid x)$ at the intensities of each image; by the mean of z1 where it is."""
    with torch.no_grad():
        given = {"x": images.pixels}
        if pair.guide is not None and "z1" in pair.guide.graph.variables:
            features: Any = pair.guide.given(given).marginals["z1"]
            given["z1"] = features.mean
        found: Any = (pair.guide or pair.model).given(given).marginals["y"]
        return found.probs.argmax(-1)


def bound_of(pair: Pair, images: Images) -> float:
    """Minus the bound on the log-probability of binary images without labels, in nats an image, by one draw."""
    x, bound = images.binary(TEST_SEED), ELBO(pair.model, pair.guide)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return sum(float(bound({"x": part})) * len(part) for part in x.split(CHUNK)) / len(x)


RECIPE = SemiSupervisedVAE()

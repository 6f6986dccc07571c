"""`Experiment`: a system of the zoo with its recipe, arm by arm and seed by seed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LinearLR
from torch.utils.data import DataLoader

from graft.data.images import Fresh, Parts, batches
from graft.evaluation.kinds import Kind
from graft.model import Model
from graft.training.fit import fit
from graft.training.weights import load_weights, save_weights
from graft.zoo.experiment.measure import KINDS, likelihood
from graft.zoo.experiment.settings import Settings

WEIGHTS = "weights.safetensors"
Told = TypeVar("Told", bound=Settings)


class Pair(nn.Module):
    """A model with its guide.

    Args:
        model: p.
        guide: q; None where nothing needs one.
    """

    def __init__(self, model: Model, guide: Model | None) -> None:
        super().__init__()
        self.model, self.guide = model, guide


class Experiment(ABC, Generic[Told]):
    """Arms that are trained alike and compared.

    A recipe says how an arm's model and guide are made and by what objective they are trained; the rest may be left as
    it is: fresh binary images, Adam with a rate that falls to nothing, the estimated log-likelihood of test images.

    Attributes:
        name: what commands call it.
        title: stands above its table.
        settings: the dataclass of its settings.
        arms: what can be compared.
        usual: those that are, if not told; empty for all.
        budget: the figure that all arms must have in common; None if they may differ.
        kinds: what its figures are of the quantities they stand for.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    settings: ClassVar[type[Settings]]
    arms: ClassVar[tuple[str, ...]]
    usual: ClassVar[tuple[str, ...]] = ()
    budget: ClassVar[str | None] = "epochs"
    kinds: ClassVar[Mapping[str, Kind]] = MappingProxyType(KINDS)

    @abstractmethod
    def pair(self, told: Told, arm: str, data: Parts) -> Pair:
        """An untrained model with its guide."""

    @abstractmethod
    def objective(self, told: Told, arm: str, pair: Pair) -> nn.Module:
        """What the arm is trained by."""

    def batches(self, told: Told, arm: str, data: Parts, seed: int) -> DataLoader[Any]:
        """What it is trained on."""
        return batches(Fresh(data.train), told.batch, seed)

    def optimizer(self, told: Told, arm: str, objective: nn.Module) -> Optimizer:
        """What it is trained with."""
        return Adam(objective.parameters(), lr=told.rate, fused=True)

    def figures(self, told: Told, arm: str, pair: Pair, data: Parts) -> dict[str, float]:
        """What is measured of a trained arm on test images."""
        return likelihood(told, pair.model, pair.guide, data)

    def pictures(self, told: Told, trained: Mapping[str, Pair], data: Parts, folder: Path) -> Sequence[Path]:
        """Draw what there is to be seen of the arms of the first seed; the files' paths."""
        return ()

    def trial(self, told: Told, arm: str, seed: int, folder: Path) -> dict[str, float]:
        """Train an arm with one seed, leave its weights in a folder, and measure it."""
        data = told.images()
        pair = self.started(told, arm, seed, data)
        seconds = self.learn(told, arm, pair, data, seed, folder)
        save_weights(pair, folder / WEIGHTS)
        spent = {"epochs": float(told.epochs), "seconds": seconds}
        return {**self.figures(told, arm, pair.eval(), data), **spent}

    def learn(self, told: Told, arm: str, pair: Pair, data: Parts, seed: int, folder: Path) -> float:
        """Train an arm, in one stage if a recipe does not say otherwise; the seconds that it took."""
        feed = self.batches(told, arm, data, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # an objective may have networks of its own, such as a baseline's
            objective = self.objective(told, arm, pair)
        return self.fitted(told, arm, objective, feed, seed, folder)

    def fitted(
        self, told: Told, arm: str, objective: nn.Module, feed: DataLoader[Any], seed: int, folder: Path
    ) -> float:
        """One stage of training, its checkpoints in a folder; the seconds that it took."""
        optimizer = self.optimizer(told, arm, objective)
        run = fit(
            objective,
            feed,
            epochs=told.epochs,
            optimizer=optimizer,
            schedule=LinearLR(optimizer, 1.0, 0.0, total_iters=told.epochs * len(feed)),
            schedule_each="step",
            seed=seed,
            accelerator="cpu",
            progress=False,
            folder=folder,
            resume=True,
        )
        return run.seconds

    def started(self, told: Told, arm: str, seed: int, data: Parts) -> Pair:
        """An untrained arm; the global random state stays as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.pair(told, arm, data)

    def restored(self, told: Told, arm: str, data: Parts, path: Path) -> Pair:
        """A trained arm, in evaluation mode.

        Raises:
            GraftError: the file does not hold its weights.
        """
        pair = self.started(told, arm, 0, data)
        load_weights(pair, path)
        return pair.eval()

"""When to stop before the last epoch, and which parameters to keep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from graft.errors import GraftError
from graft.training.weights import State, kept, put_back


@dataclass(frozen=True)
class EarlyStopping:
    """Stop once a figure has not improved for some epochs; the best epoch's parameters are put back at the end.

    Args:
        figure: `loss`, `valid`, or one that `watch` gives.
        better: `lower` or `higher`.
        patience: epochs in a row without a new best figure after which training stops.

    Raises:
        GraftError: `better` or `patience` is none of these.

    Example:
        >>> EarlyStopping("accuracy", better="higher").improves(0.9, on=0.8)
        True
    """

    figure: str = "valid"
    better: Literal["lower", "higher"] = "lower"
    patience: int = 3

    def __post_init__(self) -> None:
        if self.better not in ("lower", "higher"):
            raise GraftError(f"better is 'lower' or 'higher', not {self.better!r}")
        if self.patience < 1:
            raise GraftError(f"patience must be 1 or more epochs, not {self.patience}")

    def improves(self, value: float, on: float | None) -> bool:
        """Is a figure better than the best so far? One that is not finite never is."""
        if not math.isfinite(value):
            return False
        return on is None or (value < on if self.better == "lower" else value > on)

    def read(self, row: Mapping[str, float | int]) -> float:
        """The figure in a row of the log.

        Raises:
            GraftError: it is not there.
        """
        if self.figure not in row:
            raise GraftError(f"early stopping on {self.figure!r}, but the figures are {', '.join(row)}")
        return float(row[self.figure])


class Best:
    """The best epoch so far, and its parameters.

    Args:
        rule: none keeps nothing and never stops.
    """

    def __init__(self, rule: EarlyStopping | None) -> None:
        self.rule = rule
        self.value: float | None = None
        self.epoch: int | None = None
        self.waited = 0
        self.checkpoint: str | None = None
        self.weights: State | None = None

    @property
    def over(self) -> bool:
        """Has patience run out?"""
        return self.rule is not None and self.waited >= self.rule.patience

    def see(self, row: Mapping[str, float | int], module: nn.Module, checkpoint: str | None) -> None:
        """Judge an epoch, and keep its parameters if it is the best.

        Args:
            row: of the log.
            module: as it is after that epoch.
            checkpoint: the name that the epoch's checkpoint will have.
        """
        if self.rule is None:
            return
        value = self.rule.read(row)
        if not self.rule.improves(value, self.value):
            self.waited += 1
            return
        self.value, self.epoch, self.waited, self.checkpoint = value, int(row["epoch"]), 0, checkpoint
        self.weights = kept(module)

    def restore(self, module: nn.Module) -> None:
        """Put the best epoch's parameters back, if there was one."""
        if self.weights is not None:
            put_back(module, self.weights)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; the parameters are in a checkpoint of their own."""
        return {name: getattr(self, name) for name in ("value", "epoch", "waited", "checkpoint")}

"""Keeps the best epoch of a fit: the same rule for every arm."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

from torch import nn

Figures = Mapping[str, float]


class Best:
    """The weights of the epoch after which the strings of the validation data were most accurate.

    Called after every epoch, as `fit` calls its `watch`; the start counts as epoch 0, and the earliest of equal
    epochs is kept.

    Args:
        module: whose weights are kept.
        measure: figures on validation data, of the weights as they are.
        watch: told of every epoch and its figures.
        by: the figure that is to be high.

    Example:
        >>> layer, values = nn.Linear(1, 1), iter([1.0, 3.0, 2.0])
        >>> best = Best(layer, lambda: {"accuracy %": next(values)})
        >>> _ = [best(epoch) for epoch in (1, 2)]
        >>> best.restore()
        1
    """

    def __init__(
        self,
        module: nn.Module,
        measure: Callable[[], Figures],
        watch: Callable[[int, Figures], None] = lambda epoch, figures: None,
        by: str = "accuracy %",
    ) -> None:
        self.module, self.measure, self.watch, self.by = module, measure, watch, by
        self.epoch, self.value = 0, float("-inf")
        self.weights = copy.deepcopy(module.state_dict())
        self(0)

    def __call__(self, epoch: int) -> Figures:
        found = self.measure()
        self.watch(epoch, found)
        if found[self.by] > self.value:
            self.epoch, self.value = epoch, found[self.by]
            self.weights = copy.deepcopy(self.module.state_dict())
        return found

    def restore(self) -> int:
        """Put the kept weights back; returns their epoch."""
        self.module.load_state_dict(self.weights)
        return self.epoch

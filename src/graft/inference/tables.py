"""Log-factors as tables over the discrete unknowns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from graft.graph.terms import Term
from graft.inference.frame import Frame
from graft.inference.values import Value


@dataclass(frozen=True, eq=False)
class LogTable:
    """A log-factor at all states of its unknowns.

    Attributes:
        slots: the terms of unknowns, one leading dimension each.
        letters: its axes.
        tensor: (slots, batch, letters); batch and letters may have size 1 where nothing varies, letters the size of
            their window.
        window: the elements of each axis at which the factor stands.
        valid: (batch, letters), whole axes or size 1: where it really stands; None if everywhere in its window.
        evidence: whether it scores something observed (or weighs states), rather than an unknown.
        natural: whether existence alone decides where in its window it stands.
    """

    slots: tuple[Term, ...]
    letters: tuple[str, ...]
    tensor: Tensor
    window: Mapping[str, tuple[int, int]]
    valid: Tensor | None = None
    evidence: bool = False
    natural: bool = False

    def dense(self, frame: Frame, sizes: Mapping[str, int]) -> Tensor:
        """(slots, batch, letters) with whole axes, 0 where the factor does not stand."""
        tensor, lead = self.tensor, len(self.slots)
        for place, letter in enumerate(self.letters):
            dim, size = lead + frame.rank + place, sizes[letter]
            low, high = self.window.get(letter, (0, size))
            tensor = tensor.expand(*tensor.shape[:dim], high - low, *tensor.shape[dim + 1 :])
            if (low, high) != (0, size):
                pad = [0, 0] * (tensor.dim() - dim - 1) + [low, size - high]
                tensor = torch.nn.functional.pad(tensor, pad)
        if self.valid is None:
            return tensor
        return torch.where(self.valid, tensor, torch.zeros((), dtype=tensor.dtype, device=tensor.device))

    def ordered(self, slots: tuple[Term, ...]) -> LogTable:
        """The same table with its leading dimensions in the order of `slots`."""
        if slots == self.slots:
            return self
        return replace(self, slots=slots, tensor=Value(self.tensor, self.slots).aligned(slots))

    def with_tensor(self, tensor: Tensor) -> LogTable:
        return replace(self, tensor=tensor)

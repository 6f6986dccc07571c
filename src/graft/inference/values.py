"""A value that may stand for several at once: one leading dimension per enumerated term."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from graft.graph.terms import Term


@dataclass(frozen=True)
class Value:
    """A tensor with its enumerated terms.

    Attributes:
        tensor: (slots, batch, axes, event); batch and axes may have size 1 where nothing varies.
        slots: the terms whose states run along the leading dimensions.
    """

    tensor: Tensor
    slots: tuple[Term, ...] = ()

    def aligned(self, slots: Sequence[Term]) -> Tensor:
        """The tensor with its leading dimensions in the order of `slots`, size 1 for those it lacks."""
        kept = [slot for slot in slots if slot in self.slots]
        rest = range(len(self.slots), self.tensor.dim())
        tensor = self.tensor.permute(
            (
                *(self.slots.index(slot) for slot in kept),
                *rest,
            )
        )
        for place, slot in enumerate(slots):
            if slot not in self.slots:
                tensor = tensor.unsqueeze(place)
        return tensor


def union(values: Sequence[Value]) -> tuple[Term, ...]:
    """All slots of several values, in order of first appearance."""
    return tuple(dict.fromkeys(slot for value in values for slot in value.slots))

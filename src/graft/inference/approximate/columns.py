"""Where a table stands: all its elements side by side, by arithmetic on whole axes and never one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from graft.graph.terms import Axis, Element, Index, Term
from graft.inference.problem import Problem

#: The element number of what is outside the sequence.
OUTSIDE = -1

#: A last element that rows have at different places: its letter, its position, and the terms' indices left of it.
_End = tuple[str, int, tuple[Index, ...]]


@dataclass(frozen=True, eq=False)
class Columns:
    """The elements of a table's axes at which it stands, one column each.

    Attributes:
        of: the place of each column in the window, counted row by row over the letters.
        numbers: per slot, the element of its variable, counted row by row over its axes; `OUTSIDE` if there is none.
        rows: in which rows of the batch a column stands; None if in all. A last element that rows have at different
            places has one column for each.
    """

    of: Int[Tensor, " columns"]
    numbers: tuple[Int[Tensor, " columns"], ...]
    rows: Bool[Tensor, "batch columns"] | None


def columns(
    problem: Problem, slots: Sequence[Term], letters: Sequence[str], window: Mapping[str, tuple[int, int]]
) -> Columns:
    """The columns of a table.

    Args:
        problem: whose unknowns the slots are of.
        slots: the terms.
        letters: the axes.
        window: the elements of each axis at which the table stands.
    """
    found = _Columns(problem, letters, window)
    for slot in slots:
        found.split(slot)
    return Columns(found.of, tuple(found.number(slot) for slot in slots), found.rows)


class _Columns:
    """Columns while they are built: places on the letters, and of last elements chosen so far."""

    def __init__(self, problem: Problem, letters: Sequence[str], window: Mapping[str, tuple[int, int]]) -> None:
        self.problem, self.device = problem, problem.frame.device
        ranges = [window.get(x, (0, problem.sizes[x])) for x in letters]
        shape = [high - low for low, high in ranges]
        self.of = torch.arange(prod(shape), device=self.device)
        self.rows: Tensor | None = None
        self.places: dict[str | _End, Tensor] = {}
        for i, (letter, (low, high)) in enumerate(zip(letters, ranges, strict=True)):
            steps = torch.arange(low, high, device=self.device).reshape(-1, *(1,) * (len(shape) - i - 1))
            self.places[letter] = steps.expand(shape).reshape(-1)

    def number(self, slot: Term) -> Tensor:
        """The element of its variable that a slot stands for."""
        number = torch.zeros_like(self.of)
        inside = torch.ones_like(self.of, dtype=torch.bool)
        for i, letter in enumerate(self.problem.unknowns[slot.name].axes):
            place, size = self._place(slot, i), self.problem.sizes[letter]
            inside &= (place >= 0) & (place < size)
            number = number * size + place
        return torch.where(inside, number, OUTSIDE)

    def _place(self, slot: Term, i: int) -> Tensor:
        """The place of a slot on the axis of its i-th index."""
        letter, index = self.problem.unknowns[slot.name].axes[i], slot.indices[i]
        if isinstance(index, Axis):
            return self.places[letter] + index.offset
        assert isinstance(index, Element)
        if self._ragged(letter, index):
            return self.places[self._end(slot, i)]
        position = index.position if index.position >= 0 else self.problem.sizes[letter] + index.position
        return torch.full_like(self.of, position)

    def _ragged(self, letter: str, index: Element) -> bool:
        return index.position < 0 and letter in self.problem.frame.existence

    def _end(self, slot: Term, i: int) -> _End:
        axes = self.problem.unknowns[slot.name].axes
        index = slot.indices[i]
        assert isinstance(index, Element)
        left = self.problem.frame.existence[axes[i]].left
        outer = tuple(other for x, other in zip(axes, slot.indices, strict=True) if x in left)
        return axes[i], index.position, outer

    def split(self, slot: Term) -> None:
        """Give each place that a slot's last elements take in some row a column of its own."""
        for i, letter in enumerate(self.problem.unknowns[slot.name].axes):
            index = slot.indices[i]
            if isinstance(index, Element) and self._ragged(letter, index):
                end = self._end(slot, i)
                if end not in self.places:
                    self._split(end, self._last(slot, i, index.position))

    def _last(self, slot: Term, i: int, position: int) -> Tensor:
        """(batch, columns): the place of a last element in each row; -1 if there is none."""
        axes = self.problem.unknowns[slot.name].axes
        found = self.problem.frame.existence[axes[i]]
        lengths = found.lengths.reshape(prod(self.problem.frame.batch), *(self.problem.sizes[x] for x in found.left))
        outer = [self._place(slot, axes.index(x)) for x in found.left]
        sizes = [self.problem.sizes[x] for x in found.left]
        inside = torch.ones_like(self.of, dtype=torch.bool)
        for place, size in zip(outer, sizes, strict=True):
            inside &= (place >= 0) & (place < size)
        where: tuple[Tensor, ...] = tuple(p.clamp(0, max(n - 1, 0)) for p, n in zip(outer, sizes, strict=True))
        mine = (
            lengths.flatten(1)[:, _ravelled(where, sizes)] if where else lengths.unsqueeze(-1).expand(-1, len(self.of))
        )
        return torch.where(inside, mine + position, -1).clamp_min(-1)

    def _split(self, end: _End, last: Tensor) -> None:
        choices = last.unique()
        here = last.unsqueeze(-1) == choices  # (batch, columns, choices)
        if self.rows is not None:
            here &= self.rows.unsqueeze(-1)
        column, choice = here.any(0).nonzero(as_tuple=True)
        self.of = self.of[column]
        self.places = {key: place[column] for key, place in self.places.items()}
        self.places[end] = choices[choice]
        self.rows = here[:, column, choice]


def _ravelled(places: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """Places on several axes as one number, row by row."""
    number = torch.zeros_like(places[0])
    for place, size in zip(places, sizes, strict=True):
        number = number * size + place
    return number

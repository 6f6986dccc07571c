"""A component that is a chain, as the unary and pairwise potentials of a `LinearChain`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from graft.graph.terms import Axis, Element
from graft.inference.arrange import arranged
from graft.inference.plan import Chain
from graft.inference.problem import Problem
from graft.inference.tables import LogTable
from graft.ops.dense import sum_from
from graft.structured.linear_chain import LinearChain


class ChainTables:
    """Collects the tables of a chain.

    A table may look outside the sequence, at either end and per row: it does not vary with the state of what is not
    there, and so falls back to one slot fewer.

    Args:
        problem: what is summed.
        step: the chain.
        tables: all log-tables by number.

    Attributes:
        constant: (batch, common): what stood wholly outside.
    """

    def __init__(self, problem: Problem, step: Chain, tables: Mapping[int, LogTable]) -> None:
        self.problem, self.step, self.tables = problem, step, tables
        self.frame, self.letter = problem.frame, step.letter
        unknown = problem.unknowns[step.name]
        self.size, self.states = problem.sizes[step.letter], unknown.states
        self.place = unknown.axes.index(step.letter)
        self.rest = (*self.frame.batch, *(problem.sizes[x] for x in step.common))
        self.lengths = self._lengths()
        options = {"dtype": self.frame.dtype, "device": self.frame.device}
        self.zero = torch.zeros((), **options)  # type: ignore[call-overload]
        self.constant = torch.zeros(self.rest, **options)  # type: ignore[call-overload]
        self.unary = torch.zeros((*self.rest, self.size, self.states), **options)  # type: ignore[call-overload]
        self.pairwise: Tensor | None = None

    def build(self) -> LinearChain:
        static: Tensor | None = None
        for number in self.step.tables:
            table = self.tables[number]
            if len(table.slots) == 1:
                self._one(table)
            elif (still := self._static(table)) is not None:
                static = still if static is None else static + still
            else:
                self._two(table)
        pairwise = self.unary.new_zeros((self.states, self.states)) if static is None else static
        if self.pairwise is not None:
            pairwise = self.pairwise + pairwise
        return LinearChain(self.unary, pairwise, lengths=self.lengths)

    def _lengths(self) -> Tensor | None:
        """(batch, common); none of the elements of a chain that is itself removed exists."""
        lengths = self.frame.lengths(self.letter, self.step.common)
        there = self.frame.exists(tuple(x for x in self.step.common if x in self.frame.sizes))
        if there is not None:
            there = there.reshape(*there.shape, *(1,) * (len(self.rest) - there.dim()))
            lengths = torch.where(there, self.size if lengths is None else lengths, 0)
        return None if lengths is None else lengths.expand(self.rest)

    def _moved(self, table: LogTable, letters: tuple[str, ...]) -> Tensor:
        """(batch, letters, slots)."""
        tensor = arranged(self.problem, table, letters)
        return tensor.movedim(tuple(range(len(table.slots))), tuple(range(-len(table.slots), 0)))

    def _exists(self, places: Tensor) -> Tensor:
        """Which places exist, (batch, common, places) or less."""
        end = self.size if self.lengths is None else self.lengths.unsqueeze(-1)
        return (places >= 0) & (places < end)

    def _steps(self, offset: int) -> Tensor:
        return torch.arange(self.size, device=self.frame.device) + offset

    def _leaves(self, table: LogTable, offsets: Sequence[int]) -> bool:
        """Whether a table may look outside the sequence."""
        low, high = table.window.get(self.letter, (0, self.size))
        ragged = self.lengths is not None and max(offsets) > 0
        return low + min(offsets) < 0 or high + max(offsets) > self.size or ragged

    def _one(self, table: LogTable) -> None:
        index = table.slots[0].indices[self.place]
        if isinstance(index, Element):
            self._single(self._moved(table, self.step.common), index.position)
            return
        assert isinstance(index, Axis)
        tensor = self._moved(table, (*self.step.common, self.letter))
        if index.offset and self._leaves(table, [index.offset]):
            tensor = self._inside(tensor, self._exists(self._steps(index.offset)))
        self.unary = self.unary + _rolled(tensor, index.offset)

    def _inside(self, tensor: Tensor, alive: Tensor) -> Tensor:
        """Where the slot exists; the rest of (batch, common, T, S) adds to the constant."""
        lost = torch.where(alive, self.zero, tensor[..., 0])
        self.constant = self.constant + sum_from(lost.expand(*self.rest, self.size), len(self.rest))
        return torch.where(alive.unsqueeze(-1), tensor, self.zero)

    def _single(self, tensor: Tensor, position: int) -> None:
        """A table (batch, common, S) of one element."""
        end = torch.tensor(self.size, device=self.frame.device) if self.lengths is None else self.lengths
        place = (end + position if position < 0 else torch.full_like(end, position)).unsqueeze(-1)
        there = self._exists(place)
        self.constant = self.constant + torch.where(there.squeeze(-1), self.zero, tensor[..., 0])
        here = there & (self._steps(0) == place)
        self.unary = self.unary + torch.where(here.unsqueeze(-1), tensor.unsqueeze(-2), self.zero)

    def _offsets(self, table: LogTable) -> tuple[int, int]:
        one, two = (slot.indices[self.place] for slot in table.slots)
        assert isinstance(one, Axis) and isinstance(two, Axis)
        return one.offset, two.offset

    def _static(self, table: LogTable) -> Tensor | None:
        """(S, S) if a table is the same at every step and in every row."""
        low, high = table.window.get(self.letter, (0, self.size))
        one, two = self._offsets(table)
        reach = (max(0, -one, -two), self.size - max(0, one, two))
        flat = all(n == 1 for n in table.tensor.shape[2:])
        if not (table.natural and flat and (low, high) == reach and low + max(one, two) == 1):
            return None
        tensor = table.tensor.reshape(table.tensor.shape[:2])
        return tensor if one < two else tensor.T

    def _two(self, table: LogTable) -> None:
        """A table of neighbours; entry t couples the elements up to t + the greater offset."""
        one, two = self._offsets(table)
        tensor = self._moved(table, (*self.step.common, self.letter))
        tensor = tensor if one < two else tensor.mT
        early, late = min(one, two), max(one, two)
        if self._leaves(table, [early, late]):
            tensor = self._both(tensor, early, late)
        pairs = _rolled(tensor.flatten(-2), late).unflatten(-1, tensor.shape[-2:])[..., 1:, :, :]
        self.pairwise = pairs if self.pairwise is None else self.pairwise + pairs

    def _both(self, tensor: Tensor, early: int, late: int) -> Tensor:
        """Where both slots exist; where one does, the table is unary there."""
        first, second = self._exists(self._steps(early)), self._exists(self._steps(late))
        for alone, other, offset, values in (
            (first, second, early, tensor[..., 0]),
            (second, first, late, tensor[..., 0, :]),
        ):
            lonely = torch.where((alone & ~other).unsqueeze(-1), values, self.zero)
            self.unary = self.unary + _rolled(lonely, offset)
        self._inside(tensor[..., 0], first | second)
        return torch.where((first & second)[..., None, None], tensor, self.zero)


def _rolled(tensor: Tensor, offset: int) -> Tensor:
    """(..., T, S): entry t moves to t + offset; what moves in is 0."""
    if offset == 0:
        return tensor
    size = tensor.shape[-2]
    pad = (0, 0, offset, 0) if offset > 0 else (0, 0, 0, -offset)
    padded = torch.nn.functional.pad(tensor, pad)
    return padded[..., :size, :] if offset > 0 else padded[..., -offset:, :]

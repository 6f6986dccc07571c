"""A tree carried out by torch in linear space and double precision: matrix products, differentiable to any order."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from graft.ops.contraction.tree import Key, Pair, Tree

#: As in the compiled kernels: the smallest normal number, and what may be missing relative to 1.
TINY, PROVEN = 2.3e-308, 1e-13


def linear_space(tables: Sequence[Tensor], tree: Tree) -> tuple[Tensor, Tensor]:
    """The log of the sum of every row, and for which rows that and its derivatives are proven.

    Args:
        tables: log-tables, (states of the scope, rows or 1).
        tree: to be followed.
    """
    run = _Run(tree)
    for number, table in enumerate(tables):
        run.enter(number, table)
    for place, pair in enumerate(tree.pairs):
        run.join(tree.inputs + place, pair)
    return run.value(), run.proven()


class _Run:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.tables: dict[int, Tensor] = {}
        self.log = torch.zeros(1, dtype=torch.float64)
        #: per table (rows): greatest entry, what may be missing of an entry, what the table was divided by
        self.peaks: dict[int, Tensor] = {}
        self.lost: dict[int, Tensor] = {}
        self.divisors: dict[int, Tensor] = {}

    def enter(self, number: int, table: Tensor) -> None:
        wide = table.double()
        high = _peak(wide.detach())
        high = torch.where(torch.isfinite(high), high, 0.0)
        self.log = self.log.to(table.device) + high
        self.tables[number] = (wide - high).exp()
        self.peaks[number] = torch.ones_like(high)
        self.lost[number] = torch.full_like(high, TINY)

    def join(self, number: int, pair: Pair) -> None:
        found = self._product(pair)
        peak = _peak(found.detach())
        safe = torch.where((peak > 0) & torch.isfinite(peak), peak, 1.0)
        self.tables[number] = found / safe
        self.log = self.log + safe.log()
        a, b = self._bounds(pair.left), self._bounds(pair.right)
        gone = a[1] * b[0] + b[1] * a[0] + a[1] * b[1] + TINY
        count = self.tree.entries(pair.summed)
        self.peaks[number], self.lost[number], self.divisors[number] = peak / safe, count * gone / safe, safe

    def _bounds(self, number: int | None) -> tuple[Tensor, Tensor]:
        if number is None:
            return torch.ones_like(self.log[:1]), torch.zeros_like(self.log[:1])
        return self.peaks[number], self.lost[number]

    def _product(self, pair: Pair) -> Tensor:
        left = self.tables[pair.left]
        scope = self.tree.scopes[pair.left]
        if pair.right is None:
            order = [scope.index(key) for key in (*pair.keys, *pair.summed)]
            count = len(pair.keys)
            found = left.permute((*order, len(scope)))
            return found.sum(tuple(range(count, len(scope)))) if pair.summed else found
        return self._matrices(pair, left, self.tables[pair.right])

    def _matrices(self, pair: Pair, left: Tensor, right: Tensor) -> Tensor:
        """A batch of matrix products over the keys of both, and over the rows if both have them."""
        states, scopes = self.tree.states, self.tree.scopes
        rows = max(left.shape[-1], right.shape[-1])
        together = left.shape[-1] == right.shape[-1]
        a = _grouped(left, scopes[pair.left], [pair.both, pair.first, pair.summed])
        b = _grouped(right, scopes[pair.right or 0], [pair.both, pair.summed, pair.second])
        sizes = [prod(states[key] for key in keys) for keys in (pair.both, pair.first, pair.summed, pair.second)]
        both, first, summed, second = sizes
        shapes = [[states[key] for key in keys] for keys in (pair.both, pair.first, pair.second)]
        if together:  # (both, rows) x (first, summed) x (summed, second)
            a = a.movedim(-1, 1).reshape(both * rows, first, summed)
            b = b.movedim(-1, 1).reshape(both * rows, summed, second)
            found = torch.bmm(a, b).reshape(*shapes[0], rows, *shapes[1], *shapes[2])
            return found.movedim(len(shapes[0]), -1)
        if left.shape[-1] > 1:
            a, b = a.movedim(-1, 1).reshape(both, rows * first, summed), b.reshape(both, summed, second)
            found = torch.bmm(a, b).reshape(*shapes[0], rows, *shapes[1], *shapes[2])
            return found.movedim(len(shapes[0]), -1)
        a, b = a.reshape(both, first, summed), b.reshape(both, summed, second * rows)
        return torch.bmm(a, b).reshape(*shapes[0], *shapes[1], *shapes[2], rows)

    def value(self) -> Tensor:
        total = self.log
        for root in self.tree.roots:
            total = total + self.tables[root].log()
        return total

    def proven(self) -> Tensor:
        """Where nothing that counts can have been lost, in the sum and in its derivatives."""
        steep: dict[int, Tensor] = {}
        missing: dict[int, Tensor] = {}
        good = torch.ones_like(self.log, dtype=torch.bool)
        for root in self.tree.roots:
            value = self.tables[root].detach()
            good = good & (self.lost[root] <= PROVEN * value)
            steep[root] = 1 / value
            missing[root] = self.lost[root] / value / value + TINY
        for place in range(len(self.tree.pairs) - 1, -1, -1):
            self._back(place, steep, missing)
        for number in range(self.tree.inputs):
            here = (self.peaks[number] + self.lost[number]) * missing[number] + self.lost[number] * steep[number]
            good = good & (here <= PROVEN)
        return good

    def _back(self, place: int, steep: dict[int, Tensor], missing: dict[int, Tensor]) -> None:
        pair, number = self.tree.pairs[place], self.tree.inputs + place
        slope, gone = steep[number] / self.divisors[number], missing[number] / self.divisors[number] + TINY
        for mine, other, keys in ((pair.left, pair.right, pair.second), (pair.right, pair.left, pair.first)):
            if mine is None:
                continue
            peak, lost = self._bounds(other)
            count = self.tree.entries(keys)
            steep[mine] = count * slope * peak
            missing[mine] = count * (gone * peak + (slope + gone) * lost + TINY)


def _peak(table: Tensor) -> Tensor:
    """(rows): the greatest entry."""
    return table.reshape(prod(table.shape[:-1]), table.shape[-1]).amax(0)


def _grouped(table: Tensor, scope: tuple[Key, ...], groups: Sequence[Sequence[Key]]) -> Tensor:
    """Axes in the order of the groups, each group one axis, the rows last."""
    order = [scope.index(key) for keys in groups for key in keys]
    sizes = [prod(table.shape[scope.index(key)] for key in keys) for keys in groups]
    return table.permute((*order, len(scope))).reshape(*sizes, table.shape[-1])

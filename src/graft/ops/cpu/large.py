"""Rows with pairs so large that matrix products of torch take them, the compiled loops the others."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from graft.ops.contraction.layout import Axes, Layout
from graft.ops.cpu import contract


class LargeSweep:
    """The pairs of one row, forwards and backwards.

    Args:
        layout: of the tree.
        memory: tables, derivatives, and bounds.
    """

    def __init__(self, layout: Layout, memory: tuple[np.ndarray, ...]) -> None:
        self.layout, self.memory = layout, memory
        self.x, self.g = (torch.from_numpy(one) for one in memory[:2])
        edges = [0, *(at for place in sorted(layout.large) for at in (place, place + 1)), len(layout.row_pairs)]
        #: (first, last) of runs of pairs; a large pair is a run of its own
        self.runs = [(a, b) for a, b in pairwise(edges) if a < b]

    def forward(self) -> float:
        """As `contract.forward`."""
        x, _, *bounds = self.memory
        layout, total = self.layout, 0.0
        for first, last in self.runs:
            if first in layout.large:
                total += self._made(first)
            else:
                pairs = layout.row_pairs[first:last]
                total += contract.forward(x, pairs, layout.index, layout.tables, *bounds[:3])
            if total != total:
                break
        return total

    def _operand(self, memory: Tensor, number: int, axes: Axes) -> Tensor:
        _, at, size = self.layout.tables[number].tolist()
        sizes, order, groups = axes
        return memory[at : at + size].view(sizes).permute(order).reshape(groups)

    def _made(self, place: int) -> float:
        pair, large = self.layout.row_pairs[place].tolist(), self.layout.large[place]
        a, b, c, *_ = pair
        _, _, peaks, lost, factors, _, _ = self.memory
        found = multiply(self._operand(self.x, a, large.left), self._operand(self.x, b, large.right))
        high = float(found.max())
        if not contract.TINY <= high < np.inf:
            return np.nan
        scale = 1.0 if contract.LOW < high < contract.HIGH else high
        _, at, size = self.layout.tables[c].tolist()
        torch.div(found.reshape(-1), scale, out=self.x[at : at + size])
        gone = lost[a] * peaks[b] + lost[b] * peaks[a] + lost[a] * lost[b] + contract.TINY
        peaks[c], lost[c], factors[c] = high / scale, pair[5] * gone / scale, 1.0 / scale
        return float(np.log(scale))

    def backward(self, weight: float) -> None:
        """As `contract.backward`."""
        x, g, *bounds = self.memory
        layout = self.layout
        for first, last in reversed(self.runs):
            if first in layout.large:
                self._back(first, weight)
            else:
                pairs = layout.row_pairs[first:last]
                contract.backward(x, g, weight, pairs, layout.index, layout.tables, *bounds)

    def _back(self, place: int, weight: float) -> None:
        pair, large = self.layout.row_pairs[place].tolist(), self.layout.large[place]
        a, b, c, both, first, _, second, *_ = pair
        _, _, peaks, lost, factors, steep, missing = self.memory
        _, at, size = self.layout.tables[c].tolist()
        slope = self.g[at : at + size].mul_(factors[c]).view(both, first, second)
        steepest, gone = float(slope.abs().max()), missing[c] * factors[c] + contract.TINY
        left, right = self._operand(self.x, a, large.left), self._operand(self.x, b, large.right)
        for mine, other, axes, count, found in (
            (a, b, large.left, second, multiply(slope, right.mT)),
            (b, a, large.right, first, multiply(left.mT, slope)),
        ):
            scale = 1.0 if self.layout.tables[mine, 0] else weight
            self._add(mine, axes, found, scale)
            steep[mine] += abs(scale) * count * steepest * peaks[other]
            more = gone * peaks[other] + (steepest + gone) * lost[other] + contract.TINY
            missing[mine] += abs(scale) * count * more

    def _add(self, number: int, axes: Axes, found: Tensor, scale: float) -> None:
        _, at, size = self.layout.tables[number].tolist()
        sizes, order, _ = axes
        ordered = found.reshape([sizes[place] for place in order])
        back = [order.index(place) for place in range(len(order))]
        self.g[at : at + size].view(sizes).add_(ordered.permute(back), alpha=scale)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """(both, first, summed) by (both, summed, second); single products and inner products are not left to matrices."""
    if a.shape[2] == 1:
        return a * b
    if a.shape[0] == 1:
        return torch.mm(a[0], b[0]).unsqueeze(0)
    if a.shape[1] == 1 and b.shape[2] == 1:
        return (a * b.mT).sum(2, keepdim=True)
    return torch.bmm(a, b)

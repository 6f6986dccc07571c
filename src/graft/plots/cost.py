"""How well a layout reads: what must not be, and what had better be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import networkx as nx
import numpy as np

from graft.plots.geometry import Array, closeness, crossing, overlaps, rectangles
from graft.plots.marks import Box, Edge, Symbol

#: Inches from one row to the next.
ROW = 0.9
_LOOP = 0.3


class Cost:
    """The cost of many layouts at once; hard faults cost hundreds, blemishes a few.

    Args:
        symbols: what is to be placed.
        edges: between them.
        boxes: the innermost first.
        room: more width for every symbol, where texts will stand beside it.
    """

    def __init__(
        self, symbols: Sequence[Symbol], edges: Sequence[Edge], boxes: Sequence[Box], room: float = 0.0
    ) -> None:
        place = {s.key: k for k, s in enumerate(symbols)}
        self.half = np.array([s.half for s in symbols])
        factor = np.array([s.kind == "factor" for s in symbols])
        # arrowheads and notes need air around variables
        self.air = self.half + np.where(factor, 0.1, 0.22)[:, None] + np.array([room, 0.0])
        looped = [e.source == e.target for e in edges]
        self.reach = self.half + 0.02
        for edge, loop in zip(edges, looped, strict=True):
            if loop or not edge.source:
                self.reach[place[edge.target]] = self.half[place[edge.target]] + _LOOP
        self.members = [[place[key] for key in box.members] for box in boxes]
        self._pairs(len(symbols))
        self._edges(edges, place)
        self._preferences(symbols, edges, place)
        self._lined_up(edges, place)
        self.stars = _stars(edges, place)

    def _pairs(self, count: int) -> None:
        self.pairs = np.array(list(combinations(range(count), 2)), dtype=int).reshape(-1, 2)
        boxes = range(len(self.members))
        self.strangers = np.array(
            [(k, v) for k in boxes for v in range(count) if v not in self.members[k]], dtype=int
        ).reshape(-1, 2)
        self.apart = np.array(
            [(j, k) for j, k in combinations(boxes, 2) if not set(self.members[j]) & set(self.members[k])],
            dtype=int,
        ).reshape(-1, 2)

    def _edges(self, edges: Sequence[Edge], place: dict[str, int]) -> None:
        found = {tuple(sorted((place[e.source], place[e.target]))) for e in edges if e.source and e.source != e.target}
        ends = sorted(found)
        self.ends = np.array(ends, dtype=int).reshape(-1, 2)
        count = len(self.half)
        self.passing = np.array(
            [(k, v) for k, pair in enumerate(ends) for v in range(count) if v not in pair], dtype=int
        ).reshape(-1, 2)
        self.crossings = np.array(
            [(j, k) for j, k in combinations(range(len(ends)), 2) if not set(ends[j]) & set(ends[k])],
            dtype=int,
        ).reshape(-1, 2)
        self.foreign = np.array(
            [(k, b) for k, pair in enumerate(ends) for b, m in enumerate(self.members) if not set(pair) & set(m)],
            dtype=int,
        ).reshape(-1, 2)

    def _preferences(self, symbols: Sequence[Symbol], edges: Sequence[Edge], place: dict[str, int]) -> None:
        """Pairs that should lie one above the other, and how much that matters."""
        found: dict[tuple[int, int], float] = {}
        for edge in edges:
            if not edge.source or edge.source == edge.target or edge.shifted:
                continue
            source, target = place[edge.source], place[edge.target]
            if edge.head != "none":
                key, weight = ((target, source), 3.0) if edge.guide else ((source, target), 14.0)
            else:
                # only what an undirected factor is given lies below it
                key, weight = (target, source), 5.0 if symbols[source].kind == "input" else 0.0
            found[key] = max(found.get(key, 0.0), weight)
        for upper, lower in stacked(symbols, edges):
            found.setdefault((place[upper], place[lower]), 4.0)
        self.above = np.array(list(found), dtype=int).reshape(-1, 2)
        self.weight = np.array(list(found.values()))

    def _lined_up(self, edges: Sequence[Edge], place: dict[str, int]) -> None:
        """Variables joined by a factor, which had better be straight above or beside each other, and that factor."""
        scopes = {key: names for key, names in _scopes(edges).items() if len(names) == 2}
        self.joints = np.array([[place[key], *(place[x] for x in names)] for key, names in scopes.items()], dtype=int)
        self.joints = self.joints.reshape(-1, 3)
        yokes = _yokes(edges)
        self.yokes = np.array([[place[key], *(place[x] for x in pair)] for key, pair in yokes.items()], dtype=int)
        self.yokes = self.yokes.reshape(-1, 3)
        arrows = [(place[e.source], place[e.target]) for e in _arrows(edges) if e.target not in yokes]
        pairs = [*arrows, *((int(a), int(b)) for _, a, b in self.joints)]
        # a ring cannot be straight everywhere
        rings = nx.cycle_basis(nx.Graph([(int(a), int(b)) for _, a, b in self.joints]))
        self.centred = 2.0 if rings else 4.0
        self.pull = np.array([2.0] * len(arrows) + [1.0 if rings else 3.0] * len(self.joints))
        self.straight = np.array(pairs, dtype=int).reshape(-1, 2)

    def __call__(self, at: Array) -> Array:
        """The cost of every layout (layouts, symbols, 2)."""
        low, high = rectangles(at - self.reach, at + self.reach, self.members) if self.members else (at, at)
        return self._faults(at, low, high) + self._lines(at, low, high) + self._shape(at, low, high)

    def _faults(self, at: Array, low: Array, high: Array) -> Array:
        i, j = self.pairs.T
        deep = overlaps((at - self.air)[:, i], (at + self.air)[:, i], (at - self.air)[:, j], (at + self.air)[:, j])
        total = _fault(deep)
        if self.strangers.size:
            k, v = self.strangers.T
            reach = self.reach + 0.1
            total += _fault(overlaps(low[:, k], high[:, k], (at - reach)[:, v], (at + reach)[:, v]))
        if self.apart.size:
            j, k = self.apart.T
            total += _fault(overlaps(low[:, j] - 0.1, high[:, j] + 0.1, low[:, k], high[:, k]))
        return total

    def _lines(self, at: Array, low: Array, high: Array) -> Array:
        total = np.zeros(len(at))
        start, end = at[:, self.ends[:, 0]], at[:, self.ends[:, 1]]
        if self.passing.size:
            k, v = self.passing.T
            near = closeness(start[:, k], end[:, k], at[:, v], self.half[v] + 0.1)
            total += np.where(near < 1, 60 - 25 * near, 0.0).sum(1)
        if self.crossings.size:
            j, k = self.crossings.T
            total += 12.0 * crossing(start[:, j], end[:, j], start[:, k], end[:, k]).sum(1)
        if self.foreign.size:
            k, b = self.foreign.T
            for part in (0.2, 0.4, 0.6, 0.8):
                point = start[:, k] * (1 - part) + end[:, k] * part
                total += 4.0 * (overlaps(point, point + 0.01, low[:, b], high[:, b]) > 0).sum(1)
        away = np.abs(start - end)
        return total + 1.6 * np.linalg.norm(away, axis=-1).sum(1) + 0.9 * np.minimum(away.min(-1), 0.6).sum(1)

    def _shape(self, at: Array, low: Array, high: Array) -> Array:
        upper, lower = self.above.T
        short = np.clip(ROW - (at[:, upper, 1] - at[:, lower, 1]), 0.0, 2 * ROW)
        total = (self.weight * short).sum(1)
        between, one, other = self.joints.T
        total += self.centred * np.abs(at[:, between] - (at[:, one] + at[:, other]) / 2).sum((1, 2))
        bent = np.abs(at[:, self.straight[:, 0]] - at[:, self.straight[:, 1]]).min(-1)
        total += (self.pull * np.minimum(bent, 0.9)).sum(1)
        child, one, other = self.yokes.T
        total += 2.0 * np.abs(at[:, child, 0] - (at[:, one, 0] + at[:, other, 0]) / 2).sum(1)
        total += 2.5 * np.abs(at[:, one, 1] - at[:, other, 1]).sum(1)
        extent = np.ptp(at, axis=1)
        total += 0.5 * extent.sum(1) + 0.25 * extent.prod(1)
        if self.members:
            total += 0.3 * (high - low).sum((1, 2))
        return total


def _fault(deep: Array) -> Array:
    return np.where(deep > 1e-6, 300 + 300 * deep, 0.0).sum(1)


def stacked(symbols: Sequence[Symbol], edges: Sequence[Edge]) -> list[tuple[str, str]]:
    """(upper, lower) variables of undirected factors.

    A chain lies above what hangs from it; else what is written first lies lower, as visible units do; inputs lowest.
    """
    inputs = {s.key for s in symbols if s.kind == "input"}
    chained = {e.source for e in edges if e.head == "none" and e.shifted}
    found = []
    for first, second in (names[:2] for names in _scopes(edges).values() if len(names) > 1):
        above = (first in chained, second in inputs) > (second in chained, first in inputs)
        found.append((first, second) if above else (second, first))
    return found


def _arrows(edges: Sequence[Edge]) -> list[Edge]:
    """What orders the variables of one step in the model."""
    ordering = [e for e in edges if e.head != "none" and not e.guide and not e.shifted]
    return [e for e in ordering if e.source and e.source != e.target]


def _yokes(edges: Sequence[Edge]) -> dict[str, list[str]]:
    """Variables under exactly two roots, which had better stand side by side above them."""
    arrows = _arrows(edges)
    parents: dict[str, list[str]] = {}
    for edge in arrows:
        parents.setdefault(edge.target, []).append(edge.source)
    below = set(parents)
    return {key: pair for key, pair in parents.items() if len(pair) == 2 and not below & set(pair)}


def _stars(edges: Sequence[Edge], place: dict[str, int]) -> list[list[int]]:
    """Every variable with the undirected factors around it, which move together."""
    found: dict[str, set[int]] = {}
    for edge in edges:
        if edge.head == "none":
            found.setdefault(edge.source, {place[edge.source]}).add(place[edge.target])
    return [sorted(star) for star in found.values()]


def _scopes(edges: Sequence[Edge]) -> dict[str, list[str]]:
    """The variables of every undirected factor of the model, each once."""
    found: dict[str, list[str]] = {}
    for edge in edges:
        if edge.head == "none" and not edge.guide and edge.source not in found.setdefault(edge.target, []):
            found[edge.target].append(edge.source)
    return found

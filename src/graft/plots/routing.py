"""The lines of edges: straight where that is clear, bent around symbols and each other, loops for own pasts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from graft.plots.geometry import Array, Flags, bezier
from graft.plots.marks import Edge, Symbol

_BENDS = (0.0, 0.16, -0.16, 0.26, -0.26, 0.4, -0.4, 0.55, -0.55, 0.75, -0.75)
_DIRECTIONS = tuple(float(angle) for angle in range(0, 360, 15))
_GAP = 0.03


@dataclass(frozen=True, eq=False)
class _Option:
    """One way to go, what it costs by itself, and how far it reaches."""

    points: Array
    price: float

    @cached_property
    def reach(self) -> tuple[float, ...]:
        return (*self.points.min(0).tolist(), *self.points.max(0).tolist())


def route(symbols: dict[str, Symbol], edges: Sequence[Edge]) -> tuple[Edge, ...]:
    """Every edge with its line, from border to border."""
    pairs = Counter(frozenset((edge.source, edge.target)) for edge in edges)
    even = [pairs[frozenset((edge.source, edge.target))] % 2 == 0 for edge in edges]
    options = [_priced(symbols, edge, twin) for edge, twin in zip(edges, even, strict=True)]
    chosen = [min(found, key=lambda option: option.price) for found in options]
    clash = cache(_clash)
    # again when all others are known, until little changes
    for _ in range(3):
        for k, found in enumerate(options):
            others = chosen[:k] + chosen[k + 1 :]
            totals = [option.price + sum(clash(option, other) for other in others) for option in found]
            chosen[k] = found[int(np.argmin(totals))]
    lines = [tuple((float(x), float(y)) for x, y in option.points) for option in chosen]
    return tuple(replace(edge, points=line) for edge, line in zip(edges, lines, strict=True))


def _priced(symbols: dict[str, Symbol], edge: Edge, twin: bool) -> list[_Option]:
    others = [s for s in symbols.values() if s.key not in (edge.source, edge.target)]
    return [_Option(line, price + _blame(others, line)) for line, price in _options(symbols, edge, twin)]


def _options(symbols: dict[str, Symbol], edge: Edge, twin: bool) -> list[tuple[Array, float]]:
    """Lines to choose from, and what each costs by its shape; twins bend away from each other."""
    target = symbols[edge.target]
    if not edge.source:
        return [(_clipped(_stub(target, a), None, target), _tilt(a, 135.0)) for a in _DIRECTIONS]
    if edge.source == edge.target:
        return [(_clipped(_loop(target, a), target, target), _tilt(a, 0.0)) for a in _DIRECTIONS]
    source = symbols[edge.source]
    straight = 8.0 if twin else 1.0 if edge.shifted else 0.0
    # a text beside it needs more room between it and its twin
    best = 0.26 if edge.notes else 0.0
    prices = [(bend, 3.0 * abs(abs(bend) - best) if bend else straight) for bend in _BENDS]
    return [(_clipped(_arc(source, target, bend), source, target), price) for bend, price in prices]


def _tilt(angle: float, best: float) -> float:
    """A little for every direction away from the usual, so that loops of a picture look alike."""
    away = abs((angle - best + 180) % 360 - 180)
    return away / 180 + (0.3 if angle % 45 else 0.0)


def _stub(target: Symbol, angle: float) -> Array:
    far = _border(target, angle) + 0.36 * _unit(angle)
    return np.linspace(far, np.array(target.at), 33)


def _loop(target: Symbol, angle: float) -> Array:
    centre = np.array(target.at)
    size = np.array(target.half) + 0.5
    sides = [centre + size * _unit(angle + turn) * 1.08 for turn in (-36, 36)]
    return bezier(np.array([centre, *sides, centre]), 97)


def _arc(source: Symbol, target: Symbol, bend: float) -> Array:
    start, end = np.array(source.at), np.array(target.at)
    along = end - start
    normal = np.array([-along[1], along[0]])
    return bezier(np.array([start, (start + end) / 2 + bend * normal, end]), 65)


def _unit(angle: float) -> Array:
    return np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])


def _border(symbol: Symbol, angle: float) -> Array:
    unit, half = _unit(angle), np.array(symbol.half)
    return np.array(symbol.at) + unit / np.linalg.norm(unit / half)


def _clipped(line: Array, source: Symbol | None, target: Symbol) -> Array:
    """Without what lies within its ends' symbols."""
    fine = np.linspace(0, len(line) - 1, 12 * len(line))
    grid = np.arange(len(line))
    dense = np.stack([np.interp(fine, grid, line[:, d]) for d in (0, 1)], -1)
    start = 0 if source is None else int(np.argmax(~within(dense, source, _GAP)))
    outside = ~within(dense, target, _GAP)
    stop = len(dense) - int(np.argmax(outside[::-1]))
    kept = dense[start:stop]
    return kept[np.linspace(0, len(kept) - 1, 33).astype(int)]


def within(points: Array, symbol: Symbol, more: float) -> Flags:
    """Which points lie in a symbol made larger by so much."""
    away = np.abs(points - np.array(symbol.at)) / (np.array(symbol.half) + more)
    if symbol.kind == "factor":
        return away.max(-1) < 1
    return np.linalg.norm(away, axis=-1) < 1


def _blame(others: Sequence[Symbol], line: Array) -> float:
    """What a line does to symbols that are not its ends."""
    through = sum(float(within(line, s, 0.07).sum()) for s in others)
    near = sum(float(within(line, s, 0.16).sum()) for s in others)
    return 8.0 * through + 0.5 * near


def _clash(one: _Option, other: _Option) -> float:
    """How much of a line runs along another; a clean crossing costs little."""
    (left, bottom, right, top), (west, south, east, north) = one.reach, other.reach
    if right + 0.1 < west or east + 0.1 < left or top + 0.1 < south or north + 0.1 < bottom:
        return 0.0
    away = ((one.points[:, None] - other.points[None]) ** 2).sum(-1).min(1)
    close = float((away < 0.09**2).sum())
    return 0.45 * close + 3.0 * max(0.0, close - 6)

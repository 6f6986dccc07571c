"""The lines of edges: straight where that is clear, bent around symbols and each other, loops for own pasts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graft.plots.geometry import Array, Flags, bezier
from graft.plots.marks import Edge, Symbol

_BENDS = (0.0, 0.16, -0.16, 0.26, -0.26, 0.4, -0.4, 0.55, -0.55, 0.75, -0.75)
_DIRECTIONS = tuple(float(angle) for angle in range(0, 360, 15))
_GAP = 0.03


def route(symbols: dict[str, Symbol], edges: Sequence[Edge]) -> tuple[Edge, ...]:
    """Every edge with its line, from border to border."""
    pairs = Counter(frozenset((edge.source, edge.target)) for edge in edges)
    even = [pairs[frozenset((edge.source, edge.target))] % 2 == 0 for edge in edges]
    options = [_options(symbols, edge, twin) for edge, twin in zip(edges, even, strict=True)]
    own = [
        np.array([_blame(symbols, edge, line) + price for line, price in found])
        for edge, found in zip(edges, options, strict=True)
    ]
    chosen = [int(prices.argmin()) for prices in own]
    # straight lines first, then a second look now that all others are known
    for _ in range(3):
        for k, found in enumerate(options):
            others = [options[j][chosen[j]][0] for j in range(len(edges)) if j != k]
            clash = [_clash(line, others) for line, _ in found]
            chosen[k] = int((own[k] + np.array(clash)).argmin())
    return tuple(
        replace(edge, points=tuple((float(x), float(y)) for x, y in found[pick][0]))
        for edge, found, pick in zip(edges, options, chosen, strict=True)
    )


def _options(symbols: dict[str, Symbol], edge: Edge, twin: bool) -> list[tuple[Array, float]]:
    """Lines to choose from, and what each costs by itself; twins bend away from each other."""
    target = symbols[edge.target]
    if not edge.source:
        return [(_clipped(_stub(target, a), None, target), _tilt(a, 135)) for a in _DIRECTIONS]
    if edge.source == edge.target:
        return [(_clipped(_loop(target, a), target, target), _tilt(a, 0)) for a in _DIRECTIONS]
    source = symbols[edge.source]
    straight = 8.0 if twin else 1.0 if edge.shifted else 0.0
    prices = [(bend, 3.0 * abs(bend) if bend else straight) for bend in _BENDS]
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


def _blame(symbols: dict[str, Symbol], edge: Edge, line: Array) -> float:
    """What a line does to symbols that are not its ends."""
    others = [s for s in symbols.values() if s.key not in (edge.source, edge.target)]
    through = sum(float(within(line, s, 0.07).sum()) for s in others)
    near = sum(float(within(line, s, 0.16).sum()) for s in others)
    return 8.0 * through + 0.5 * near


def _clash(line: Array, others: Sequence[Array]) -> float:
    """How much of a line runs along others; a clean crossing costs little."""
    total = 0.0
    for other in others:
        if (line.max(0) + 0.1 < other.min(0)).any() or (other.max(0) + 0.1 < line.min(0)).any():
            continue
        away = np.linalg.norm(line[:, None] - other[None], axis=-1).min(1)
        close = float((away < 0.09).sum())
        total += 0.45 * close + 3.0 * max(0.0, close - 6)
    return total

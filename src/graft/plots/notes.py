"""Small texts, each put where it covers least."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from graft.plots.geometry import Array, overlaps, rectangles
from graft.plots.marks import Box, Edge, Note, Point, Symbol, Where
from graft.plots.text import SMALL, half_size, math

_PARTS: dict[Where, tuple[float, ...]] = {
    "tail": (0.2, 0.3, 0.12, 0.4),
    "middle": (0.5, 0.42, 0.58, 0.35, 0.65, 0.28, 0.72, 0.2, 0.8),
    "head": (0.72, 0.8, 0.65, 0.6),
}
_CORNERS = ((1, -1), (-1, -1), (1, 1), (-1, 1))


class Clutter:
    """Everything a text should not cover; grows as texts are put down."""

    def __init__(self, symbols: Iterable[Symbol], edges: Sequence[Edge]) -> None:
        self.symbols = list(symbols)
        self.lines = np.concatenate([np.zeros((0, 2)), *(np.array(edge.points) for edge in edges)])
        self.notes: list[Note] = []
        self.borders: list[Box] = []

    def cost(self, at: Array, half: Point) -> float:
        """How much a text at this place would cover."""
        size = np.array(half)
        total = 0.0
        for symbol in self.symbols:
            total += 60.0 * _covers(at, size, np.array(symbol.at), np.array(symbol.half) + 0.02)
        for note in self.notes:
            total += 60.0 * _covers(at, size, np.array(note.at), np.array(note.half) + 0.05)
        for box in self.borders:
            total += 12.0 * _on_border(at, size, box)
        inside = (np.abs(self.lines - at) < size + 0.02).all(-1)
        return total + 5.0 * float(inside.sum())

    def put(self, text: str, options: Iterable[tuple[Array, float]], of: str = "") -> Note:
        """A text at the cheapest of its places."""
        half = half_size(text, SMALL)
        at, _ = min(options, key=lambda option: self.cost(option[0], half) + option[1])
        note = Note(text, (float(at[0]), float(at[1])), half, of)
        self.notes.append(note)
        return note


def _covers(at: Array, half: Array, centre: Array, other: Array) -> float:
    depth = half + other - np.abs(at - centre)
    return float((depth > 0).all()) * (1 + float(depth.min()))


def _on_border(at: Array, half: Array, box: Box) -> float:
    """1 if the text lies neither inside nor outside."""
    low, high = np.array(box.low), np.array(box.high)
    touches = (at + half > low).all() and (at - half < high).all()
    inside = (at - half > low).all() and (at + half < high).all()
    return float(touches and not inside)


def beside(edge: Edge, where: Where, half: Point) -> list[tuple[Array, float]]:
    """Places on both sides of a line, the usual first."""
    line = np.array(edge.points)
    found = []
    for rank, part in enumerate(_PARTS[where] if edge.source else (0.0, 0.2)):
        k = int(part * (len(line) - 1))
        ahead = line[min(k + 1, len(line) - 1)] - line[max(k - 1, 0)]
        normal = np.array([-ahead[1], ahead[0]]) / max(float(np.linalg.norm(ahead)), 1e-9)
        reach = float(np.abs(normal) @ np.array(half)) + 0.04
        for side in (1, -1):
            for more in (0.0, 0.05, 0.12):
                found.append((line[k] + side * (reach + more) * normal, 0.4 * rank + 6 * more))
    return found


def around(symbol: Symbol, half: Point) -> list[tuple[Array, float]]:
    """Places beside a symbol for the names of its networks."""
    at, size = np.array(symbol.at), np.array(symbol.half) + np.array(half)
    ways = ((1, 0), (-1, 0), (0, -1), (0, 1), (0.9, -0.9), (-0.9, -0.9), (0.9, 0.9), (-0.9, 0.9))
    return [
        (at + np.array(way) * (size + gap), 0.3 * rank + gap) for gap in (0.05, 0.12) for rank, way in enumerate(ways)
    ]


def enclose(
    boxes: Sequence[Box], symbols: Mapping[str, Symbol], edges: Sequence[Edge], notes: Sequence[Note]
) -> tuple[Box, ...]:
    """Boxes around their symbols with whatever belongs to these: loops, starts, the lines among them, and texts.

    What would stretch a box over a stranger, such as a line bent around it, does not stretch it.
    """
    if not boxes:
        return ()
    place = {key: k for k, key in enumerate(symbols)}
    members = [[place[key] for key in box.members] for box in boxes]
    centre = np.array([s.at for s in symbols.values()])
    half = np.array([s.half for s in symbols.values()])
    low, high = centre - half, centre + half
    for key, points in _belongings(symbols, edges, notes):
        wider, higher, k = low.copy(), high.copy(), place[key]
        wider[k], higher[k] = np.minimum(low[k], points.min(0)), np.maximum(high[k], points.max(0))
        if not _strangers(*rectangles(wider[None], higher[None], members), centre, half, members):
            low, high = wider, higher
    lows, highs = rectangles(low[None], high[None], members)
    return tuple(
        replace(box, low=(float(a[0]), float(a[1])), high=(float(b[0]), float(b[1])))
        for box, a, b in zip(boxes, lows[0], highs[0], strict=True)
    )


def _strangers(low: Array, high: Array, centre: Array, half: Array, members: Sequence[list[int]]) -> bool:
    """Whether a box comes near a symbol that is none of its members, or a box that shares none."""
    for k, held in enumerate(members):
        others = [v for v in range(len(centre)) if v not in held]
        reach = half[others] + 0.1
        if (overlaps(low[0, k], high[0, k], centre[others] - reach, centre[others] + reach) > 0).any():
            return True
        apart = [j for j in range(k) if not set(held) & set(members[j])]
        if (overlaps(low[0, k] - 0.1, high[0, k] + 0.1, low[0, apart], high[0, apart]) > 0).any():
            return True
    return False


def inner(symbols: Mapping[str, Symbol], edge: Edge) -> bool:
    """Whether a line stays within the boxes of its ends."""
    return not edge.source or set(symbols[edge.source].letters) == set(symbols[edge.target].letters)


def _belongings(symbols: Mapping[str, Symbol], edges: Sequence[Edge], notes: Sequence[Note]) -> list[tuple[str, Array]]:
    """What stretches the boxes of a symbol: its loops and starts, half of a line each, and its texts."""
    found = [(n.of, np.array([np.array(n.at) - n.half, np.array(n.at) + n.half])) for n in notes if n.of]
    for edge in edges:
        if inner(symbols, edge):
            line = np.array(edge.points)
            found += [(edge.target, line[len(line) // 2 :] if edge.source not in ("", edge.target) else line)]
            found += [(edge.source, line[: len(line) // 2])] if edge.source else []
    return found


def label(box: Box, clutter: Clutter) -> Box:
    """The box with its letter in the clearest corner."""
    text = math(box.letter)
    half = half_size(text, SMALL)
    low, high = np.array(box.low), np.array(box.high)
    inner = (high - low) / 2 - np.array(half) - np.array([0.07, 0.03])
    options = [((low + high) / 2 + np.array(c) * inner, 0.5 * k) for k, c in enumerate(_CORNERS)]
    return replace(box, label=clutter.put(text, options))

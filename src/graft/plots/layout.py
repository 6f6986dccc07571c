"""Where symbols stand: layers from the directed part, then a search over a grid.

Plates that overlap (the rows and columns of a grid) rule out laying plates out one by one, so the layered start is
improved as a whole: one symbol, pair or plate is moved at a time to where the cost is least. The search is
deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import networkx as nx
import numpy as np

from graft.plots.cost import ROW, Cost, stacked
from graft.plots.geometry import Array
from graft.plots.marks import Box, Edge, Point, Symbol

_CELL = 0.45
_SWEEPS, _REACH = 12, 4


def place(symbols: Sequence[Symbol], edges: Sequence[Edge], boxes: Sequence[Box], room: float = 0.0) -> list[Point]:
    """The centre of every symbol.

    Args:
        symbols: what is to be placed.
        edges: between them.
        boxes: the innermost first.
        room: more width for every symbol, where texts will stand beside it.
    """
    cost = Cost(symbols, edges, boxes, room)
    rows = _rows(symbols, edges)
    best, least = np.zeros((len(symbols), 2)), np.inf
    # small graphs are cheap to try again, and small flaws show more in them
    for start in range(6 if len(symbols) <= 6 else 3):
        at = _improve(_start(rows, symbols, start), cost)
        found = float(cost(at[None])[0])
        if found < least - 1e-6:
            best, least = at, found
    return [(float(x), float(y)) for x, y in best - best.min(0)]


def _rows(symbols: Sequence[Symbol], edges: Sequence[Edge]) -> dict[str, float]:
    """Longest paths from the roots, along whatever orders the elements of one step."""
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from(s.key for s in symbols)
    directed = [(e.source, e.target) for e in edges if e.head != "none" and not e.guide and not e.shifted]
    dashed = [(e.target, e.source) for e in edges if e.head != "none" and e.guide and not e.shifted]
    lines = [(e.target, e.source) for e in edges if e.head == "none"]
    for upper, lower in (*directed, *stacked(symbols, edges), *dashed, *lines):
        # what would close a cycle orders nothing
        if upper and lower and upper != lower and not nx.has_path(graph, lower, upper):
            graph.add_edge(upper, lower)
    return {key: float(row) for row, layer in enumerate(nx.topological_generations(graph)) for key in layer}


def _start(rows: dict[str, float], symbols: Sequence[Symbol], seed: int) -> Array:
    """Rows with the symbols of one set of plates side by side, in another order for every seed."""
    random = np.random.default_rng(seed)
    rank = {s.key: (s.letters, random.random() if seed else k) for k, s in enumerate(symbols)}
    at = np.zeros((len(symbols), 2))
    for row in set(rows.values()):
        keys = sorted((s.key for s in symbols if rows[s.key] == row), key=rank.__getitem__)
        for column, key in enumerate(keys):
            k = next(k for k, s in enumerate(symbols) if s.key == key)
            at[k] = (column - (len(keys) - 1) // 2) * 3 * _CELL, -row * ROW * 1.5
    return at


def _improve(at: Array, cost: Cost) -> Array:
    least = float(cost(at[None])[0])
    for _ in range(_SWEEPS):
        before = least
        for move in _moves(len(at), cost.members, cost.stars):
            options = move(at)
            values = cost(options)
            best = int(values.argmin())
            if values[best] < least - 1e-9:
                at, least = options[best], float(values[best])
        if least > before - 1e-6:
            break
    return at


def _moves(count: int, members: list[list[int]], stars: list[list[int]]) -> list[Callable[[Array], Array]]:
    singles = [_shifts([k], _REACH) for k in range(count)]
    plates = [_shifts(held, 3) for held in members if len(held) < count]
    groups = [_shifts(held, 3) for held in stars]
    return [*singles, *plates, *groups, _swaps, _halves]


def _shifts(held: list[int], reach: int) -> Callable[[Array], Array]:
    """Every place near by for a set of symbols."""
    steps = _CELL * np.arange(-reach, reach + 1)
    offsets = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)

    def options(at: Array) -> Array:
        found = np.repeat(at[None], len(offsets), 0)
        found[:, held] += offsets[:, None]
        return found

    return options


def _swaps(at: Array) -> Array:
    """Every exchange of two symbols."""
    found = [at]
    for i, j in combinations(range(len(at)), 2):
        other = at.copy()
        other[[i, j]] = at[[j, i]]
        found.append(other)
    return np.stack(found)


def _halves(at: Array) -> Array:
    """Everything beyond a line moved away from it or towards it, or mirrored."""
    found = [at]
    for axis in (0, 1):
        for line in np.unique(at[:, axis]):
            for step in (-2, -1, 1, 2):
                other = at.copy()
                other[at[:, axis] >= line - 1e-6, axis] += step * _CELL
                found.append(other)
    return np.stack(found)

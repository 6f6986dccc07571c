"""Where the tables of a tree lie in one flat memory, as numbers that compiled loops can follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod

import numpy as np

from graft.ops.contraction.tree import Key, Pair, Tree

#: How an input comes: the same for all rows, one for each row, or the same but with a derivative for each row.
SHARED, ROW, COPIED = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Layout:
    """A tree in numbers. The tables that all rows share lie first, then those of the row at work.

    Attributes:
        tables: per table: whether it is a row's own, its offset, its size; the last one is the number 1.
        inputs: per input: how it comes, its table's offset, its size, its offset among inputs that come alike.
        shared_pairs: pairs of shared tables, computed once; columns as in `COLUMNS`.
        row_pairs: those computed for each row.
        index: offsets within tables that the pairs refer to.
        roots: tables whose product is the sum.
        wanted: per key asked for: table, states, other entries, their two places in `index`, offset in the answer.
        size: entries of the memory.
        shared_size: of its first part.
        answer: entries of the answer of one row.
        work: multiplications for one row, there and back.
        scratch: entries of the largest matrix that a pair is copied to.
    """

    tables: np.ndarray
    inputs: np.ndarray
    shared_pairs: np.ndarray
    row_pairs: np.ndarray
    index: np.ndarray
    roots: np.ndarray
    wanted: np.ndarray
    size: int
    shared_size: int
    answer: int
    work: float
    scratch: int


#: Multiplications from which a pair is copied to small matrices, in all and for each.
LARGE, EACH = 2000, 48
#: Entries that a row of such a matrix may be longer than what it holds.
WIDEST = 32
#: Of a pair: the three tables; how many entries its four groups of keys have; where in `index` the offsets of the
#: groups begin (both, first, summed in the left table; both, summed, second in the right one); whether the last
#: group is contiguous in the right table (above 1: and the distance of its lines, one for each entry of the summed
#: group); whether it is worth being copied to small matrices.
COLUMNS = 15


def lay_out(tree: Tree, comes: Sequence[int], asked: Sequence[Key]) -> Layout:
    """Give every table its place.

    Args:
        tree: to be followed.
        comes: per input, `SHARED` or `ROW`.
        asked: keys whose marginals are wanted.
    """
    return _Layouter(tree, comes, asked).layout()


class _Layouter:
    def __init__(self, tree: Tree, comes: Sequence[int], asked: Sequence[Key]) -> None:
        self.tree, self.asked = tree, asked
        self.scopes: list[tuple[Key, ...]] = list(tree.scopes)
        self.comes = list(comes)
        self.own = self._own()
        self._a_row_table_for_each_asked()
        self.index: list[np.ndarray] = []
        self.filled = 0
        self.scratch = 1
        self.offsets: list[int] = []

    def _own(self) -> list[bool]:
        """Which tables are a row's own."""
        own = [come != SHARED for come in self.comes]
        for pair in self.tree.pairs:
            own.append(own[pair.left] or (pair.right is not None and own[pair.right]))
        return own

    def _a_row_table_for_each_asked(self) -> None:
        """A marginal is read off a table of the row; a key that has none gets a copy of its smallest input."""
        held: dict[Key, bool] = {}
        for own, scope in zip(self.own, self.scopes, strict=True):
            for key in scope:
                held[key] = held.get(key, False) or own
        for key in self.asked:
            if held[key]:
                continue
            mine = [i for i in range(self.tree.inputs) if key in self.scopes[i]]
            smallest = min(mine, key=lambda i: self.tree.entries(self.scopes[i]))
            self.comes[smallest] = COPIED
            self.own = self._own()
            held.update(dict.fromkeys((k for o, s in zip(self.own, self.scopes, strict=True) if o for k in s), True))

    def layout(self) -> Layout:
        rows = [self._pair(place, pair) for place, pair in enumerate(self.tree.pairs)]
        self._place()
        shared = [r for r in rows if not self.own[r[2]]]
        work = sum(float(prod(r[3:7])) for r in rows if self.own[r[2]])
        wanted, answer = self._wanted()
        sizes = [self.tree.entries(scope) for scope in self.scopes]
        tables = [[int(o), at, n] for o, at, n in zip(self.own, self.offsets, sizes, strict=True)]
        return Layout(
            np.array([*tables, [0, self.one, 1]], np.int64),
            self._inputs(sizes),
            np.array(shared, np.int64).reshape(-1, COLUMNS),
            np.array([r for r in rows if self.own[r[2]]], np.int64).reshape(-1, COLUMNS),
            np.concatenate([*self.index, np.zeros(1, np.int64)]),
            np.array(self.tree.roots, np.int64),
            wanted,
            self.size,
            self.shared_size,
            answer,
            3.0 * work,
            self.scratch,
        )

    def _place(self) -> None:
        sizes = [self.tree.entries(scope) for scope in self.scopes]
        self.offsets, self.one, at = [0] * len(sizes), 0, 1
        for wanted in (False, True):
            for number, own in enumerate(self.own):
                if own == wanted:
                    self.offsets[number] = at
                    at += sizes[number]
            if not wanted:
                self.shared_size = at
        self.size = at

    def _inputs(self, sizes: Sequence[int]) -> np.ndarray:
        found, filled = [], {SHARED: 0, ROW: 0}
        for number, come in enumerate(self.comes):
            source = ROW if come == ROW else SHARED
            found.append([come, self.offsets[number], sizes[number], filled[source]])
            filled[source] += sizes[number]
        return np.array(found, np.int64).reshape(-1, 4)

    def _pair(self, place: int, pair: Pair) -> list[int]:
        """The numbers of a pair; the table whose own keys lie contiguous goes right."""
        made, one = self.tree.inputs + place, len(self.tree.scopes)
        left, right, first, second = pair.left, pair.right, pair.first, pair.second
        if right is not None and self._rank(left, first) > self._rank(right, second):
            left, right, first, second = right, left, second, first
        self.scopes[made] = (*pair.both, *first, *second)
        groups = (pair.both, first, pair.summed, second)
        others = () if right is None else self.scopes[right]
        places = [self._offsets(self.scopes[left], group) for group in groups[:3]]
        places += [self._offsets(others, () if right is None else group) for group in (pair.both, pair.summed, second)]
        if right is None:  # the number 1, read again and again
            places[4] = self._put(np.zeros(self.tree.entries(pair.summed), np.int64))
        sizes = [self.tree.entries(group) for group in groups]
        unit = self._lines(others, pair.summed, second) if right is not None else 0
        packed = right is not None and prod(sizes) >= LARGE and prod(sizes[1:]) >= EACH
        if packed:
            first_size, summed, more = sizes[1:]
            spare = max(first_size, summed, more) * WIDEST
            self.scratch = max(
                self.scratch, first_size * summed + spare, summed * more + spare, first_size * more + spare
            )
        return [left, one if right is None else right, made, *sizes, *places, unit, int(packed)]

    def _lines(self, scope: tuple[Key, ...], summed: tuple[Key, ...], second: tuple[Key, ...]) -> int:
        """0 if the last group is not contiguous, else the distance of lines if they have one, else 1."""
        if not self._contiguous(scope, second):
            return 0
        steps = np.unique(np.diff(offsets(self.tree.states, scope, summed)))
        return max(1, int(steps[0])) if len(steps) == 1 else 1

    def _rank(self, number: int, keys: tuple[Key, ...]) -> int:
        entries = self.tree.entries(keys)
        return entries * 4 if self._contiguous(self.scopes[number], keys) else entries

    def _contiguous(self, scope: tuple[Key, ...], keys: tuple[Key, ...]) -> bool:
        return bool(keys) and scope[len(scope) - len(keys) :] == keys

    def _offsets(self, scope: tuple[Key, ...], keys: Sequence[Key]) -> int:
        """Where the offsets of all joint states of some keys within a table begin in `index`."""
        return self._put(offsets(self.tree.states, scope, keys))

    def _put(self, values: np.ndarray) -> int:
        self.index.append(values)
        self.filled += len(values)
        return self.filled - len(values)

    def _wanted(self) -> tuple[np.ndarray, int]:
        found, answer = [], 0
        for key in self.asked:
            mine = [n for n, scope in enumerate(self.scopes) if key in scope and self.own[n]]
            table = min(mine, key=lambda n: self.tree.entries(self.scopes[n]))
            rest = [k for k in self.scopes[table] if k != key]
            places = self._offsets(self.scopes[table], (key,)), self._offsets(self.scopes[table], rest)
            found.append([table, self.tree.states[key], self.tree.entries(rest), *places, answer])
            answer += self.tree.states[key]
        return np.array(found, np.int64).reshape(-1, 6), answer


def offsets(states: Mapping[Key, int], scope: Sequence[Key], keys: Sequence[Key]) -> np.ndarray:
    """Of all joint states of some keys, the last fastest, within a table that has its scope's last key fastest.

    Example:
        >>> offsets({"a": 2, "b": 3}, "ab", "a").tolist()
        [0, 3]
    """
    strides, step = {}, 1
    for key in reversed(scope):
        strides[key] = step
        step *= states[key]
    parts = [np.arange(states[key], dtype=np.int64) * strides[key] for key in keys]
    return reduce(lambda total, part: np.add.outer(total, part).reshape(-1), parts, np.zeros(1, np.int64))

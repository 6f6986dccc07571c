"""Which tables of a sum are multiplied first, and what is summed out when."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

Key = Hashable


@dataclass(frozen=True)
class Pair:
    """Two tables become one: their product, summed over what nothing else reads.

    Attributes:
        left: number of a table.
        right: of the other; None if the left one is only summed.
        both: keys of both that stay.
        first: keys of the left one alone.
        summed: keys of both (or of the only one) that go.
        second: keys of the right one alone.
    """

    left: int
    right: int | None
    both: tuple[Key, ...]
    first: tuple[Key, ...]
    summed: tuple[Key, ...]
    second: tuple[Key, ...]

    @property
    def keys(self) -> tuple[Key, ...]:
        """Of the result, in the order of its axes."""
        return (*self.both, *self.first, *self.second)


@dataclass(frozen=True)
class Tree:
    """A sum of products as a sequence of pairs; tables are numbered, inputs first.

    Attributes:
        scopes: keys of every table, in the order of its axes, results included.
        inputs: how many tables are given.
        pairs: in order; each makes the next table.
        roots: the tables without keys that nothing reads; their product is the whole.
        states: of every key.
    """

    scopes: tuple[tuple[Key, ...], ...]
    inputs: int
    pairs: tuple[Pair, ...]
    roots: tuple[int, ...]
    states: Mapping[Key, int]

    def entries(self, keys: Sequence[Key]) -> int:
        return prod(self.states[key] for key in keys)

    @property
    def multiplications(self) -> int:
        """Of one row of a batch, in one direction."""
        return sum(self.entries((*pair.keys, *pair.summed)) for pair in self.pairs)

    @property
    def size(self) -> int:
        """Entries of all tables together, of one row of a batch."""
        return sum(self.entries(scope) for scope in self.scopes)


def tree(scopes: Sequence[Sequence[Key]], states: Mapping[Key, int], order: Sequence[Key]) -> Tree:
    """Follow an elimination order, the tables of a key joined in pairs, those with the smallest product first.

    A key goes as soon as nothing else reads it, also ahead of its turn.

    Args:
        scopes: distinct keys of every table.
        states: of every key.
        order: all keys.

    Example:
        >>> found = tree(["ab", "bc", "c"], {"a": 2, "b": 3, "c": 4}, "abc")
        >>> [(pair.left, pair.right, pair.summed) for pair in found.pairs]
        [(0, None, ('a',)), (1, 3, ('b',)), (2, 4, ('c',))]
    """
    builder = _Builder(scopes, states)
    for key in order:
        builder.eliminate(key)
    return builder.tree()


#: Tables of one key up to which the best pair is looked for among all pairs.
_FEW = 12


class _Builder:
    def __init__(self, scopes: Sequence[Sequence[Key]], states: Mapping[Key, int]) -> None:
        self.states, self.inputs = states, len(scopes)
        self.scopes: list[tuple[Key, ...]] = [tuple(scope) for scope in scopes]
        self.pairs: list[Pair] = []
        self.readers: dict[Key, set[int]] = {key: set() for key in states}
        for number, scope in enumerate(self.scopes):
            for key in scope:
                self.readers[key].add(number)

    def eliminate(self, key: Key) -> None:
        mine = sorted(self.readers[key])
        while len(mine) > 1:
            left, right = self._cheapest(mine)
            made = self._join(left, right)
            mine = [number for number in mine if number not in (left, right)]
            if made in self.readers[key]:
                mine.append(made)
        if mine and self.readers[key]:
            self._join(mine[0], None)

    def _cheapest(self, mine: list[int]) -> tuple[int, int]:
        if len(mine) > _FEW:
            small = sorted(mine, key=lambda number: (self._entries(self.scopes[number]), number))
            return small[0], small[1]
        pairs = [(a, b) for place, b in enumerate(mine) for a in mine[:place]]
        return min(pairs, key=lambda pair: self._entries({*self.scopes[pair[0]], *self.scopes[pair[1]]}))

    def _entries(self, keys: Sequence[Key] | set[Key]) -> int:
        return prod(self.states[key] for key in keys)

    def _join(self, left: int, right: int | None) -> int:
        others = {left, right}
        a, b = self.scopes[left], () if right is None else self.scopes[right]
        gone = {key for key in (*a, *b) if self.readers[key] <= others}
        both = tuple(key for key in a if key in b and key not in gone)
        alone = {key for key in gone if (key in a) != (key in b)} if right is not None else set()
        if alone:  # summed out of its own table first: a smaller product
            number = left if alone & set(a) else right
            assert number is not None
            reduced = self._join(number, None)
            return self._join(reduced, right) if number == left else self._join(left, reduced)
        first = tuple(key for key in a if key not in b and key not in gone)
        second = tuple(key for key in b if key not in a)
        pair = Pair(left, right, both, first, tuple(key for key in a if key in gone), second)
        return self._put(pair)

    def _put(self, pair: Pair) -> int:
        for number in (pair.left, pair.right):
            for key in self.scopes[number] if number is not None else ():
                self.readers[key].discard(number)
        made = len(self.scopes)
        self.scopes.append(pair.keys)
        self.pairs.append(pair)
        for key in pair.keys:
            self.readers[key].add(made)
        return made

    def tree(self) -> Tree:
        used = {number for pair in self.pairs for number in (pair.left, pair.right)}
        roots = tuple(number for number in range(len(self.scopes)) if number not in used)
        return Tree(tuple(self.scopes), self.inputs, tuple(self.pairs), roots, dict(self.states))

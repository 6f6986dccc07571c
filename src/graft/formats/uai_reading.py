"""UAI, the format of the inference competitions: from the text to a network.

Source: UAI 2014 inference competition, file formats; the same as in 2006 to 2022 for models of tables.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from math import prod

import torch
from torch import Tensor

from graft.formats.decimals import shown
from graft.formats.network import Kind, Network, Table, Variable, cells, far
from graft.formats.source import Source
from graft.formats.words import Words


def parse(source: Source) -> Network:
    """The network that a UAI text describes: variables x0, x1, ... and their tables.

    Args:
        source: the text; lines do not matter.

    Returns:
        A directed network if the file says BAYES, an undirected one if it says MARKOV. Every variable is in some
        table, and every table has a variable: a constant stands as a table of the first variable, a variable that no
        factor has gets a table of ones.

    Raises:
        FormatError: with the line at fault.

    Example:
        >>> network = parse(Source("a.uai", "MARKOV 2 2 3 1 2 0 1 6 1 2 3 4 5 6"))
        >>> network.tables[0].scope, network.tables[0].values.tolist()
        ((0, 1), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    """
    words = Words(source)
    kind = words.next("MARKOV or BAYES")
    if kind not in ("MARKOV", "BAYES"):
        raise words.error(f"MARKOV or BAYES is expected, not {shown(kind)}")
    reader = _Reader(words, "BAYES" if kind == "BAYES" else "MARKOV")
    return reader.network()


class _Reader:
    def __init__(self, words: Words, kind: Kind) -> None:
        self.words, self.kind = words, kind
        self.sizes: tuple[int, ...] = ()
        #: The words at which scopes and tables begin.
        self.scope_places: list[int] = []
        self.table_places: list[int] = []

    def network(self) -> Network:
        self.sizes = self._sizes()
        scopes = self._scopes()
        tables = [self._table(number, scope) for number, scope in enumerate(scopes)]
        self.words.end()
        if self.kind == "BAYES":
            self._summed(tables)
        else:
            tables += self._ones({place for table in tables for place in table.scope})
        variables = tuple(Variable(f"x{place}", size) for place, size in enumerate(self.sizes))
        return Network(self.kind, variables, tuple(tables))

    def _sizes(self) -> tuple[int, ...]:
        words = self.words
        count = words.whole("the number of variables")
        if not count:
            raise words.error("a network needs a variable")
        if count > words.left:
            raise words.error(f"{count:,} variables are announced, but only {words.left:,} words follow")
        return tuple(self._positive(f"the number of states of variable {place}") for place in range(count))

    def _positive(self, what: str) -> int:
        size = self.words.whole(what)
        if not size:
            raise self.words.error(f"{what} is at least 1, not 0")
        return size

    def _scopes(self) -> list[tuple[int, ...]]:
        words = self.words
        count = words.whole("the number of factors")
        # each has at least its size, and its table's size and one number
        if 3 * count > words.left:
            raise words.error(f"{count:,} factors are announced, but only {words.left:,} words follow")
        scopes = [self._scope(number) for number in range(count)]
        if self.kind == "BAYES":
            self._one_each(scopes)
            self._no_cycle(scopes)
        return scopes

    def _scope(self, number: int) -> tuple[int, ...]:
        words = self.words
        self.scope_places.append(words.at)
        size = words.whole(f"the number of variables of factor {number}")
        if size > len(self.sizes):
            raise words.error(f"factor {number} has {size:,} variables, the network {len(self.sizes):,}")
        if not size and self.kind == "BAYES":
            raise words.error(f"factor {number} has no variable: in a BAYES file each is a conditional")
        what = f"a variable of factor {number}"
        scope: list[int] = []
        for _ in range(size):
            place = words.whole(what, below=len(self.sizes))
            if place in scope:
                raise words.error(f"factor {number} has variable {place} twice")
            scope.append(place)
        if rule := cells(tuple(self.sizes[place] for place in scope)):
            raise words.error(f"factor {number}: {rule}")
        return tuple(scope)

    def _one_each(self, scopes: list[tuple[int, ...]]) -> None:
        """The last variable of each scope is the one that the factor gives."""
        seen: dict[int, int] = {}
        for number, scope in enumerate(scopes):
            if scope[-1] in seen:
                rule = f"factors {seen[scope[-1]]} and {number} are both conditionals of variable {scope[-1]}"
                raise self.words.error(rule, self.scope_places[number])
            seen[scope[-1]] = number
        for place in range(len(self.sizes)):
            if place not in seen:
                raise self.words.error(f"no factor is a conditional of variable {place}")

    def _table(self, number: int, scope: tuple[int, ...]) -> Table:
        words, what = self.words, f"factor {number}"
        self.table_places.append(words.at)
        shape = tuple(self.sizes[place] for place in scope)
        count = words.whole(f"the number of entries of {what}")
        if count != prod(shape):
            raise words.error(f"{what} has {prod(shape):,} entries, one a joint state, not {count:,}")
        values = torch.tensor(words.numbers(count, what), dtype=torch.float64)
        if not scope:
            return Table((0,), self._constant(values))
        return Table(scope, values.reshape(shape))

    def _constant(self, value: Tensor) -> Tensor:
        if rule := cells(self.sizes[:1]):
            raise self.words.error(rule)
        return value.expand(self.sizes[0]).clone()

    def _no_cycle(self, scopes: list[tuple[int, ...]]) -> None:
        try:
            TopologicalSorter({scope[-1]: scope[:-1] for scope in scopes}).prepare()
        except CycleError as error:
            around = error.args[1]
            first = min(number for number, scope in enumerate(scopes) if scope[-1] in around)
            rule = f"a cycle of variables: {' -> '.join(map(str, around))}"
            raise self.words.error(rule, self.scope_places[first]) from None

    def _summed(self, tables: list[Table]) -> None:
        """Every row of a conditional sums to one."""
        for number, table in enumerate(tables):
            rows = table.values.reshape(-1, table.values.shape[-1])
            bad = far(rows).nonzero()
            if len(bad):
                row = int(bad[0])
                rule = f"factor {number}: probabilities sum to {float(rows[row].sum()):.6g}, not to one"
                hint = " (tables that are not normalised belong in a MARKOV file)"
                raise self.words.error(rule + hint, self.table_places[number] + 1 + row * rows.shape[1])

    def _ones(self, used: set[int]) -> list[Table]:
        found = []
        for place, size in enumerate(self.sizes):
            if place in used:
                continue
            if rule := cells((size,)):
                raise self.words.error(f"variable {place}: {rule}")
            found.append(Table((place,), torch.ones(size, dtype=torch.float64)))
        return found

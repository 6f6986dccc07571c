"""The probability blocks of a BIF file as tables: every row there once, every row summing to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import product
from math import prod

import torch
from torch import Tensor

from graft.errors import FormatError
from graft.formats.decimals import shown
from graft.formats.network import Table, Variable, cells, far
from graft.formats.source import Source

Word = tuple[str, int]


@dataclass
class Block:
    """A probability block as written.

    Attributes:
        at: where it starts.
        child: the variable, and where its name stands.
        parents: likewise.
        rows: states of the parents, numbers, place.
        whole: numbers and places of `table` and `default`.
    """

    at: int
    child: Word
    parents: list[Word]
    rows: list[tuple[list[Word], list[float], int]] = field(default_factory=list)
    whole: dict[str, tuple[list[float], int]] = field(default_factory=dict)


def tables_of(
    source: Source, variables: Mapping[str, Variable], places: Mapping[str, int], blocks: Sequence[Block]
) -> tuple[Table, ...]:
    """One conditional table for each variable, in the order of the variables.

    Args:
        source: for messages.
        variables: by name.
        places: where they are declared.
        blocks: in any order.

    Raises:
        FormatError: a block that is absent, repeated or wrong; a cycle.
    """
    by_name: dict[str, Block] = {}
    for block in blocks:
        _known(source, block, variables)
        name = block.child[0]
        if name in by_name:
            raise source.error(f"a second probability block for {shown(name)}", block.at)
        by_name[name] = block
    for name, place in places.items():
        if name not in by_name:
            raise source.error(f"variable {shown(name)} has no probability block", place)
    _no_cycle(source, by_name)
    numbers = {name: place for place, name in enumerate(variables)}
    return tuple(
        Table(
            (*(numbers[parent] for parent, _ in by_name[name].parents), numbers[name]),
            _Table(source, variables, by_name[name]).values(),
        )
        for name in variables
    )


def _known(source: Source, block: Block, variables: Mapping[str, Variable]) -> None:
    seen = set()
    for name, at in (block.child, *block.parents):
        if name not in variables:
            raise source.error(f"no variable {shown(name)} is declared", at)
        if name in seen:
            raise source.error(f"{shown(name)} stands twice in this block's list", at)
        seen.add(name)


def _no_cycle(source: Source, blocks: Mapping[str, Block]) -> None:
    try:
        TopologicalSorter({name: [parent for parent, _ in block.parents] for name, block in blocks.items()}).prepare()
    except CycleError as error:
        around = error.args[1]
        first = min(blocks[name].at for name in around)
        raise source.error(f"a cycle: {' -> '.join(around)}", first) from None


@dataclass(frozen=True)
class _Table:
    """One block, and how its rows become a tensor."""

    source: Source
    variables: Mapping[str, Variable]
    block: Block

    @property
    def states(self) -> int:
        return self.variables[self.block.child[0]].states

    @property
    def parents(self) -> list[Variable]:
        return [self.variables[name] for name, _ in self.block.parents]

    @property
    def given(self) -> tuple[int, ...]:
        return tuple(parent.states for parent in self.parents)

    def values(self) -> Tensor:
        """Probabilities, parents first."""
        whole, name = self.block.whole, shown(self.block.child[0])
        if not whole and not self.block.rows:
            raise self.source.error(f"no numbers for {name}", self.block.at)
        if "table" in whole:
            if "default" in whole or self.block.rows:
                raise self.source.error(f"{name} has a table and rows: one of them", whole["table"][1])
            found = self._table(*whole["table"])
        else:
            found = self._rows()
        return found.reshape(*self.given, self.states)

    def _table(self, numbers: list[float], at: int) -> Tensor:
        """All numbers at once: the variable itself counts slowest, its last parent fastest."""
        rows = prod(self.given)
        if len(numbers) != rows * self.states:
            count = f"{rows * self.states:,} entries, not {len(numbers):,}"
            raise self.source.error(f"the table of {shown(self.block.child[0])} has {count}", at)
        if rule := cells((*self.given, self.states)):
            raise self.source.error(rule, at)
        found = torch.tensor(numbers, dtype=torch.float64).reshape(self.states, rows).T.contiguous()
        self._summed(found, [at] * len(found))
        return found

    def _rows(self) -> Tensor:
        block = self.block
        index = [{label: place for place, label in enumerate(p.labels or ())} for p in self.parents]
        rows: dict[int, int] = {}
        for key, numbers, at in block.rows:
            row = self._row(key, index, at)
            self._count(numbers, at)
            if row in rows:
                raise self.source.error(f"a second row for ({', '.join(word for word, _ in key)})", at)
            rows[row] = at
        default = block.whole.get("default")
        count = prod(self.given)
        if default is None and len(rows) < count:
            raise self._absent(rows)
        if rule := cells((*self.given, self.states)):
            raise self.source.error(rule, block.at)
        return self._filled(rows, default, count)

    def _filled(self, rows: dict[int, int], default: tuple[list[float], int] | None, count: int) -> Tensor:
        found = torch.empty(count, self.states, dtype=torch.float64)
        if default is not None:
            self._count(*default)
            found[:] = torch.tensor(default[0], dtype=torch.float64)
            self._summed(found[:1], [default[1]])
        if rows:
            given = torch.tensor([numbers for _, numbers, _ in self.block.rows], dtype=torch.float64)
            self._summed(given, list(rows.values()))
            found[torch.tensor(list(rows))] = given
        return found

    def _row(self, key: list[Word], index: list[dict[str, int]], at: int) -> int:
        """The number of a row, the last parent counting fastest."""
        if len(key) != len(index):
            raise self.source.error(f"a row of {len(index)} states of parents is expected, not {len(key)}", at)
        number = 0
        for (word, place), states, parent in zip(key, index, self.parents, strict=True):
            if word not in states:
                rule = f"{shown(word)} is no state of {shown(parent.name)}, which has {', '.join(list(states)[:8])}"
                raise self.source.error(rule, place)
            number = number * len(states) + states[word]
        return number

    def _count(self, numbers: list[float], at: int) -> None:
        if len(numbers) != self.states:
            rule = (
                f"{self.states} numbers are expected, one a state of {shown(self.block.child[0])}, not {len(numbers)}"
            )
            raise self.source.error(rule, at)

    def _absent(self, rows: Mapping[int, int]) -> FormatError:
        every = product(*(parent.labels or () for parent in self.parents))
        key = next(key for number, key in enumerate(every) if number not in rows)
        rule = f"{shown(self.block.child[0])} has no row for ({', '.join(key)}), and no default"
        return self.source.error(rule, self.block.at)

    def _summed(self, rows: Tensor, places: Sequence[int]) -> None:
        bad = far(rows).nonzero()
        if len(bad):
            row = int(bad[0])
            rule = f"probabilities of {shown(self.block.child[0])} sum to {float(rows[row].sum()):.6g}, not to one"
            raise self.source.error(rule, places[row])

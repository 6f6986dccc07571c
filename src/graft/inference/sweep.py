"""Carrying out a plan: sums for log Z and samples, maxima for the mode, and the way back to assignments."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from graft.graph.terms import Axis, Element, Term
from graft.inference.arrange import arranged
from graft.inference.chains import ChainTables
from graft.inference.cut import element, shifted
from graft.inference.grounding import End, Instance, Key
from graft.inference.plan import Chain, General, Local, Plan
from graft.inference.problem import Problem
from graft.inference.tables import LogTable
from graft.ops.chain import draw
from graft.ops.contraction.contract import log_sum, marginals
from graft.ops.dense import Dense, diagonal, entries, multiply, sum_from
from graft.ops.logspace import logsumexp
from graft.structured.linear_chain import LinearChain

#: States of every unknown: (draws, batch, axes).
Assignment = dict[str, Tensor]
#: From log-weights (..., states) to chosen states (...).
Choose = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Swept:
    """The result of a sweep.

    Attributes:
        value: (batch): log Z, or the greatest log-score.
        records: per step, what choosing states on the way back needs.
    """

    value: Tensor
    records: tuple[object, ...]


def sweep(
    problem: Problem, plan: Plan, tables: Sequence[LogTable], maximum: bool = False, records: bool = False
) -> Swept:
    """Sum (or maximise) over all unknowns.

    Args:
        problem: what is asked.
        plan: how to go about it.
        tables: the log-tables of the problem, in order.
        maximum: maximise instead of summing.
        records: keep what choosing states needs; a maximum always does.
    """
    return _Sweep(problem, tables, maximum, records or maximum).run(plan)


class _Sweep:
    def __init__(self, problem: Problem, tables: Sequence[LogTable], maximum: bool, records: bool) -> None:
        self.problem, self.maximum, self.records = problem, maximum, records
        self.frame, self.sizes = problem.frame, problem.sizes
        self.tables = dict(enumerate(tables))

    def run(self, plan: Plan) -> Swept:
        records: list[object] = []
        total = torch.zeros(self.frame.batch, dtype=self.frame.dtype, device=self.frame.device)
        for step in plan.steps:
            if isinstance(step, Local):
                records.append(self._local(step))
                continue
            value, record = self._chain(step) if isinstance(step, Chain) else self._general(step)
            # batch axes of a component are independent: their log-values add up
            total = total + sum_from(value, self.frame.rank)
            records.append(record)
        for number in plan.constants:
            tensor = self.tables[number].dense(self.frame, self.sizes)
            total = total + sum_from(tensor, self.frame.rank)
        # a row of probability zero passes no gradient on to what else stands in it
        return Swept(total.masked_fill(total == -torch.inf, -torch.inf), tuple(records))

    def _reduce(self, tensor: Tensor, dims: int) -> Tensor:
        return tensor.amax(dims) if self.maximum else logsumexp(tensor, dims)

    def _local(self, step: Local) -> Dense:
        unknown = self.problem.unknowns[step.name]
        tables = [self.tables[number] for number in step.tables]
        parts = [Dense(t.slots, arranged(self.problem, t, unknown.axes)) for t in tables]
        zero = torch.zeros((unknown.states,) + (1,) * (self.frame.rank + len(unknown.axes)), dtype=self.frame.dtype)
        joint = multiply([*parts, Dense((unknown.term,), zero.to(self.frame.device))], unknown.term)
        ordered = joint.aligned((unknown.term, *step.others))
        shape = (*self.frame.batch, *self._sizes(unknown.axes))
        whole = ordered.expand(*ordered.shape[: 1 + len(step.others)], *shape)
        message = self._reduce(whole, 0)
        left = LogTable(step.others, unknown.axes, message, {})
        self.tables[step.result] = LogTable(step.others, step.letters, arranged(self.problem, left, step.letters), {})
        return Dense((unknown.term, *step.others), whole)

    def _sizes(self, letters: Sequence[str]) -> tuple[int, ...]:
        return tuple(self.sizes[x] for x in letters)

    def _chain(self, step: Chain) -> tuple[Tensor, LinearChain]:
        tables = ChainTables(self.problem, step, self.tables)
        chain = tables.build()
        if self.maximum and chain.length:
            return tables.constant + chain.top_k(1)[1][0], chain
        return tables.constant + chain.log_partition, chain

    def _general(self, step: General) -> tuple[Tensor, tuple[Dense, ...]]:
        tables = Grounded(self.problem, step.common).tables(step, self.tables)
        rest = (*self.frame.batch, *self._sizes(step.common))
        if self.records:
            return self._eliminated(step, tables, rest)
        return log_sum(by_rows(tables, rest), step.tree, prod(rest)).reshape(rest), ()

    def _eliminated(
        self, step: General, tables: Sequence[Dense], rest: tuple[int, ...]
    ) -> tuple[Tensor, tuple[Dense, ...]]:
        """One key after the other, in log space; the joint tables are kept."""
        buckets, records = Buckets(tables), []
        total = torch.zeros(rest, dtype=self.frame.dtype, device=self.frame.device)
        for key in step.order.keys:
            joint = multiply(buckets.take(key), key)
            records.append(joint)
            message = self._reduce(joint.tensor, 0)
            if len(joint.keys) == 1:
                total = total + message
            else:
                buckets.put(Dense(joint.keys[1:], message))
        for table in buckets.left():
            total = total + table.tensor
        return total, tuple(records)


def marginals_of(problem: Problem, plan: Plan, tables: Sequence[LogTable]) -> tuple[Tensor, dict[str, Tensor]]:
    """The log of the sum, (batch), and the marginal of every unknown, (states, batch, axes).

    Args:
        problem: what is asked.
        plan: of eliminations alone.
        tables: the log-tables of the problem, in order.
    """
    frame, numbered = problem.frame, dict(enumerate(tables))
    total = torch.zeros(frame.batch, dtype=frame.dtype, device=frame.device)
    for number in plan.constants:
        total = total + sum_from(numbered[number].dense(frame, problem.sizes), frame.rank)
    found: dict[str, Tensor] = {}
    for step in plan.steps:
        assert isinstance(step, General)
        rest = (*frame.batch, *(problem.sizes[x] for x in step.common))
        given = by_rows(Grounded(problem, step.common).tables(step, numbered), rest)
        value, parts = marginals(given, step.tree, prod(rest), step.order.keys)
        total = total + sum_from(value.reshape(rest), frame.rank)
        of_name: dict[str, dict[Key, Tensor]] = {name: {} for name in step.names}
        for key, part in zip(step.order.keys, parts, strict=True):
            assert isinstance(key, tuple)
            of_name[key[0]][key] = part.reshape(part.shape[0], *rest)
        for name, chosen in of_name.items():
            if problem.unknowns[name].axes:
                found[name] = gathered(problem, name, step.common, chosen, (problem.unknowns[name].states, *rest))
            else:
                (found[name],) = chosen.values()
    return total, found


def by_rows(tables: Sequence[Dense], rest: tuple[int, ...]) -> list[Tensor]:
    """Tables (keys, rows or 1) from (keys, rest), one row for each element of the rest."""
    found = []
    for table in tables:
        count = len(table.keys)
        states, mine = table.tensor.shape[:count], table.tensor.shape[count:]
        same = all(size == 1 for size in mine)
        wide = table.tensor if same else table.tensor.expand(*states, *rest)
        found.append(wide.reshape(*states, 1 if same else prod(rest)))
    return found


class Buckets:
    """Tables found by any of their keys."""

    def __init__(self, tables: Sequence[Dense]) -> None:
        self.tables: dict[int, Dense] = {}
        self.by_key: dict[Hashable, list[int]] = {}
        self.count = 0
        for table in tables:
            self.put(table)

    def put(self, table: Dense) -> None:
        self.tables[self.count] = table
        for key in table.keys:
            self.by_key.setdefault(key, []).append(self.count)
        self.count += 1

    def take(self, key: Hashable) -> list[Dense]:
        """Remove all tables that have a key."""
        return [self.tables.pop(i) for i in self.by_key.pop(key, ()) if i in self.tables]

    def left(self) -> list[Dense]:
        return list(self.tables.values())


class Grounded:
    """Cuts log-tables into those of single elements."""

    def __init__(self, problem: Problem, common: tuple[str, ...]) -> None:
        self.problem, self.common = problem, common

    def tables(self, step: General, tables: Mapping[int, LogTable]) -> list[Dense]:
        """One table per instance, over (keys, batch, common axes), and a table of zeros for what none reads."""
        arranged = {number: self._arranged(tables[number]) for number in step.tables}
        found = [self._cut(instance, *arranged[instance.table]) for instance in step.instances]
        frame = self.problem.frame
        for key in step.free:
            shape = (self.problem.unknowns[key[0]].states,) + (1,) * (frame.rank + len(self.common))
            found.append(Dense((key,), torch.zeros(shape, dtype=frame.dtype, device=frame.device)))
        return found

    def _arranged(self, table: LogTable) -> tuple[Tensor, int]:
        """(unrolled letters, slots, batch, common) and the number of unrolled letters."""
        frame = self.problem.frame
        if not table.letters and not self.common and table.valid is None:
            return table.tensor, 0
        tensor, slots = table.dense(frame, self.problem.sizes), len(table.slots)
        lead = slots + frame.rank
        rest = [lead + i for i, x in enumerate(table.letters) if x not in self.common]
        shared = [lead + table.letters.index(x) for x in self.common if x in table.letters]
        tensor = tensor.permute(
            (
                *rest,
                *range(lead),
                *shared,
            )
        )
        for place, letter in enumerate(self.common):
            if letter not in table.letters:
                tensor = tensor.unsqueeze(len(rest) + lead + place)
        return tensor, len(rest)

    def _cut(self, instance: Instance, tensor: Tensor, letters: int) -> Dense:
        tensor = tensor[instance.at] if letters else tensor
        if None not in instance.keys and not instance.ends and len(set(instance.keys)) == len(instance.keys):
            return Dense(instance.keys, tensor)
        outside = [i for i, key in enumerate(instance.keys) if key is None]
        for place in reversed(outside):
            # nothing stands there, so the factor does not vary with it
            tensor = tensor.select(place, 0)
        keys = tuple(key for key in instance.keys if key is not None)
        for end, at in instance.ends:
            here = (self._lengths(end) + end.position).clamp_min(-1) == at
            tensor = torch.where(here, tensor, torch.zeros((), dtype=tensor.dtype, device=tensor.device))
        return diagonal(Dense(keys, tensor))

    def _lengths(self, end: End) -> Tensor:
        """(batch, common): the lengths of an axis at one place of the unrolled axes left of it."""
        frame, found = self.problem.frame, self.problem.frame.existence[end.letter]
        letters = tuple(letter for letter, _ in end.outer)
        lengths = frame.spread(found.lengths, found.left, (*letters, *self.common))
        for _, at in end.outer:
            lengths = lengths.select(frame.rank, at)
        return lengths


def assign(problem: Problem, plan: Plan, swept: Swept, choose: Choose, draws: int, mode: bool) -> Assignment:
    """Choose states on the way back: a sample, or the mode after a maximising sweep.

    Args:
        problem: what was swept.
        plan: how.
        swept: the result.
        choose: picks states from log-weights, (draws, ..., states) to (draws, ...).
        draws: how many assignments.
        mode: chains give their mode rather than samples.

    Returns:
        States by variable, (draws, batch, axes).
    """
    found: Assignment = {}
    for step, record in reversed(list(zip(plan.steps, swept.records, strict=True))):
        if isinstance(step, Local):
            assert isinstance(record, Dense)
            found[step.name] = _pick_local(problem, step, record, found, choose, draws)
        elif isinstance(step, Chain):
            assert isinstance(record, LinearChain)
            states = record.mode().unsqueeze(0) if mode else record.sample((draws,))
            found[step.name] = with_axes(problem, step.name, states, (*step.common, step.letter))
        else:
            assert isinstance(record, tuple)
            found.update(_pick_general(problem, step, record, choose, draws))
    return {name: found[name] for name in problem.unknowns if name in found}


def with_axes(problem: Problem, name: str, states: Tensor, letters: tuple[str, ...]) -> Tensor:
    """(draws, batch, letters) with the letters in the order of the variable's axes."""
    start = 1 + problem.frame.rank
    order = [start + letters.index(x) for x in problem.unknowns[name].axes]
    return states.permute(
        (
            *range(start),
            *order,
        )
    )


def _pick_local(problem: Problem, step: Local, record: Dense, found: Assignment, choose: Choose, draws: int) -> Tensor:
    unknown = problem.unknowns[step.name]
    index = [_looked(problem, slot, unknown.axes, found) for slot in step.others]
    weights = entries(record.tensor, index)
    return choose(weights.expand(draws, *weights.shape[1:]))


def _looked(problem: Problem, slot: Term, letters: tuple[str, ...], found: Assignment) -> Tensor:
    """States of another unknown where a slot reads it: (draws, batch, letters)."""
    frame, unknown = problem.frame, problem.unknowns[slot.name]
    tensor, labels = found[slot.name], list(unknown.axes)
    for place in range(len(labels) - 1, -1, -1):
        letter, index = labels[place], slot.indices[place]
        size, dim = problem.sizes[letter], 1 + frame.rank + place
        lengths = frame.lengths(letter, tuple(labels[:place]))
        lengths = None if lengths is None else lengths.unsqueeze(0)

        def fill(keep: bool, dim: int = dim, tensor: Tensor = tensor) -> Tensor:
            return torch.zeros((1,) * (tensor.dim() - (not keep)), dtype=torch.long, device=tensor.device)

        if isinstance(index, Element):
            tensor = element(tensor, dim, index.position, size, lengths, fill)
            labels.pop(place)
        elif isinstance(index, Axis):
            tensor = shifted(tensor, dim, index.offset, (0, size), size, lengths, fill)
    start = 1 + frame.rank
    tensor = tensor.permute(
        (
            *range(start),
            *(start + labels.index(x) for x in letters if x in labels),
        )
    )
    for place, letter in enumerate(letters):
        if letter not in labels:
            tensor = tensor.unsqueeze(start + place)
    return tensor


def _pick_general(problem: Problem, step: General, records: Sequence[Dense], choose: Choose, draws: int) -> Assignment:
    chosen: dict[Key, Tensor] = {}
    rest = (*problem.frame.batch, *(problem.sizes[x] for x in step.common))
    for key, joint in reversed(list(zip(step.order.keys, records, strict=True))):
        table = joint.tensor.expand(*joint.tensor.shape[: len(joint.keys)], *rest)
        weights = entries(table, [chosen[other] for other in joint.keys[1:]])  # type: ignore[index]
        chosen[key] = choose(weights.expand(draws, *weights.shape[1:]))  # type: ignore[index]
    return {name: gathered(problem, name, step.common, chosen, (draws, *rest)) for name in step.names}


def gathered(
    problem: Problem, name: str, common: tuple[str, ...], chosen: Mapping[Key, Tensor], lead: tuple[int, ...]
) -> Tensor:
    """The elements of one variable side by side: (draws, batch, axes)."""
    axes = problem.unknowns[name].axes
    unrolled = tuple(x for x in axes if x not in common)
    sizes = [problem.sizes[x] for x in unrolled]
    mine = sorted((key[1], value) for key, value in chosen.items() if key[0] == name) if prod(sizes) else []
    if not mine:
        return torch.zeros((*lead[: len(lead) - len(common)], *(problem.sizes[x] for x in axes)), dtype=torch.long)
    stacked = torch.stack([value.expand(lead) for _, value in mine], -1).reshape(*lead, *sizes)
    return with_axes(problem, name, stacked, (*common, *unrolled))


def argmax(weights: Tensor) -> Tensor:
    return weights.argmax(-1)


__all__ = ["Assignment", "argmax", "assign", "draw", "marginals_of", "sweep", "with_axes"]

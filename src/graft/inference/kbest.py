"""The k best assignments: elimination in which every entry is a list of its k best completions.

The k-best semiring (Goodman 1999): a product merges two sorted lists, a sum over states keeps the k best of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graft.inference.grounding import Key
from graft.inference.plan import General, Plan
from graft.inference.problem import Problem
from graft.inference.sweep import Assignment, Grounded, gathered
from graft.inference.tables import LogTable
from graft.ops.dense import Dense, multiply, sum_from


@dataclass(frozen=True, eq=False)
class _Ranked:
    """A table of ranked scores.

    Attributes:
        keys: its leading dimensions.
        scores: (keys, batch, k).
    """

    keys: tuple[Key, ...]
    scores: Tensor


@dataclass(frozen=True, eq=False)
class _Merge:
    """Two ranked lists made one, of which only the k best are kept.

    Attributes:
        table: number of the second list.
        pointers: (keys, batch, k): which (rank of the first, rank of the second) each came from, flattened.
        width: how many ranks the second had.
    """

    table: int
    pointers: Tensor
    width: int


@dataclass(frozen=True, eq=False)
class _Step:
    """What choosing one key on the way back needs.

    Attributes:
        key: the key summed out.
        others: the other keys of its clique.
        pointers: (others, batch, k): which (state, rank after all merges) each rank came from, flattened.
        width: how many ranks there were after all merges.
        merges: one per ranked table merged here.
    """

    key: Key
    others: tuple[Key, ...]
    pointers: Tensor
    width: int
    merges: tuple[_Merge, ...]


def k_best(problem: Problem, plan: Plan, tables: Sequence[LogTable], k: int) -> tuple[Assignment, Tensor]:
    """The k assignments of greatest score.

    Args:
        problem: what is asked.
        plan: one elimination over everything (`unroll=True`).
        tables: the log-tables.
        k: how many.

    Returns:
        States by variable, (k, batch, axes), and scores (k, batch), `-inf` where there are fewer than k.
    """
    return _KBest(problem, k).run(plan, tables)


class _KBest:
    def __init__(self, problem: Problem, k: int) -> None:
        self.problem, self.k = problem, k
        self.frame = problem.frame
        self.steps: list[_Step] = []

    def run(self, plan: Plan, tables: Sequence[LogTable]) -> tuple[Assignment, Tensor]:
        total = self._zero().unsqueeze(-1)
        for number in plan.constants:
            dense = tables[number].dense(self.frame, self.problem.sizes)
            total = total + sum_from(dense, self.frame.rank).unsqueeze(-1)
        general = next((step for step in plan.steps if isinstance(step, General)), None)
        if general is None:
            return self._finish({}, total, [])
        ranked, roots, rest = self._eliminate(general, tables)
        scores, merges = total + sum((t.tensor for t in rest), self._zero()).unsqueeze(-1), []
        for number in roots:
            scores, merge = self._merged(scores, ranked[number].scores, number)
            merges.append(merge)
        where = torch.arange(scores.shape[-1], device=scores.device).expand(scores.shape)
        return self._finish(self._trace(merges, where), scores, list(general.names))

    def _merged(self, one: Tensor, two: Tensor, table: int) -> tuple[Tensor, _Merge]:
        """The k best sums of an entry of each list, over the last dimension."""
        sums = (one.unsqueeze(-1) + two.unsqueeze(-2)).flatten(-2)
        best, pointers = sums.topk(min(self.k, sums.shape[-1]), -1)
        return best, _Merge(table, pointers, two.shape[-1])

    def _eliminate(
        self, general: General, tables: Sequence[LogTable]
    ) -> tuple[dict[int, _Ranked], list[int], list[Dense]]:
        """Every step's table, the last ones, and what stands wholly outside its sequence."""
        plain = Grounded(self.problem, general.common).tables(general, dict(enumerate(tables)))
        ranked: dict[int, _Ranked] = {}
        open_: list[int] = []
        for number, key in enumerate(general.order.keys):
            mine = [t for t in plain if key in t.keys]
            plain = [t for t in plain if key not in t.keys]
            merged = [i for i in open_ if key in ranked[i].keys]
            open_ = [i for i in open_ if i not in merged]
            ranked[number] = self._step(key, mine, merged, ranked)  # type: ignore[arg-type]
            open_.append(number)
        return ranked, open_, plain

    def _zero(self) -> Tensor:
        return torch.zeros(self.frame.batch, dtype=self.frame.dtype, device=self.frame.device)

    def _step(self, key: Key, mine: Sequence[Dense], merged: Sequence[int], ranked: Mapping[int, _Ranked]) -> _Ranked:
        states = self.problem.unknowns[key[0]].states
        zero = torch.zeros((states,) + (1,) * self.frame.rank, dtype=self.frame.dtype, device=self.frame.device)
        lists = [Dense(ranked[i].keys, ranked[i].scores) for i in merged]
        joint = multiply([*mine, Dense((key,), zero)], key)
        keys = (key, *dict.fromkeys(x for t in (joint, *lists) for x in t.keys if x != key))
        others = keys[1:]
        shape = [states] + [self.problem.unknowns[x[0]].states for x in others] + list(self.frame.batch)  # type: ignore[index]
        scores, merges = joint.aligned(keys).unsqueeze(-1).expand(*shape, 1), []
        for number, table in zip(merged, lists, strict=True):
            scores, merge = self._merged(scores, table.aligned(keys), number)
            merges.append(merge)
        width = scores.shape[-1]
        scores = scores.movedim(0, -2).flatten(-2)
        best, pointers = scores.topk(min(self.k, scores.shape[-1]), -1)
        self.steps.append(_Step(key, others, pointers, width, tuple(merges)))  # type: ignore[arg-type]
        return _Ranked(others, best)  # type: ignore[arg-type]

    def _trace(self, roots: Sequence[_Merge], where: Tensor) -> dict[Key, Tensor]:
        """States of every key, (batch, k), walking the elimination backwards."""
        rank: dict[int, Tensor] = {}
        chosen: dict[Key, Tensor] = {}
        _unmerge(roots, (), where, rank)
        for number in range(len(self.steps) - 1, -1, -1):
            step = self.steps[number]
            others = [chosen[key] for key in step.others]
            pointer = _lookup(step.pointers, others, rank[number])
            chosen[step.key] = pointer // step.width
            _unmerge(step.merges, (chosen[step.key], *others), pointer % step.width, rank)
        return chosen

    def _finish(self, chosen: Mapping[Key, Tensor], scores: Tensor, names: list[str]) -> tuple[Assignment, Tensor]:
        """Ranks first; missing ones repeat state 0 and score `-inf`."""
        short = self.k - scores.shape[-1]
        scores = torch.nn.functional.pad(scores, (0, short), value=-torch.inf).movedim(-1, 0)
        states = {}
        moved = {key: torch.nn.functional.pad(v, (0, short)).movedim(-1, 0) for key, v in chosen.items()}
        for name in names:
            states[name] = gathered(self.problem, name, (), moved, (self.k, *self.frame.batch))
        return states, scores


def _unmerge(merges: Sequence[_Merge], states: Sequence[Tensor], place: Tensor, rank: dict[int, Tensor]) -> None:
    """The rank that each merged list contributed, last merge first."""
    for merge in reversed(merges):
        pointer = _lookup(merge.pointers, states, place)
        rank[merge.table] = pointer % merge.width
        place = pointer // merge.width


def _lookup(table: Tensor, states: Sequence[Tensor], rank: Tensor) -> Tensor:
    """Entries of a (states, batch, k) table at states and ranks (batch, k)."""
    batch = rank.shape[:-1]
    rows = [
        torch.arange(n, device=rank.device).reshape(*(1,) * d, n, *(1,) * (rank.dim() - d - 1))
        for d, n in enumerate(batch)
    ]
    return table[(*states, *rows, rank)]

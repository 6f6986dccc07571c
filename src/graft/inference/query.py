"""Exact answers to one situation: log Z and its gradients, each problem posed, planned and tabulated once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf

import torch
from torch import Tensor

from graft.errors import ImpossibleEvidence
from graft.inference.direct import direct
from graft.inference.domain import reaches
from graft.inference.plan import General, Plan, make
from graft.inference.problem import Problem, Sketch, pose
from graft.inference.settle import Situation
from graft.inference.sweep import Swept, marginals_of, sweep
from graft.inference.tables import LogTable
from graft.ops.dense import sum_from
from graft.ops.modes import differentiable, ordinary, plain


@dataclass(eq=False)
class Query:
    """One sum over unknowns.

    Attributes:
        problem: what is summed.
        budget: bytes a plan may take.
        chains: whether chains go to the chain engine (False: general elimination does them too).
    """

    problem: Problem
    budget: int
    chains: bool = True
    _tables: tuple[bool, list[LogTable]] | None = field(default=None, repr=False)
    _swept: tuple[bool, Swept] | None = field(default=None, repr=False)
    _recorded: Swept | None = field(default=None, repr=False)

    @cached_property
    def plan(self) -> Plan:
        return make(self.problem, self.budget, chains=self.chains)

    @property
    def tables(self) -> list[LogTable]:
        """The log-tables; those made without gradients are not kept for who wants them."""
        _ = self.plan  # refuse before anything is allocated
        want = torch.is_grad_enabled()
        if self._tables is None or (want and not self._tables[0]):
            with ordinary():
                self._tables = (want, self.problem.tables())
        return self._tables[1]

    @property
    def swept(self) -> Swept:
        """The summing sweep; one made without gradients is not kept for who wants them."""
        want = torch.is_grad_enabled()
        if self._swept is None or (want and not self._swept[0]):
            found = None if self._tables else direct(self.problem, self.plan, False)
            swept = sweep(self.problem, self.plan, self.tables) if found is None else Swept(found.value, ((),))
            self._swept = (want, swept)
        return self._swept[1]

    @property
    def log_partition(self) -> Tensor:
        return self.swept.value

    def possible(self, what: str) -> None:
        """Refuse rows of probability zero.

        Raises:
            ImpossibleEvidence: naming them.
        """
        impossible(self.log_partition.detach(), what)

    def recorded(self) -> Swept:
        """The summing sweep with what drawing states needs, made once; it carries no gradients."""
        if not any(isinstance(step, General) for step in self.plan.steps):
            return self.swept  # other steps keep it in any case
        if self._recorded is None:
            with torch.no_grad():
                self._recorded = sweep(self.problem, self.plan, self.tables, records=True)
        return self._recorded

    def short(self, what: str) -> dict[str, Tensor] | None:
        """The marginals of all unknowns, (batch, states) by name, if they need no tables; see `direct`.

        Raises:
            ImpossibleEvidence: naming the rows of probability zero.
        """
        found = None if self._tables else direct(self.problem, self.plan, True)
        if found is None:
            return None
        if found.least == -inf:
            impossible(found.value, what)
        return found.marginals

    def singles(self, what: str) -> dict[str, Tensor]:
        """The marginals of all unknowns: (states, batch, axes) by name, 0 where nothing exists.

        Raises:
            ImpossibleEvidence: naming the rows of probability zero.
        """
        probes = {name: Sketch((unknown.term,), unknown.axes) for name, unknown in self.problem.unknowns.items()}
        if not all(isinstance(step, General) for step in self.plan.steps):
            self.possible(what)
            return dict(zip(probes, self.gradients(list(probes.values())), strict=True))
        with ordinary():
            tables = [table.with_tensor(plain(table.tensor)) for table in self.tables]
            value, found = marginals_of(self.problem, self.plan, tables)
        impossible(value, what)
        for name, probe in probes.items():
            valid = _valid(self.problem, probe)
            found[name] = found[name] if valid is None else torch.where(valid, found[name], 0.0)
        return found

    def best(self) -> Swept:
        """The maximising sweep."""
        return sweep(self.problem, self.plan, self.tables, maximum=True)

    def gradients(self, probes: Sequence[Sketch]) -> list[Tensor]:
        """The gradient of log Z with respect to additional log-tables of zeros: marginals of their slots.

        Args:
            probes: what to add; (slots, letters, window).

        Returns:
            One tensor per probe: (slots, batch, letters), letters of full size.
        """
        problem = self.problem
        shadow = replace(problem, sketches=[*problem.sketches, *probes])
        plan = make(shadow, self.budget, chains=self.chains)
        with differentiable() as again:
            tables = [table.with_tensor(plain(table.tensor)) for table in self.tables]
            zeros = [_zeros(problem, probe, tables) for probe in probes]
            extra = [
                LogTable(p.slots, p.letters, z, {}, _valid(problem, p), natural=False)
                for p, z in zip(probes, zeros, strict=True)
            ]
            value = sweep(shadow, plan, [*tables, *extra]).value
            if not zeros:
                return []
            # a pair that no two elements make is not in the sum at all
            return list(
                torch.autograd.grad(value.sum(), zeros, create_graph=again, allow_unused=True, materialize_grads=True)
            )

    def entropy(self) -> Tensor:
        r"""The joint entropy $\log Z - \sum_f E[\log f]$ of all unknowns, shape batch."""
        with differentiable() as again:
            wide = [_per_row(self.problem, table) for table in self.tables]
            tables = [table.with_tensor(tensor) for table, tensor in zip(self.tables, wide, strict=True)]
            value = sweep(self.problem, self.plan, tables).value
            if not wide:
                return value
            grads = torch.autograd.grad(value.sum(), wide, create_graph=again, allow_unused=True)
            for table, tensor, grad in zip(tables, wide, grads, strict=True):
                if grad is not None:
                    value = value - _expectation(tensor, grad, len(table.slots), self.problem.frame.rank)
            return value if again else value.detach()


def _per_row(problem: Problem, table: LogTable) -> Tensor:
    """A table's tensor with the full batch shape, as something to differentiate by."""
    tensor, lead = plain(table.tensor), len(table.slots)
    shape = (*tensor.shape[:lead], *problem.frame.batch, *tensor.shape[lead + problem.frame.rank :])
    wide = tensor.expand(shape)
    return wide if wide.requires_grad else wide.detach().requires_grad_()


def _expectation(tensor: Tensor, grad: Tensor, slots: int, rank: int) -> Tensor:
    """The sum of p log f over everything but the batch; hard zeros have p = 0."""
    part = torch.where(torch.isfinite(tensor), tensor, torch.zeros_like(tensor)) * grad
    part = sum_from(part, slots + rank)
    return part.sum(tuple(range(slots))) if slots else part


def impossible(log_partition: Tensor, what: str) -> None:
    """Complain of rows whose log Z is -inf.

    Raises:
        ImpossibleEvidence: naming them.
    """
    if not log_partition.numel() or log_partition.min().item() != -torch.inf:
        return
    bad = log_partition == -torch.inf
    rows = [tuple(int(i) for i in row) for row in bad.nonzero()]
    shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
    where = f" in rows {shown}" if bad.dim() else ""
    raise ImpossibleEvidence(f"the evidence has probability zero{where}: no {what} exists there", rows)


def _zeros(problem: Problem, probe: Sketch, tables: Sequence[LogTable]) -> Tensor:
    states = [problem.unknowns[slot.name].states for slot in probe.slots]
    shape = (*states, *problem.frame.batch, *(problem.sizes[x] for x in probe.letters))
    dtype = problem.frame.dtype
    for table in tables:
        dtype = torch.promote_types(dtype, table.tensor.dtype)
    return torch.zeros(shape, dtype=dtype, device=problem.frame.device, requires_grad=True)


def _valid(problem: Problem, probe: Sketch) -> Tensor | None:
    """(batch, letters): where all slots of a probe exist."""
    frame, variables = problem.frame, problem.situation.graph.variables
    letters = tuple(x for x in probe.letters if x in frame.sizes)
    masks = [frame.exists(letters)]
    for slot in probe.slots:
        masks += reaches(slot, variables[slot.name], letters, frame)
    for place, letter in enumerate(letters):
        low, high = probe.window.get(letter, (0, frame.sizes[letter]))
        steps = torch.arange(frame.sizes[letter], device=frame.device)
        if (low, high) != (0, frame.sizes[letter]):
            mine = (steps >= low) & (steps < high)
            masks.append(mine.reshape(-1, *(1,) * (len(letters) - place - 1)))
    mask = None
    for one in masks:
        if one is not None:
            mask = one if mask is None else mask & one
    if mask is not None:
        mask = mask.reshape((1,) * (frame.rank + len(letters) - mask.dim()) + tuple(mask.shape))
    if mask is not None and len(letters) < len(probe.letters):
        mask = mask.unsqueeze(-1)
    return mask


def ask(
    situation: Situation,
    budget: int,
    chains: bool,
    wanted: Collection[str] = (),
    *,
    everything: bool = False,
    scored: bool = True,
) -> Query:
    """Pose a query about some unknowns (or all); see `pose`."""
    return Query(pose(situation, wanted, everything, scored), budget, chains)

"""Programs of any form: axes, loops, ragged rows, what is left summed out exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from graft.distributions.density import Density
from graft.distributions.density_of import density_of
from graft.errors import GraftError
from graft.graph.nodes import Node
from graft.graph.recurrence import schedule
from graft.inference.arguments import BUDGET
from graft.inference.calls import call_here, checked
from graft.inference.clean import Given
from graft.inference.domain import Windows, natural, valid, window
from graft.inference.guided.straight import drawn_names
from graft.inference.guided.trace import Drawer, Trace
from graft.inference.guided.twice import same_again
from graft.inference.plan import make
from graft.inference.problem import Problem, pose, scorers
from graft.inference.program import Program, readable, ready_of
from graft.inference.ready import Ready
from graft.inference.run import Runner
from graft.inference.scoring import Scorer, lead_of
from graft.inference.settle import Situation
from graft.inference.store import Store
from graft.inference.sweep import sweep
from graft.inference.tables import LogTable
from graft.inference.values import Value
from graft.ops.dense import sum_from


class _Drawing(Runner):
    """A runner that tells its drawer which factor draws."""

    def __init__(self, store: Store, drawer: Drawer, ready: Mapping[Node, Ready]) -> None:
        super().__init__(store, self._none, ready)
        self.drawer = drawer

    @staticmethod
    def _none(_: Distribution) -> Tensor:
        raise AssertionError("every factor of a guide draws for itself")

    def _called(self, node: Node, letters: tuple[str, ...], where: Windows) -> Value:
        self.draw = lambda dist: self._drawn(node, dist)
        return super()._called(node, letters, where)

    def _drawn(self, node: Node, dist: Distribution) -> Tensor:
        return self.drawer(node, density_of(dist), tuple(dist.batch_shape))


def run(
    program: Program,
    situation: Situation,
    extra: tuple[int, ...],
    drawer: Drawer,
    relaxed: frozenset[str] = frozenset(),
    values: Mapping[str, Tensor] | None = None,
) -> GeneralTrace:
    """Run a guide beside its model.

    Args:
        program: the pair.
        situation: evidence of the model's call.
        extra: dimensions to be drawn before the batch.
        drawer: makes values.
        relaxed: discrete variables whose values lie between their states.
        values: of the guide's variables that are scored instead of drawn, (batch, axes, event), compact.

    Raises:
        GraftError: if the guide reads a random name that is neither evidence nor its own.
    """
    if not program.guide.directed:
        raise GraftError("potentials in a guide multiply conjugate factors of the model, which no engine here does")
    known = {n: g.value for n, g in situation.given.items() if g.value is not None}
    readable(program, known)
    nodes = program.producers(frozenset(known))
    ready = ready_of(program, situation, known, nodes)
    wide = widened(situation, extra)
    store = Store(wide.frame, program.variables)
    store.values = {n: Value(g.value) for n, g in wide.given.items() if g.value is not None}
    told = values or {}
    store.values |= {n: Value(v.expand((*extra, *v.shape))) for n, v in told.items()}
    drawn = [node for node in nodes if node.head.name not in told]
    _Drawing(store, drawer, ready).run(schedule(drawn, program.variables))
    return GeneralTrace(program, wide, extra, situation.frame.batch, nodes, store, ready, relaxed)


def widened(situation: Situation, extra: tuple[int, ...]) -> Situation:
    """The same call with dimensions before its batch."""
    if not extra:
        return situation
    given = {}
    for name, one in situation.given.items():
        parts = {f: getattr(one, f) for f in ("value", "log_mask", "cells", "dead")}
        given[name] = Given(**{f: None if v is None else v.expand((*extra, *v.shape)) for f, v in parts.items()})
    return replace(situation, frame=situation.frame.expanded(extra), given=given, made={})


class GeneralTrace(Trace):
    """See `Trace`."""

    def __init__(
        self,
        program: Program,
        situation: Situation,
        extra: tuple[int, ...],
        batch: tuple[int, ...],
        nodes: Sequence[Node],
        store: Store,
        ready: dict[Node, Ready],
        relaxed: frozenset[str],
    ) -> None:
        self.program, self.extra, self.batch, self.store, self.ready = program, extra, batch, store, ready
        self.relaxed = relaxed
        frame = situation.frame
        there = [n for n in nodes if n.kind == "conditional" and window(n, program.variables, frame) is not None]
        self.guide = tuple(there)
        self._loose = drawn_names(nodes)
        drawn = {node.head.name for node in there}
        self.draws = {name: store.values[name].tensor for name in drawn if name in store.values}
        proposed = {n: Given(value=store.values[n].tensor) for n in program.proposes if n not in situation.given}
        self.situation = replace(situation, given={**situation.given, **proposed})
        self.problem: Problem = pose(self.situation)
        self.unknown = tuple(self.problem.unknowns)
        self.model = tuple(s.node for s in self.problem.sketches if s.node is not None)
        self._tables: dict[Node, LogTable] | None = None

    def log_q(self, node: Node) -> Tensor:
        where = self._window(node)
        if node.head.name in self.relaxed:
            return self._between(node, where)
        if node not in self.ready:
            same_again(node, "scoring what it drew")
        return self._summed(Scorer(self.store, self.ready, {}).table(node, where, evidence=True))

    def direct(self, node: Node) -> Tensor:
        where = self._window(node)
        if node in self.ready:
            value = self.store.values[node.head.name].tensor.detach()
            found = self.ready[node].log_prob(value, 0, self.store.frame)
            return self._as_table(node, where, found)
        bare = Store(self.store.frame, self.store.variables)
        bare.values = {
            name: Value(value.tensor.detach()) if name in self._loose else value
            for name, value in self.store.values.items()
        }
        return self._summed(Scorer(bare, {}, {}).table(node, where, evidence=True))

    def log_p(self, node: Node) -> Tensor:
        if node.kind == "conditional" and node.head.name in self.relaxed:
            return self._between(node, self._window(node))
        if self._tables is None:
            scorer, _ = scorers(self.problem)
            self._tables = {
                sketch.node: scorer.table(sketch.node, sketch.window, evidence=True)
                for sketch in self.problem.sketches
                if sketch.node is not None and sketch.node.head.name not in self.relaxed
            }
        return self._summed(self._tables[node])

    def log_joint(self) -> Tensor:
        if not self.program.model.directed:
            raise GraftError("the bound of a model with potentials needs its normaliser, which is not built")
        return sweep(self.problem, make(self.problem, BUDGET), self.problem.tables()).value

    def kl(self, guide: Node, model: Node) -> Tensor | None:
        where = self._window(guide)
        if where != window(model, self.program.variables, self.store.frame) or guide.letters != model.letters:
            return None
        q, p = self._density(guide, where), self._density(model, where)
        if q is None or p is None:
            return None
        found = q.kl(p)
        return None if found is None else self._as_table(guide, where, found)

    def entropy(self, node: Node) -> Tensor | None:
        where = self._window(node)
        density = self._density(node, where)
        found = None if density is None else density.entropy()
        return None if found is None else self._as_table(node, where, found)

    def _density(self, node: Node, where: Windows) -> Density | None:
        """The distribution of a factor at what is drawn; None where it was called on ragged rows as given."""
        if node in self.ready:
            ready = self.ready[node]
            return density_of(ready.output) if not self.store.frame.existence and _whole(where, self.store) else None
        if node in self.guide:
            same_again(node, "scoring what it drew")
        out: Any
        out, slots = call_here(node, self.store, where)
        if slots:
            return None
        return density_of(
            checked(out, node, lead_of(node, where, self.store.frame), self.store.variables[node.head.name])
        )

    def _between(self, node: Node, where: Windows) -> Tensor:
        """The log-density at a relaxed value."""
        density = self._density(node, where)
        if density is None:
            raise GraftError(f"{node}: a relaxed value of {node.head.name} is not scored where rows are ragged")
        letters = tuple(x for x in node.letters if x in self.store.frame.sizes)
        value = self.store.read(node.head, letters, where).tensor
        return self._as_table(node, where, density.log_prob(value))

    def _window(self, node: Node) -> Windows:
        found = window(node, self.program.variables, self.store.frame)
        assert found is not None
        return found

    def _as_table(self, node: Node, where: Windows, found: Tensor) -> Tensor:
        lead = lead_of(node, where, self.store.frame)
        found = found.expand(lead) if found.dim() <= len(lead) else found
        mask = valid(node, self.store.variables, self.store.frame)
        own = natural(node, self.store.variables)
        return self._summed(LogTable((), node.letters, found, where, mask, True, own))

    def _summed(self, table: LogTable) -> Tensor:
        frame = self.store.frame
        return sum_from(table.dense(frame, frame.sizes), frame.rank)


def _whole(where: Windows, store: Store) -> bool:
    return all(span == (0, store.frame.sizes[letter]) for letter, span in where.items())

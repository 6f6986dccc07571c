"""What objectives of a model and a guide share: the program, an estimator for every variable, a run on a batch."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from graft.distributions.density import Density
from graft.errors import GraftError
from graft.graph.nodes import Node, Variable
from graft.graph.recurrence import Loop
from graft.inference.guided import general
from graft.inference.guided.dependence import apart, depends, loops_of, reach
from graft.inference.guided.trace import Drawer, Trace
from graft.inference.how_many import positive
from graft.inference.program import join
from graft.model import Model
from graft.objectives.base import Objective, total
from graft.objectives.estimators.base import Estimator
from graft.objectives.estimators.choose import chosen
from graft.objectives.estimators.coupled import Coupled
from graft.objectives.estimators.enumeration import laid_out
from graft.objectives.estimators.rebar import REBAR
from graft.objectives.evaluations import Evaluation, first, nothing_follows, same
from graft.objectives.intake import Intake, Kind, Taken
from graft.objectives.phases import Phase
from graft.objectives.treatments import Treatments, treatments
from graft.objectives.truth import is_model


class GuidedObjective(Objective):
    """An objective of a model p and a guide q.

    Args:
        model: p.
        guide: q.
        samples: draws of the guide for each row.
        estimators: by variable, what is not named being chosen; or one kind for all.
        several: the objective is a bound of several samples.
    """

    def __init__(
        self,
        model: Any,
        guide: Any,
        samples: Any,
        estimators: Mapping[str, Estimator] | type[Estimator] | None,
        several: bool = False,
    ) -> None:
        super().__init__()
        who = type(self).__name__
        is_model(model, who)
        if not isinstance(guide, Model):
            raise GraftError(f"{who} takes a guide second, a Model, not {type(guide).__name__}")
        # the guide first: its gradients are the last made, and an optimizer finds them where they were written
        self.guide, self.model = guide, model
        self.samples = positive(samples, "samples")
        self.program = join(model.graph, guide.joined(model))
        drawn = [name for name in self.program.proposes if not self.program.guide.variables[name].is_computed]
        if isinstance(estimators, type):
            estimators = {name: estimators() for name in drawn}
        found = chosen(self.program, drawn, dict(estimators or {}), self.samples, several)
        nothing_follows(self.program, found)
        self.names = tuple(found)
        self.chosen = nn.ModuleList(found.values())
        # beside the module list, whose own lookup is as dear as a small operation
        self._by_name = dict(found)
        self.intake = Intake(model, self.program)
        self._reached: dict[frozenset[str], Reached] = {}
        self._layouts: dict[tuple[Any, ...], Layout] = {}

    def estimator(self, name: str) -> Estimator:
        """How the gradient of a variable is estimated."""
        return self._by_name[name]

    def explain(self, *given: str) -> Treatments:
        """How each variable is dealt with, and by which estimator; prints as a table.

        Args:
            given: names that a batch holds; if none are named, what neither guide nor planner makes.

        Raises:
            GraftError: a name is no variable of the model.
        """
        return treatments(self.program, dict(zip(self.names, self.chosen, strict=True)), given)  # type: ignore[arg-type]

    def draw(self, path: Any = None) -> Any:
        """The diagram of the model with its guide dashed; see `Model.draw`."""
        return self.model.draw(self.guide, path)

    def phases(self) -> tuple[Phase, ...]:
        """The guide's steps (E) and the model's (M), both of the same loss."""
        model, guide = tuple(self.model.parameters()), tuple(self.guide.parameters())
        # baselines and temperatures belong to the guide
        own = tuple(p for one in self.chosen for p in one.parameters())
        return Phase("guide", self, (*guide, *own)), Phase("model", self, model)

    def run(self, batch: Any, samples: int | None = None, values: Mapping[str, Tensor] | None = None) -> Run:
        """Run the guide on a batch.

        Args:
            batch: values and evidence by name, and possibly `lengths`, `mask` or `sizes`.
            samples: in place of the objective's own.
            values: of the guide's variables, to be scored instead of drawn; what is not named is drawn.

        Raises:
            GraftError: wrong names, shapes or values; a variable that needs a guide and has none.
        """
        return self.ran(self.intake.take(batch), samples, values)

    def ran(self, taken: Taken, samples: int | None = None, values: Mapping[str, Tensor] | None = None) -> Run:
        """`run` on a batch that was checked."""
        count = self.samples if samples is None else samples
        run = Run(self, taken.known, count, taken.compact(values))
        trace = self.traced(taken, run.wide, run.drawn, run.relaxes, run.values)
        run.trace = Evaluation(trace, 0) if run.relaxing else trace
        run.evidence = taken.values
        run.kind = taken.kind if values is None and count == self.samples else None
        return run

    def traced(
        self,
        taken: Taken,
        extra: tuple[int, ...],
        drawer: Drawer,
        relaxed: frozenset[str] = frozenset(),
        values: Mapping[str, Tensor] | None = None,
    ) -> Trace:
        """Run the guide on a checked batch, by the way that serves it; see `general.run`."""
        if taken.straight is not None:
            return taken.straight.run(taken.values, taken.batch, extra, drawer)
        return general.run(self.program, taken.situation, extra, drawer, relaxed, values)

    def layout(self, known: frozenset[str], samples: int, told: frozenset[str]) -> Layout:
        """The dimensions of a run where some names are evidence and others told; found once."""
        key = (known, samples, told)
        found = self._layouts.get(key)
        if found is None:
            found = self._layouts[key] = _laid_out(self, known, samples, told)
        return found

    def reached(self, known: frozenset[str]) -> Reached:
        """What depends on which draws, where these names are evidence."""
        if known not in self._reached:
            self._reached[known] = Reached(reach(self.program, known), loops_of(self.program, known))
        return self._reached[known]


@dataclass(frozen=True)
class Reached:
    """What depends on which draws.

    Attributes:
        by: the draws that each value depends on, by name.
        loops: the recurrences of the program.
    """

    by: Mapping[str, frozenset[str]]
    loops: tuple[Loop, ...]
    _of: dict[tuple[Node, bool], frozenset[str]] = field(default_factory=dict)
    _settled: dict[Node, bool] = field(default_factory=dict)
    #: what `twin` found
    twins: dict[Node, Node | None] = field(default_factory=dict)

    def of(self, node: Node, head: bool = True) -> frozenset[str]:
        """The draws that a log-factor depends on; without its head, those that its parameters depend on."""
        found = self._of.get((node, head))
        if found is None:
            found = self._of[node, head] = depends(node, self.by, head)
        return found

    def settled(self, node: Node) -> bool:
        """Whether what a conditional reads is settled before its variable is drawn."""
        if node not in self._settled:
            name = node.head.name
            self._settled[node] = all(apart(term, name, self.by, self.loops) for term in node.reads)
        return self._settled[node]


@dataclass(frozen=True)
class Layout:
    """What a run has before it draws anything.

    Attributes:
        enumerated: names, in the order of their dimensions.
        samples: the dimension of samples; None if there is one draw.
        extra: one dimension for each enumerated variable, then that of samples if there are several.
        twice: variables whose bound is evaluated at relaxed values too.
        relaxes: variables whose draws are relaxed.
    """

    enumerated: tuple[str, ...]
    samples: int | None
    extra: tuple[int, ...]
    twice: tuple[str, ...]
    relaxes: frozenset[str]


def _laid_out(objective: GuidedObjective, known: frozenset[str], samples: int, told: frozenset[str]) -> Layout:
    free = [name for name in objective.names if name not in known and name not in told]
    variables = objective.program.model.variables
    counts = {name: objective.estimator(name).states(variables[name].support) for name in free}
    states = {name: count for name, count in counts.items() if count is not None}
    return Layout(
        tuple(states),
        len(states) if samples > 1 else None,
        tuple(states.values()) + ((samples,) if samples > 1 else ()),
        tuple(name for name in free if objective.estimator(name).evaluates > 1),
        frozenset(n for n in objective.names if objective.estimator(n).relaxes and n not in told),
    )


class Run:
    """One run of an objective's guide: dimensions, weights, the trace.

    Attributes:
        extra: one dimension for each enumerated variable, then that of samples if there are several.
        enumerated: names, in the order of their dimensions.
        samples: the dimension of samples; None if there is one draw.
        relaxing: variables at whose relaxed values the bound is computed too.
        soft: the trace is the one at relaxed values.
        coupled: their draws, by factor or step.
        relaxes: variables whose draws are relaxed.
        kind: of the batch, if it is a plain one and nothing but the batch was told.
    """

    soft = False
    kind: Kind | None = None
    trace: Trace
    evidence: Mapping[str, Tensor]

    def __init__(
        self,
        objective: GuidedObjective,
        known: frozenset[str],
        samples: int,
        values: Mapping[str, Tensor] | None,
    ) -> None:
        self.objective, self.known, self.values = objective, known, values
        layout = objective.layout(known, samples, frozenset(values or ()))
        self.enumerated, self.samples, self.extra = layout.enumerated, layout.samples, layout.extra
        self.relaxes = layout.relaxes
        self.relaxing = layout.twice if torch.is_grad_enabled() else ()
        self.coupled: dict[str, list[Coupled]] = {name: [] for name in self.relaxing}

    @property
    def wide(self) -> tuple[int, ...]:
        """The dimensions that are run: `extra`, behind one of states and relaxed values."""
        return (2, *self.extra) if self.relaxing else self.extra

    def relaxed(self) -> Run:
        """The same run at the relaxed values."""
        assert isinstance(self.trace, Evaluation)
        found = copy(self)
        found.trace, found.soft = self.trace.at(1), True
        return found

    def drawn(self, node: Node, density: Density, lead: tuple[int, ...]) -> Tensor:
        """A value for one factor of the guide."""
        name = node.head.name
        if self.values is not None and name in self.values:
            return self.values[name].expand((*lead, *density.event))
        if name in self.enumerated:
            support = self._variable(name).support
            assert support is not None
            place = len(self.wide) - len(self.extra) + self.enumerated.index(name)
            return laid_out(support, place, lead, density.like)
        if name not in self.objective.names:
            raise GraftError(f"{name} is drawn by the guide, but nothing says how")
        estimator = self.objective.estimator(name)
        if not self.relaxing:
            return estimator.draw(density, lead)
        if name not in self.relaxing:
            return same(estimator.draw, density, lead)
        assert isinstance(estimator, REBAR)
        pair = estimator.couple(first(density, lead), lead[1:])
        self.coupled[name].append(pair)
        return torch.stack((pair.hard, pair.soft))

    def weight(self) -> Tensor | None:
        """The probability of each cell of enumerated states, (extra, batch); None if nothing is enumerated."""
        if not self.enumerated:
            return None
        parts = [self.trace.log_q(node) for node in self.trace.guide if node.head.name in self.enumerated]
        return total(parts).exp().expand(self.extra + self.trace.batch)

    def spread(self, part: Tensor) -> Tensor:
        """A log-factor at every cell, (extra, batch)."""
        return part.expand(self.extra + self.trace.batch)

    def nodes(self, name: str) -> list[Node]:
        """The factors of the guide that drew a variable."""
        return [node for node in self.trace.guide if node.head.name == name]

    def reduced(self, part: Tensor, weight: Tensor | None) -> Tensor:
        """The mean of a log-factor over draws and enumerated states: shape batch."""
        rank = len(self.trace.batch)
        if not self.extra or part.dim() <= rank:
            return part
        part = self.spread(part)
        if weight is not None:
            part = (part * weight).sum(tuple(range(len(self.enumerated))))
        return part if self.samples is None else part.mean(0)

    def _variable(self, name: str) -> Variable:
        return self.objective.program.model.variables[name]


def zero_valued(part: Tensor) -> Tensor:
    """A number that is 0 and has the gradient of `part`."""
    return part - part.detach()

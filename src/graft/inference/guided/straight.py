"""Programs without axes: factors called one after the other on plain tensors, in an order found once.

This is the path of autoencoders and belief nets. Nothing is built for a call but the tensors themselves: no frame, no
windows, no distribution objects. What it computes is what `general` computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from graft.distributions.density import Density
from graft.distributions.density_of import density_of
from graft.errors import GraftError, ShapeError
from graft.factors.base import Argument, Call, Conditional, Function
from graft.graph.nodes import Node, Variable
from graft.graph.parse import EXISTENCE
from graft.graph.recurrence import Loop, schedule
from graft.inference.calls import FAULTS, arguments, complaint
from graft.inference.guided.trace import Drawer, Trace
from graft.inference.guided.twice import same_again
from graft.inference.program import Program


@dataclass(frozen=True)
class Step:
    """One factor, ready to be called.

    Attributes:
        node: the factor.
        reads: names of what it reads.
        told: what its arguments are.
        only_evidence: it reads nothing but what the call gives.
    """

    node: Node
    reads: tuple[str, ...]
    told: tuple[Argument, ...]
    only_evidence: bool
    _calls: dict[int, Call] = field(default_factory=dict)

    def call(self, rank: int) -> Call:
        """How to read its inputs, by the number of their leading dimensions."""
        found = self._calls.get(rank)
        if found is None:
            alone = not self.node.reads
            found = self._calls[rank] = Call(0 if alone else rank, self.told, as_given=self.only_evidence and not alone)
        return found


class Straight:
    """A program that runs straight through.

    Args:
        program: model and guide.
        known: names of evidence.
    """

    def __init__(self, program: Program, known: frozenset[str]) -> None:
        self.program, self.known, self.variables = program, known, program.variables
        variables = self.variables
        order = [node for node in schedule(program.producers(known), variables) if isinstance(node, Node)]
        self.makes = tuple(_step(node, variables, known) for node in order)
        inputs = frozenset(program.model.inputs) & known
        self.guide = tuple(step.node for step in self.makes if step.node.kind == "conditional")
        scored = [node for node in program.model.nodes if node.kind == "conditional"]
        self.scores = tuple(_step(node, variables, inputs) for node in scored)
        self.model = tuple(step.node for step in self.scores)
        self.steps = {step.node: step for step in (*self.makes, *self.scores)}
        #: names whose values depend on a draw
        self.loose = drawn_names(step.node for step in self.makes)
        #: factors of the model that the guide has too, module and all: each is called once for both
        self.same = {node: twin for node in self.model for twin in self.guide if _alike(node, twin)}
        #: shapes that were found to fit: of parameters, of the leading dimensions, of the value
        self.fitting: set[tuple[Any, ...]] = set()

    def run(
        self, given: Mapping[str, Tensor], batch: tuple[int, ...], extra: tuple[int, ...], drawer: Drawer
    ) -> StraightTrace:
        """Run the guide.

        Args:
            given: evidence and inputs, (batch, event).
            batch: shape of the data's leading dimensions.
            extra: dimensions to be drawn before it.
            drawer: makes values.
        """
        trace = StraightTrace(self, given, batch, extra)
        for step in self.makes:
            trace.make(step, drawer)
        return trace


def serves(program: Program, known: frozenset[str]) -> bool:
    """Whether a program has no axes, no potentials and no loops, and nothing is left to be summed out."""
    variables = program.variables
    if any(v.axes for v in variables.values()) or not program.model.directed or not program.guide.directed:
        return False
    nodes = (*program.model.nodes, *program.guide.nodes)
    if any(term.name in EXISTENCE for node in nodes for term in node.formula.right):
        return False
    if program.model.scored or any(isinstance(step, Loop) for step in schedule(program.producers(known), variables)):
        return False
    return all(name in known or name in program.proposes for name in program.model.random)


def _step(node: Node, variables: Mapping[str, Variable], known: frozenset[str]) -> Step:
    told = arguments(node.reads, variables)
    only = all(term.name in known for term in node.reads)
    return Step(node, tuple(term.name for term in node.reads), told, only)


def drawn_names(nodes: Iterable[Node]) -> frozenset[str]:
    """Names whose values depend on a draw: drawn ones, and what is computed of them."""
    found: set[str] = set()
    producers = list(nodes)
    while True:
        more = {
            node.head.name
            for node in producers
            if node.kind == "conditional" or any(term.name in found for term in node.reads)
        }
        if more <= found:
            return frozenset(found)
        found |= more


class StraightTrace(Trace):
    """See `Trace`; log-factors are computed when they are asked for."""

    def __init__(
        self,
        plan: Straight,
        given: Mapping[str, Tensor],
        batch: tuple[int, ...],
        extra: tuple[int, ...],
    ) -> None:
        self.plan, self.batch, self.extra = plan, batch, extra
        self.values: dict[str, Tensor] = dict(given)
        #: names whose values lack the extra dimensions
        self.flat: set[str] = set(given)
        self.draws: dict[str, Tensor] = {}
        self.guide, self.model, self._steps = plan.guide, plan.model, plan.steps
        self.unknown = ()
        #: with whether gradients were recorded when they were made
        self._densities: dict[Node, tuple[bool, Density]] = {}
        self._scored: dict[tuple[Node, bool], Tensor] = {}

    def make(self, step: Step, drawer: Drawer) -> None:
        """Compute or draw one value."""
        node, lead = step.node, self.extra + self.batch
        if node.kind == "function":
            inputs, rank = self._inputs(step)
            out = self._called(step, inputs, rank)
            self._put_function(step, out, rank)
            return
        value = drawer(node, self.density(node), lead)
        self.values[node.head.name] = self.draws[node.head.name] = value

    def density(self, node: Node) -> Density:
        """The distribution of a factor at what it reads."""
        node, want = self.plan.same.get(node, node), torch.is_grad_enabled()
        had, found = self._densities.get(node, (False, None))
        if found is None or (want and not had):
            step = self._steps[node]
            inputs, rank = self._inputs(step)
            found = self._called(step, inputs, rank)
            self._densities[node] = (want, found)
            self._fits(node, found, rank)
        return found

    def log_q(self, node: Node) -> Tensor:
        return self._score(node)

    def direct(self, node: Node) -> Tensor:
        step, value = self._steps[node], self.values[node.head.name].detach()
        inputs, rank = self._inputs(step)
        loose = [name in self.plan.loose for name in step.reads]
        if not any(cut and one.requires_grad for cut, one in zip(loose, inputs, strict=True)):
            return self.density(node).log_prob(value)
        same_again(node, "the direct part of its gradient")
        bare = tuple(one.detach() if cut else one for cut, one in zip(loose, inputs, strict=True))
        density: Density = self._called(step, bare, rank)
        return density.log_prob(value)

    def log_p(self, node: Node) -> Tensor:
        return self._score(node)

    def _score(self, node: Node) -> Tensor:
        """The log-density at the trace's own values, computed once."""
        key = (node, torch.is_grad_enabled())
        found = self._scored.get(key)
        if found is None:
            found = self._scored[key] = self.density(node).log_prob(self.values[node.head.name])
        return found

    def log_joint(self) -> Tensor:
        parts = [self.log_p(node) for node in self.model]
        return torch.stack(torch.broadcast_tensors(*parts)).sum(0)

    def kl(self, guide: Node, model: Node) -> Tensor | None:
        q, p = self.density(guide), self.density(model)
        return torch.zeros_like(q.log_prob(self.values[guide.head.name]).detach()) if q is p else q.kl(p)

    def entropy(self, node: Node) -> Tensor | None:
        return self.density(node).entropy()

    def _inputs(self, step: Step) -> tuple[tuple[Tensor, ...], int]:
        """What a factor reads, all with as many leading dimensions, and their number."""
        full, flat = len(self.extra) + len(self.batch), len(self.batch)
        if not self.extra or all(name in self.flat for name in step.reads):
            return tuple(self.values[name] for name in step.reads), flat
        ahead = (None,) * len(self.extra)
        return tuple(self.values[n][ahead] if n in self.flat else self.values[n] for n in step.reads), full

    def _called(self, step: Step, inputs: tuple[Tensor, ...], rank: int) -> Any:
        return called(step, inputs, step.call(rank))

    def _put_function(self, step: Step, out: Any, rank: int) -> None:
        name = step.node.head.name
        if not isinstance(out, Tensor):
            raise ShapeError(f"{step.node}: the function returned {type(out).__name__}, not a tensor")
        lead = self.batch if rank == len(self.batch) else self.extra + self.batch
        self._function_fits(step.node, out, rank, lead)
        if tuple(out.shape[:rank]) != lead:
            out = out.expand((*lead, *out.shape[rank:]))
        self.values[name] = out
        if rank == len(self.batch):
            self.flat.add(name)

    def _function_fits(self, node: Node, out: Tensor, rank: int, lead: tuple[int, ...]) -> None:
        support = self.plan.variables[node.head.name].support
        event = int(out.is_floating_point()) if support is None else support.event_rank
        if out.dim() != rank + event or not _spreads(tuple(out.shape[:rank]), lead):
            raise ShapeError(f"{node}: the function returned {tuple(out.shape)}, where {lead} and an event were due")
        if support is not None and tuple(out.shape[rank:]) != support.event_shape:
            raise ShapeError(f"{node}: event shape {tuple(out.shape[rank:])}, but {node.head.name} is {support}")

    def _fits(self, node: Node, density: Density, rank: int) -> None:
        """Shapes of a distribution against support, batch and the value it is asked about, each kind once.

        Raises:
            ShapeError: naming the formula, the shapes and the rule.
        """
        name = node.head.name
        lead = self.batch if rank == len(self.batch) else self.extra + self.batch
        value = self.values.get(name)
        key = (node, density.shape, density.event_rank, lead, None if value is None else value.shape)
        if key not in self.plan.fitting:
            self._check(node, density, lead, value)
            self.plan.fitting.add(key)

    def _check(self, node: Node, density: Density, lead: tuple[int, ...], value: Tensor | None) -> None:
        name = node.head.name
        support = self.plan.variables[name].support
        if support is not None and density.event != support.event_shape:
            raise ShapeError(f"{node}: event shape {density.event}, but {name} is {support}")
        if not _spreads(density.leading, lead):
            raise ShapeError(f"{node}: the distribution has leading shape {density.leading}, which does not fit {lead}")
        event = None if value is None or support is not None else tuple(value.shape[value.dim() - density.event_rank :])
        if event is not None and event != density.event:
            rule = "model and guide, or model and data, disagree"
            raise ShapeError(f"{node}: event shape {density.event}, but {name} has {event}: {rule}")


def called(step: Step, inputs: tuple[Tensor, ...], call: Call) -> Any:
    """What a factor makes of its inputs: a density, or the value of a function.

    Raises:
        ShapeError: the inputs do not fit; the formula is named.
    """
    node = step.node
    try:
        return _call(node, inputs, call)
    except FAULTS as error:
        raise complaint(node, node.reads, inputs, error) from error


def _call(node: Node, inputs: tuple[Tensor, ...], call: Call) -> Any:
    module: Callable[..., Any] = node.module
    if isinstance(module, Conditional):
        return module.density(inputs, call)
    if isinstance(module, Function):
        return module.compute(inputs, call)
    out = module(*inputs)
    if node.kind == "function":
        return out
    if not isinstance(out, torch.distributions.Distribution):
        raise GraftError(f"{node}: the module returned {type(out).__name__}, not a distribution")
    return density_of(out)


def _alike(node: Node, other: Node) -> bool:
    """Whether two factors are one module of one variable that reads the same."""
    return node.module is other.module and node.head == other.head and node.reads == other.reads


def _spreads(shape: tuple[int, ...], lead: tuple[int, ...]) -> bool:
    """Whether a leading shape broadcasts to another."""
    own = lead[len(lead) - len(shape) :]
    return len(shape) <= len(lead) and all(a in (1, b) for a, b in zip(shape, own, strict=True))

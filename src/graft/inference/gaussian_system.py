"""A Gaussian part of a query, evaluated and assembled: a `System` over one vector per step, and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graft.graph.factor_graph import FactorGraph
from graft.graph.nodes import Node, Variable
from graft.inference.clean import Given
from graft.inference.frame import Frame
from graft.inference.gaussian_assemble import Steps, loading
from graft.inference.gaussian_factors import Conditional, Evaluator, Message
from graft.inference.gaussian_layout import Layout, layout
from graft.inference.gaussian_parts import Part, opened
from graft.inference.problem import Problem, compute
from graft.inference.relevance import Relevant
from graft.inference.settle import Situation
from graft.inference.store import Store
from graft.inference.values import Value
from graft.ops.kalman_evidence import Observed, added, evidence
from graft.ops.kalman_system import System, Weights


@dataclass(frozen=True, eq=False)
class Assembled:
    """A part ready for the filter.

    Attributes:
        part: the unknowns and their factors.
        frame: of the call.
        layout: of the state.
        system: the chain.
        lead: sizes of the batch and of the common axes, whose product are the rows.
        seen: the conditionals of observed variables, for predictions.
        variables: of the model.
        holes: values (rows or 1, T, d) of observed variables with missing cells, and which cells were seen.
    """

    part: Part
    frame: Frame
    layout: Layout
    system: System
    lead: tuple[int, ...]
    seen: tuple[Conditional, ...]
    variables: Mapping[str, Variable]
    holes: Mapping[str, tuple[Tensor, Tensor]]

    @property
    def letters(self) -> tuple[str, ...]:
        return self.part.common if self.part.letter is None else (*self.part.common, self.part.letter)

    def restored(self, flat: Tensor) -> Tensor:
        """(rows or 1, T, ...) as (batch, common axes, T, ...)."""
        return flat.expand(self.system.rows, *flat.shape[1:]).reshape(*self.lead, *flat.shape[1:])


def assemble(situation: Situation, part: Part) -> Assembled:
    """Evaluate the factors of a part and compose them.

    Raises:
        IntractableError: a factor turns out not to be Gaussian.
    """
    graph, frame = situation.graph, situation.frame
    evaluator = _evaluator(situation, part)
    makers: dict[str, list[Conditional]] = {name: [] for name in part.names}
    seen: list[Conditional] = []
    messages: list[Message] = []
    for node in part.nodes:
        if node.kind == "potential":
            messages += [found for found in [evaluator.message(node)] if found is not None]
            continue
        found = evaluator.conditional(node)
        if found is not None:
            makers.get(node.head.name, seen).append(found)
    dims = {name: _dim(graph, name) for name in part.names}
    still = frozenset(n for n in part.names if part.letter is not None and part.letter not in graph.variables[n].axes)
    where = layout(dims, still, makers, seen, messages)
    first, later = (Steps(where, makers, after, evaluator.steps, frame.device).move() for after in (False, True))
    weights = None
    for message in messages:
        weights = added(weights, _weights(where, message, evaluator.steps))
    readings, condensed = evidence(_observed(situation, evaluator, where, seen))
    system = System(
        first.offset[:, 0],
        (first.root @ first.root.mT)[:, 0],
        later.matrix,
        later.offset,
        later.root @ later.root.mT,
        evaluator.steps,
        evaluator.rows,
        readings,
        added(condensed, weights),
    )
    return Assembled(part, frame, where, system, evaluator.lead, tuple(seen), graph.variables, _holes(evaluator, seen))


def _dim(graph: FactorGraph, name: str) -> int:
    support = graph.variables[name].support
    assert support is not None
    return support.event_shape[0] if support.event_rank else 1


def _evaluator(situation: Situation, part: Part) -> Evaluator:
    """A store with everything known in it, and zeros for the unknowns."""
    graph, frame = situation.graph, situation.frame
    store = Store(frame, graph.variables)
    for name, given in situation.given.items():
        if given.value is not None and name not in part.names:
            store.values[name] = Value(given.value)
    for name in part.names:
        support = graph.variables[name].support
        assert support is not None
        ones = (1,) * (frame.rank + len(graph.variables[name].axes))
        store.values[name] = Value(torch.zeros(*ones, *support.event_shape, dtype=frame.dtype, device=frame.device))
    functions = _functions(graph, part.nodes, {n for n, g in situation.given.items() if g.value is not None})
    compute(Problem(situation, Relevant((), (), functions, ()), {}, {}), store)
    cells = {n: g.cells for n, g in situation.given.items() if g.cells is not None and n not in part.names}
    return Evaluator(part, store, situation.ready, cells)


def _functions(graph: FactorGraph, nodes: Sequence[Node], known: set[str]) -> tuple[str, ...]:
    """The computed variables that some factors read, directly or not."""
    found: dict[str, None] = {}
    stack = [term.name for node in nodes for term in node.terms]
    while stack:
        variable = graph.variables[stack.pop()]
        if variable.is_computed and variable.name not in found and variable.name not in known:
            found[variable.name] = None
            stack += [term.name for node in variable.functions for term in node.reads]
    return tuple(name for name in graph.computed if name in found)


def _weights(where: Layout, message: Message, steps: int) -> Weights:
    """One potential as evidence on the whole state."""
    reads = loading(where, message, steps)
    precision, shift = message.precision, message.shift
    if message.stands is not None:
        precision, shift = (torch.where(message.stands[..., None], x, 0.0) for x in (precision, shift))
    precision = reads.mT @ (precision.unsqueeze(-1) * reads)
    shift = (reads.mT @ shift.unsqueeze(-1)).squeeze(-1)
    return Weights(precision, shift, precision.new_zeros(1, 1))


def _observed(situation: Situation, evaluator: Evaluator, where: Layout, seen: Sequence[Conditional]) -> Observed:
    """All observed children, and known cells of unknowns, as one reading per step."""
    found = [_reading(evaluator, where, one) for one in seen]
    found += [_exact(evaluator, where, name, given) for name, given in _partly(situation, evaluator.part).items()]
    zero = torch.zeros((), dtype=torch.float64, device=situation.frame.device)
    if not found:
        return Observed(zero.expand(1, 1, 0, where.states), zero.expand(1, 1, 0), zero.expand(1, 1, 0))
    masks = [one.seen for one in found]
    full = torch.ones((), dtype=torch.bool, device=situation.frame.device)
    seen_cells = None
    if any(mask is not None for mask in masks):
        wide = [full.expand(1, 1, one.value.shape[-1]) if one.seen is None else one.seen for one in found]
        seen_cells = _beside(wide)
    if all(one.diagonal for one in found):
        noise = _beside([one.noise for one in found])
    else:
        noise = _blocks([torch.diag_embed(one.noise) if one.diagonal else one.noise for one in found])
    reads = _beside([one.loading.mT for one in found]).mT
    return Observed(reads, _beside([one.value for one in found]), noise, seen_cells)


def _holes(evaluator: Evaluator, seen: Sequence[Conditional]) -> dict[str, tuple[Tensor, Tensor]]:
    """Observed variables with missing cells that lie on the axes of the part."""
    found = {}
    for name in dict.fromkeys(one.node.head.name for one in seen):
        variable = evaluator.store.variables[name]
        if name not in evaluator.cells or set(variable.axes) != set(evaluator.letters):
            continue
        value = evaluator.store.values[name].tensor
        rank = value.dim() - evaluator.store.frame.rank - len(variable.axes)
        parts = (evaluator.flat(x, variable.axes, rank) for x in (value, ~evaluator.cells[name]))
        found[name] = tuple(x.expand(evaluator.rows, -1, -1) for x in parts)
    return found  # type: ignore[return-value]


def _partly(situation: Situation, part: Part) -> Mapping[str, Given]:
    """Unknowns some cells of which are known."""
    names = opened(situation.graph, situation.given)
    partly = (name for name in part.names if name in situation.given)
    return {name: situation.given[name] for name in partly if name in names or situation.given[name].cells is not None}


def _reading(evaluator: Evaluator, where: Layout, one: Conditional) -> Observed:
    value, cells = evaluator.value(one.node)
    noise = one.root.square() if one.diagonal else one.root @ one.root.mT
    if one.stands is not None:
        stands = one.stands[..., None]
        cells = stands.expand(*stands.shape[:2], value.shape[-1]) if cells is None else cells & stands
        clear = stands if one.diagonal else stands[..., None]
        noise = torch.where(clear, noise, 1.0 if one.diagonal else torch.eye(noise.shape[-1], dtype=noise.dtype))
    return Observed(loading(where, one, evaluator.steps), value - one.offset, noise, cells)


def _exact(evaluator: Evaluator, where: Layout, name: str, given: Given) -> Observed:
    """Known cells of an unknown: a reading without noise."""
    assert given.value is not None and given.cells is not None
    variable = evaluator.store.variables[name]
    rank = given.value.dim() - evaluator.store.frame.rank - len(variable.axes)
    value, cells = (evaluator.flat(x, variable.axes, rank) for x in (given.value, ~given.cells))
    exists = evaluator.store.frame.exists(variable.axes)
    if exists is not None:
        shape = (1,) * (evaluator.store.frame.rank + len(variable.axes) - exists.dim())
        cells = cells & evaluator.flat(exists.reshape(*shape, *exists.shape), variable.axes, 0)
    d = where.dims[name]
    reads = torch.zeros(1, 1, d, where.states, dtype=torch.float64, device=value.device)
    reads[..., where.block(name)] = torch.eye(d, dtype=torch.float64, device=value.device)
    if name in where.still:
        steps = torch.arange(evaluator.steps, device=value.device) == 0
        cells = cells & steps[None, :, None]
    return Observed(reads, value, torch.zeros_like(value[:1, :1]), cells)


def _beside(parts: Sequence[Tensor]) -> Tensor:
    """Concatenated along the last dimension, the others broadcast."""
    shape = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*shape, -1) for part in parts], -1)


def _blocks(parts: Sequence[Tensor]) -> Tensor:
    """Matrices along a diagonal."""
    size = sum(part.shape[-1] for part in parts)
    shape = torch.broadcast_shapes(*(part.shape[:-2] for part in parts))
    rows, start = [], 0
    for part in parts:
        width = part.shape[-1]
        wide = part.expand(*shape, -1, -1)
        before = wide.new_zeros(*shape, width, start)
        after = wide.new_zeros(*shape, width, size - start - width)
        rows.append(torch.cat([before, wide, after], -1))
        start += width
    return torch.cat(rows, -2)

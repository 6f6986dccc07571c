"""Filtering by cutting the evidence: one copy of the batch per element, later factors left out."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from graft.errors import GraftError, IntractableError
from graft.graph.factor_graph import FactorGraph
from graft.graph.nodes import Node, element_of
from graft.graph.terms import Axis, Element, Index
from graft.inference.clean import as_weights
from graft.inference.problem import Problem, Sketch
from graft.inference.query import Query
from graft.inference.settle import Situation
from graft.inference.tables import LogTable


def cutoffs(query: Query, name: str, letter: str, present: bool) -> Tensor:
    r"""$p(s_t \mid e_{\le t})$, or $p(s_t \mid e_{<t})$, for every $t$: (states, batch, axes).

    In a directed model whose parents all lie in the past, leaving out the factors of later elements sums those elements
    out. Element $t$ is then one marginal of the model cut at $t$; all cuts run as one batch.

    Args:
        query: of the posterior.
        name: of the unknown.
        letter: its time axis.
        present: whether the evidence at $t$ itself counts.

    Raises:
        GraftError: if the model is not directed, or looks forward along the axis.
    """
    problem = query.problem
    _forward_looking(problem, letter)
    size = problem.sizes[letter]
    cuts = torch.arange(size, device=problem.frame.device)
    frame = problem.frame.expanded((size,))
    tables = [
        _cut(problem, table, _head(sketch, letter, problem), letter, cuts, present)
        for table, sketch in zip(query.tables, problem.sketches, strict=True)
    ]
    situation = Situation(problem.situation.graph, frame, problem.situation.given, problem.situation.ready)
    wide = Query(replace(problem, situation=situation), query.budget, query.chains, (True, tables))
    unknown = problem.unknowns[name]
    (grad,) = wide.gradients([Sketch((unknown.term,), unknown.axes)])
    # (states, cut, batch, axes): at each element, the cut made there
    place = 2 + problem.frame.rank + unknown.axes.index(letter)
    found = grad.diagonal(dim1=1, dim2=place)
    return found.movedim(-1, place - 1)


def opened(situation: Situation, name: str, letter: str) -> Situation:
    """What is known at a step, and read at the same step, as evidence that can be left out when that step is predicted.

    Raises:
        IntractableError: if it is continuous, and would have to be integrated out.
    """
    graph, given = situation.graph, dict(situation.given)
    known = {n for n, g in situation.given.items() if g.value is not None and g.cells is None}
    for node in graph.nodes:
        for term in node.reads if node.head.name not in known else ():
            parent, found = graph.variables[term.name], given.get(term.name)
            here = letter in parent.axes and term.indices[parent.axes.index(letter)] == Axis(letter)
            if found is None or found.value is None or not parent.is_random or not here:
                continue
            if not parent.is_discrete:
                raise IntractableError(
                    f"predicting {name} before {parent.term} is seen would integrate it out, which no exact engine "
                    f"does: {node} reads it at the same step"
                )
            given[term.name] = as_weights(found, parent)
    return replace(situation, given=given)


def _forward_looking(problem: Problem, letter: str) -> None:
    graph = problem.situation.graph
    for node in problem.relevant.factors:
        if node.kind == "potential":
            raise GraftError(f"filtering needs a directed model; {node} is a potential, which later elements share")
        for term in node.reads:
            for axis, index in zip(graph.variables[term.name].axes, term.indices, strict=True):
                if axis == letter and graph.variables[term.name].is_random and not _past(graph, node, index, letter):
                    raise GraftError(f"filtering along {letter!r} needs parents in the past; {node} reads {term}")


def _past(graph: FactorGraph, node: Node, index: Index, letter: str) -> bool:
    """Whether a factor reads an element no later than its own."""
    head = graph.variables[node.head.name]
    if isinstance(index, Axis):
        return index.offset <= 0
    if not isinstance(index, Element) or letter not in head.axes or index.position < 0:
        return False
    own = element_of(node.head, head, letter)
    latest = head.firsts(letter, node.kind) if own is None else own
    # a last element comes after any of the first ones
    return latest < 0 or index.position <= latest


def _head(sketch: Sketch, letter: str, problem: Problem) -> int | None:
    """The single element that a table gives, if it gives one."""
    if sketch.node is None:
        return None
    return element_of(sketch.node.head, problem.situation.graph.variables[sketch.node.head.name], letter)


def _cut(problem: Problem, table: LogTable, head: int | None, letter: str, cuts: Tensor, present: bool) -> LogTable:
    """One copy per cut: what lies after it (or, if evidence, at it) left out."""
    rank, sizes = problem.frame.rank, problem.sizes
    tensor = table.dense(problem.frame, sizes).unsqueeze(len(table.slots))
    if letter in table.letters:
        steps = torch.arange(sizes[letter], device=tensor.device)
        shape = [1] * len(table.letters)
        shape[table.letters.index(letter)] = sizes[letter]
        steps = steps.reshape(*(1,) * rank, *shape)
    else:
        steps = _place(problem, table, head, letter)
    limit = cuts.reshape(-1, *(1,) * (tensor.dim() - len(table.slots) - 1))
    keep = steps < limit if table.evidence and not present else steps <= limit
    zero = torch.zeros((), dtype=tensor.dtype, device=tensor.device)
    return LogTable(table.slots, table.letters, torch.where(keep, tensor, zero), {}, None, table.evidence)


def _place(problem: Problem, table: LogTable, head: int | None, letter: str) -> Tensor:
    """Where a table without the axis stands on it, (batch, letters): at its single element, else before everything."""
    frame = problem.frame
    shape = (1,) * (frame.rank + len(table.letters))
    lengths = frame.lengths(letter, tuple(x for x in table.letters if x in frame.sizes))
    if head is None or head >= 0 or lengths is None:
        place = -1 if head is None else head if head >= 0 else problem.sizes[letter] + head
        return torch.full(shape, place, device=frame.device)
    return (lengths + head).reshape(*lengths.shape, *(1,) * (len(shape) - lengths.dim()))

"""Filtering by cutting the evidence: one copy of the batch per element, later factors left out."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.graph.terms import Axis, Element
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
    tables = [_cut(problem, t, letter, cuts, present) for t in query.tables]
    situation = Situation(problem.situation.graph, frame, problem.situation.given, problem.situation.ready)
    wide = Query(replace(problem, situation=situation), query.budget, query.chains)
    wide.__dict__["tables"] = tables
    unknown = problem.unknowns[name]
    (grad,) = wide.gradients([Sketch((unknown.term,), unknown.axes)])
    # (states, cut, batch, axes): at each element, the cut made there
    place = 2 + problem.frame.rank + unknown.axes.index(letter)
    found = grad.diagonal(dim1=1, dim2=place)
    return found.movedim(-1, place - 1)


def _forward_looking(problem: Problem, letter: str) -> None:
    graph = problem.situation.graph
    for node in problem.relevant.factors:
        if node.kind == "potential":
            raise GraftError(f"filtering needs a directed model; {node} is a potential, which later elements share")
        for term in node.reads:
            for axis, index in zip(graph.variables[term.name].axes, term.indices, strict=True):
                ahead = isinstance(index, Axis) and index.offset > 0
                if axis == letter and graph.variables[term.name].is_random and (ahead or not isinstance(index, Axis)):
                    raise GraftError(f"filtering along {letter!r} needs parents in the past; {node} reads {term}")


def _cut(problem: Problem, table: LogTable, letter: str, cuts: Tensor, present: bool) -> LogTable:
    """One copy per cut: what lies after it (or, if evidence, at it) left out."""
    rank, sizes = problem.frame.rank, problem.sizes
    tensor = table.dense(problem.frame, sizes).unsqueeze(len(table.slots))
    if letter in table.letters:
        steps = torch.arange(sizes[letter], device=tensor.device)
        shape = [1] * len(table.letters)
        shape[table.letters.index(letter)] = sizes[letter]
        steps = steps.reshape(*(1,) * rank, *shape)
    else:
        steps = torch.full((1,) * (rank + len(table.letters)), _place(problem, table, letter), device=tensor.device)
    limit = cuts.reshape(-1, *(1,) * (tensor.dim() - len(table.slots) - 1))
    keep = steps < limit if table.evidence and not present else steps <= limit
    zero = torch.zeros((), dtype=tensor.dtype, device=tensor.device)
    return LogTable(table.slots, table.letters, torch.where(keep, tensor, zero), {}, None, table.evidence)


def _place(problem: Problem, table: LogTable, letter: str) -> int:
    """Where a table without the axis stands on it: at its single element, else before everything."""
    for slot in table.slots:
        for axis, index in zip(problem.unknowns[slot.name].axes, slot.indices, strict=True):
            if axis == letter and isinstance(index, Element):
                return index.position if index.position >= 0 else problem.sizes[letter] + index.position
    return -1

"""Vectors of binary units that separate given the rest: one small sum per unit instead of one over 2^d states."""

from __future__ import annotations

from collections.abc import Collection
from itertools import combinations

import torch
from torch import Tensor

from graft.distributions.supports import Binary
from graft.factors.base import Call, LinearPotential
from graft.factors.bernoulli import Bernoulli
from graft.graph.factor_graph import FactorGraph
from graft.graph.nodes import Node
from graft.graph.terms import Axis, Term
from graft.inference.calls import arguments, call_here, checked
from graft.inference.domain import Windows, valid
from graft.inference.relevance import Relevant
from graft.inference.store import Store
from graft.inference.tables import LogTable
from graft.inference.values import union


def separated(graph: FactorGraph, need: Relevant, joined: Collection[str] = ()) -> frozenset[str]:
    """The unknown vectors to be summed unit by unit, the longest first; neighbours of one are listed by state.

    Args:
        graph: the model.
        need: what the query needs.
        joined: vectors with evidence on their joint states, which ties their units.
    """
    candidates = {
        name: graph.variables[name].support.states  # type: ignore[union-attr]
        for name in need.unknown
        if name not in joined and _splits(graph, need, name)
    }
    together = {
        pair
        for node in need.factors
        for pair in combinations(sorted({term.name for term in node.terms} & candidates.keys()), 2)
    }
    chosen: set[str] = set()
    for name in sorted(candidates, key=lambda n: (-int(candidates[n] or 0), n)):
        if not any(tuple(sorted((name, other))) in together for other in chosen):
            chosen.add(name)
    return frozenset(chosen)


def _splits(graph: FactorGraph, need: Relevant, name: str) -> bool:
    """Whether every factor that touches a vector is linear in its units."""
    support = graph.variables[name].support
    if not isinstance(support, Binary) or support.event_rank != 1:
        return False
    for node in need.factors:
        if any(term.name == name for term in node.reads):
            return False
        left = [term for term in node.formula.left if term.name == name]
        if left and (len(left) > 1 or not left[0].plain or not _linear(node)):
            return False
    functions = (node for other in need.functions for node in graph.variables[other].functions)
    return not any(term.name == name for node in functions for term in node.reads)


def _linear(node: Node) -> bool:
    return isinstance(node.module, Bernoulli | LinearPotential)


class UnitScorer:
    """Log-tables of factors that touch separated units.

    Args:
        store: values of what is known, names of what is enumerated.
        names: the separated vectors.
    """

    def __init__(self, store: Store, names: frozenset[str]) -> None:
        self.store, self.names = store, names

    def table(self, node: Node, where: Windows, evidence: bool) -> LogTable:
        """(2, other slots, batch, letters, units): the log-factor of each unit's two states."""
        store = self.store
        place = next(i for i, term in enumerate(node.formula.left) if term.name in self.names)
        term = node.formula.left[place]
        if node.kind == "conditional":
            out, slots = call_here(node, store, where)
            dist = checked(out, node, self._lead(node, slots, where), store.variables[term.name])
            base = dist.base_dist  # type: ignore[attr-defined]
            rank = len(slots) + store.frame.rank + len(node.letters) + 1
            off = torch.zeros((1,) * (rank - len(base.batch_shape)) + tuple(base.batch_shape), dtype=base.logits.dtype)
            tensor = torch.stack([base.log_prob(off), base.log_prob(off + 1)])
        else:
            coefficients, slots = self._coefficients(node, place, where)
            tensor = torch.stack([torch.zeros_like(coefficients), coefficients])
        letter = "@" + term.name
        slot = Term(term.name, (*(Axis(x) for x in store.variables[term.name].axes), Axis(letter)))
        mask = valid(node, store.variables, store.frame)
        mask = None if mask is None else mask.unsqueeze(-1)
        return LogTable((slot, *slots), (*node.letters, letter), tensor, where, mask, evidence)

    def _lead(self, node: Node, slots: tuple[Term, ...], where: Windows) -> tuple[int, ...]:
        states = tuple(int(self.store.variables[s.name].support.states or 0) for s in slots)  # type: ignore[union-attr]
        return states + self.store.frame.batch + tuple(where[x][1] - where[x][0] for x in node.letters)

    def _coefficients(self, node: Node, place: int, where: Windows) -> tuple[Tensor, tuple[Term, ...]]:
        """(slots, batch, letters, units): what one unit adds when it is on."""
        store, module = self.store, node.module
        assert isinstance(module, LinearPotential)
        terms = node.terms
        read = {i: store.read(t, node.letters, where) for i, t in enumerate(terms) if i != place}
        slots = union(list(read.values()))
        tensors = tuple(read[i].aligned(slots) if i in read else None for i in range(len(terms)))
        count = len(node.formula.left)
        leading = len(slots) + store.frame.rank + len(node.letters)
        call = Call(leading, arguments(terms, store.variables))
        found = module.linear(place, tensors[:count], tensors[count:], call)  # type: ignore[arg-type]
        return found.reshape(*(1,) * (leading + 1 - found.dim()), *found.shape), slots

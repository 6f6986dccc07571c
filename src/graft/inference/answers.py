"""Marginals, filtered marginals and expectations, as the user reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent

from graft.distributions.supports import Binary
from graft.errors import GraftError, IntractableError
from graft.graph.axes import normalise
from graft.graph.nodes import Variable
from graft.graph.parse import parse
from graft.graph.terms import Axis, Element, Formula, Term
from graft.inference.draws import visible
from graft.inference.filtering import cutoffs, opened
from graft.inference.problem import Problem, Sketch, Unknown
from graft.inference.query import Query, ask
from graft.inference.roles import roles
from graft.inference.settle import Situation

_NO_EVENT = torch.Size()


class Marginals(Mapping[str, Any]):
    """Marginals of a posterior, each computed when first asked for."""

    def __init__(self, situation: Situation, budget: int, chains: bool, query: Query) -> None:
        self._situation, self._budget, self._chains, self._query = situation, budget, chains, query
        self._kept: dict[bool, tuple[dict[str, Tensor], dict[str, Any]]] = {}

    @property
    def _single(self) -> dict[str, Tensor]:
        """Single marginals; those made without gradients are not kept for who wants them."""
        return self._kept.setdefault(torch.is_grad_enabled(), ({}, {}))[0]

    @property
    def _found(self) -> dict[str, Any]:
        """What was asked for, likewise."""
        return self._kept.setdefault(torch.is_grad_enabled(), ({}, {}))[1]

    @cached_property
    def _free(self) -> tuple[str, ...]:
        """The discrete variables that are not known, in order."""
        given = self._situation.given
        names = roles(self._situation.graph).discrete
        return tuple([n for n in names if n not in given or not _known(self._situation, n)])

    def __iter__(self) -> Iterator[str]:
        return iter(self._free)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, text: str) -> Any:
        found = self._found
        if text not in found:
            variable = self._situation.graph.variables.get(text)
            found[text] = self._of(variable) if variable is not None else self.table(text)[0]
        return found[text]

    def _of(self, variable: Variable) -> Distribution:
        single = self._single
        if variable.name not in single:
            unknown_to(self._situation, variable.name)
            self._all(variable.name)
            if variable.name in self._found:
                return self._found[variable.name]
        query = self._asking((variable.name,))
        return as_distribution(single[variable.name], query.problem.unknowns[variable.name], self._situation)

    def _asking(self, names: tuple[str, ...]) -> Query:
        """The query that knows these unknowns: the main one unless some of them are barren there."""
        for query in (self._everyone, self._query):
            if query is not None and query.problem.unknowns.keys() >= set(names):
                return query
        return ask(self._situation, self._budget, self._chains, names)

    @cached_property
    def _everyone(self) -> Query | None:
        """The query of all discrete unknowns, from which all marginals come at once; None if it costs far more."""
        barren = len(set(self._free).difference(self._query.problem.unknowns))
        if not barren:
            return None
        try:
            query = ask(self._situation, self._budget, self._chains, self._free)
            dear = query.plan.bytes > (1 + barren) * self._query.plan.bytes + 2**24
        except IntractableError:
            return None
        # one by one they would each need about as much as the others together
        return None if dear else query

    def _all(self, name: str) -> None:
        """All single marginals of one sum, from one backward pass."""
        query, variables, mine = self._asking((name,)), self._situation.graph.variables, self._found
        short = query.short("marginal")
        if short is not None:
            mine.update({o: _categorical(probs, variables[o]) for o, probs in short.items() if o not in mine})
            return
        for other, found in query.singles("marginal").items():
            self._single.setdefault(other, found)

    def table(self, text: str) -> tuple[Tensor, tuple[Term, ...], tuple[str, ...]]:
        """The joint table of several terms: (batch, axes, states of each), the terms, and the axes."""
        formula = normalise(parse(text), {n: v.axes for n, v in self._situation.graph.variables.items()})
        if formula.right:
            raise GraftError(f"marginals are of terms such as 'y[t-1], y[t]', not of {text!r}")
        for term in formula.left:
            if term.name not in self._situation.graph.variables:
                raise GraftError(f"{term.name!r} is no variable of this model")
            unknown_to(self._situation, term.name)
            _inside(self._situation, term)
        query = self._asking(tuple(term.name for term in formula.left))
        query.possible("marginal")
        probe = _probe(query.problem, formula.left, formula.letters)
        (grad,) = query.gradients([probe])
        count, frame = len(formula.left), query.problem.frame
        table = grad.movedim(tuple(range(count)), tuple(range(-count, 0)))
        table = visible(_where_elements_exist(query.problem, formula, table), formula.letters, frame)
        for place, letter in enumerate(formula.letters):
            low, high = probe.window[letter]
            table = table.narrow(frame.rank + place, low, high - low)
        return table, formula.left, formula.letters


def _where_elements_exist(problem: Problem, formula: Formula, table: Tensor) -> Tensor:
    """A compact table, 0 in rows too short to have the single elements it is of."""
    frame, variables = problem.frame, problem.situation.graph.variables
    for term in formula.left:
        for letter, index in zip(variables[term.name].axes, term.indices, strict=True):
            lengths = frame.lengths(letter, formula.letters) if isinstance(index, Element) else None
            if lengths is None or not isinstance(index, Element):
                continue
            exists = lengths > index.position if index.position >= 0 else lengths >= -index.position
            exists = exists.reshape(*exists.shape, *(1,) * (table.dim() - exists.dim()))
            table = torch.where(exists, table, torch.zeros((), dtype=table.dtype, device=table.device))
    return table


def _inside(situation: Situation, term: Term) -> None:
    """A term must use its variable's own axes, and elements that the longest row has."""
    axes = situation.graph.variables[term.name].axes
    if len(term.indices) != len(axes):
        raise GraftError(f"{term} has {len(term.indices)} indices, {term.name} has {len(axes)} axes")
    for letter, index in zip(axes, term.indices, strict=True):
        size = situation.frame.sizes[letter]
        if isinstance(index, Axis) and index.letter != letter:
            raise GraftError(f"{term}: axis {letter!r} of {term.name} is called {index.letter!r}")
        if isinstance(index, Element) and not -size <= index.position < size:
            raise GraftError(f"{term} is outside axis {letter!r}, which has {size} elements")


def _known(situation: Situation, name: str) -> bool:
    given = situation.given.get(name)
    return given is not None and given.value is not None and given.cells is None


def unknown_to(situation: Situation, name: str) -> None:
    """Refuse names that have no marginal here.

    Raises:
        GraftError: an input, a computed or given variable, or no variable at all.
    """
    graph = situation.graph
    if name not in graph.variables:
        raise GraftError(f"{name!r} is no variable of this model; there are {', '.join(graph.variables)}")
    if not graph.variables[name].is_random:
        raise GraftError(f"{name} is not random, it has no marginal")
    if _known(situation, name):
        raise GraftError(f"{name} is evidence, it has no marginal")
    if not graph.variables[name].is_discrete:
        raise IntractableError(f"{name} is continuous: no exact engine gives its marginal")


def _probe(problem: Problem, terms: tuple[Term, ...], letters: tuple[str, ...]) -> Sketch:
    if any(term.name in problem.unknowns and problem.unknowns[term.name].apart for term in terms):
        raise GraftError("joint tables of vectors of units are not tables of two states: ask for each vector alone")
    if len(set(terms)) < len(terms):
        raise GraftError("a joint table needs different terms")
    window = {}
    for letter in letters:
        offsets = [i.offset for t in terms for i in t.indices if isinstance(i, Axis) and i.letter == letter]
        size = problem.sizes[letter]
        low, high = max(0, -min(offsets)), size - max(0, *offsets)
        window[letter] = (min(low, size), max(high, min(low, size)))
    return Sketch(terms, letters, window=window)


def as_distribution(grad: Tensor, unknown: Unknown, situation: Situation) -> Distribution:
    """A marginal, (states, batch, axes), as a distribution over the variable, in the user's order."""
    variable, frame = situation.graph.variables[unknown.name], situation.frame
    if unknown.apart:
        return _units(visible(grad[1], variable.axes, frame), variable)
    probs = grad.movedim(0, -1)
    support = variable.support
    assert support is not None
    if isinstance(support, Binary) and support.event_rank:
        bits = support.decode(torch.arange(unknown.states, device=probs.device)).to(probs.dtype)
        on = torch.tensordot(probs, bits, dims=1)
        return _units(visible(on, variable.axes, frame), variable)
    if variable.axes:
        shown = visible(probs, variable.axes, frame)
        exists = shown.sum(-1, keepdim=True) > 0
        probs = torch.where(exists, shown, 1.0 / unknown.states)
    # probabilities by construction: checking them would take longer than making them
    found = Categorical(probs=probs, validate_args=False)
    found._validate_args = True  # values are checked as ever
    return labelled(found, variable)


def _categorical(probs: Tensor, variable: Variable) -> Distribution:
    """`Categorical(probs=probs)` of what sums to one already: a network of hundreds of variables waits for these."""
    found = Categorical.__new__(Categorical)
    found.probs = found._param = probs
    found._num_events = probs.shape[-1]
    found._batch_shape, found._event_shape, found._validate_args = probs.shape[:-1], _NO_EVENT, True
    return labelled(found, variable)


def _units(on: Tensor, variable: Variable) -> Distribution:
    assert variable.support is not None
    return Independent(Bernoulli(probs=on.clamp(0, 1)), variable.support.event_rank)


def labelled(dist: Distribution, variable: Variable) -> Distribution:
    """The names of the states travel with the distribution, as its attribute `labels`."""
    dist.labels = variable.labels  # type: ignore[attr-defined]
    return dist


class Filtered(Mapping[str, Any]):
    """Marginals of each element given what was observed up to it (or before it)."""

    def __init__(self, situation: Situation, budget: int, chains: bool, present: bool) -> None:
        self._situation, self._budget, self._chains, self._present = situation, budget, chains, present
        self._kept: dict[bool, dict[str, Distribution]] = {}

    @property
    def _found(self) -> dict[str, Distribution]:
        """What was asked for; what was made without gradients is not kept for who wants them."""
        return self._kept.setdefault(torch.is_grad_enabled(), {})

    def __iter__(self) -> Iterator[str]:
        graph = self._situation.graph
        return (n for n in graph.random if graph.variables[n].is_discrete and self._letter(n) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _letter(self, name: str) -> str | None:
        graph = self._situation.graph
        return next((x for x in graph.variables[name].axes if x in graph.time), None)

    def __getitem__(self, name: str) -> Distribution:
        if name not in self._found:
            unknown_to(self._situation, name)
            letter = self._letter(name)
            if letter is None:
                raise GraftError(f"{name} has no time axis to filter along")
            situation = self._situation if self._present else opened(self._situation, name, letter)
            query = ask(situation, self._budget, self._chains, (name,))
            probs = cutoffs(query, name, letter, self._present)
            self._found[name] = as_distribution(probs, query.problem.unknowns[name], self._situation)
        return self._found[name]


def expectation(marginals: Marginals, f: Callable[..., Tensor], text: str) -> Tensor:
    """E[f] over the joint table of some terms; see `Posterior.expectation`."""
    names = [part.strip() for part in text.split(",")] if "[" not in text else None
    graph = marginals._situation.graph
    if names is not None:
        unknown = [name for name in names if name not in graph.variables]
        if unknown:
            raise GraftError(f"the function takes {unknown[0]!r}, which is no variable of this model")
        text = ", ".join(str(graph.variables[name].term) for name in names)
    table, terms, _ = marginals.table(text)
    count = len(terms)
    arguments = []
    for place, term in enumerate(terms):
        support = graph.variables[term.name].support
        assert support is not None and support.states is not None
        values = support.decode(torch.arange(support.states, device=table.device))
        shape = [1] * count
        shape[place] = support.states
        arguments.append(values.reshape(*shape, *values.shape[1:]))
    found = torch.as_tensor(f(*arguments), device=table.device).to(table.dtype)
    sizes = table.shape[table.dim() - count :]
    found = found.expand(*sizes, *found.shape[count:])
    # forbidden states may have an infinite value of f; they carry no weight
    weights = table.reshape(*table.shape, *(1,) * (found.dim() - count))
    return torch.where(weights > 0, weights * found, 0.0).sum(tuple(range(table.dim() - count, table.dim())))

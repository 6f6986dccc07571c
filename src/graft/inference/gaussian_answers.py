"""Marginals of Gaussian unknowns as the user reads them, beside those of the discrete rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, Normal

from graft.errors import GraftError
from graft.factors.events import validation
from graft.graph.axes import normalise
from graft.graph.nodes import Variable
from graft.graph.parse import parse
from graft.graph.terms import Term
from graft.inference.answers import Filtered, Marginals, unknown_to
from graft.inference.draws import visible
from graft.inference.gaussian_pairs import joint
from graft.inference.gaussian_parts import opened
from graft.inference.gaussian_query import GaussianQuery, gaussian_or_refuse
from graft.inference.gaussian_solved import Solved
from graft.inference.settle import Situation
from graft.structured.gaussian_normals import factor

#: The discrete answers, made when first asked for.
Rest = Callable[[], Mapping[str, Any]]


class Asking:
    """Finds the part that answers for an unknown.

    Args:
        situation: of the call.
        budget: bytes a query may take.
        main: the query of the evidence alone; None if it needs no continuous unknown.
    """

    def __init__(self, situation: Situation, budget: int, main: GaussianQuery | None) -> None:
        self.situation, self.budget, self.main = situation, budget, main
        self._kept: dict[frozenset[str], GaussianQuery] = {}

    def solved(self, *names: str) -> Solved:
        """The part of some unknowns, all of which it holds.

        Raises:
            IntractableError: they cannot be integrated out.
            GraftError: they do not share a part.
        """
        query = self._query(frozenset(names))
        found = query.of(names[0])
        for name in names:
            if query.of(name) is not found:
                raise GraftError(f"{names[0]} and {name} are independent given the evidence: ask for each alone")
        return found

    def _query(self, names: frozenset[str]) -> GaussianQuery:
        if self.main is not None and all(any(name in part.names for part in self.main.parts) for name in names):
            return self.main
        if names not in self._kept:
            found = gaussian_or_refuse(self.situation, self.budget, names)
            assert found is not None
            self._kept[names] = found
        return self._kept[names]

    def continuous(self, name: str) -> Variable | None:
        """A continuous variable of that name, if there is one; what has no marginal is refused.

        Raises:
            GraftError: it is not random, or given.
        """
        variable = self.situation.graph.variables.get(name)
        if variable is None or variable.is_discrete:
            return None
        if not variable.is_random or not self._loose(name):
            unknown_to(self.situation, name)
        given = self.situation.given.get(name)
        if given is not None and name not in opened(self.situation.graph, self.situation.given):
            raise GraftError(
                f"{name} is known in part, so that its marginal has no density: sample() draws its missing cells, and "
                f"predicted[{name!r}] is its distribution before it is seen"
            )
        return variable

    def _loose(self, name: str) -> bool:
        given = self.situation.given.get(name)
        return given is None or given.value is None or given.cells is not None

    def names(self) -> list[str]:
        """The continuous unknowns that are not known even in part."""
        graph, given = self.situation.graph, self.situation.given
        return [n for n in graph.random if not graph.variables[n].is_discrete and n not in given]


class GaussianMarginals(Marginals):
    """Marginals of a posterior with Gaussian unknowns, each computed when first asked for."""

    def __init__(self, asking: Asking, rest: Rest) -> None:
        self._asked, self._rest, self._kept = asking, rest, {}

    def __iter__(self) -> Iterator[str]:
        yield from self._asked.names()
        yield from self._rest()

    def __getitem__(self, text: str) -> Any:
        if text not in self._found:
            variable = self._asked.continuous(text)
            if variable is not None:
                mean, covariance = self._asked.solved(text).moments(variable, "smoothed")
                self._found[text] = as_normal(mean, covariance, variable, self._asked.situation)
            else:
                terms = self._terms(text)
                self._found[text] = self._rest()[text] if terms is None else self._joint(text, terms)
        return self._found[text]

    def _terms(self, text: str) -> tuple[Term, ...] | None:
        """The terms of a joint marginal, if they are continuous."""
        variables = self._asked.situation.graph.variables
        if text in variables:
            return None
        formula = normalise(parse(text), {name: variable.axes for name, variable in variables.items()})
        found = [term for term in formula.left if term.name in variables and not variables[term.name].is_discrete]
        if not found or formula.right:
            return None
        if len(found) < len(formula.left):
            raise GraftError(f"{text!r} mixes states and real vectors, which are independent here: ask for each alone")
        for term in found:
            self._asked.continuous(term.name)
        return formula.left

    def _joint(self, text: str, terms: tuple[Term, ...]) -> Distribution:
        """The joint Gaussian of several terms."""
        return joint(self._asked.solved(*dict.fromkeys(term.name for term in terms)), terms, text)


class GaussianFiltered(Filtered):
    """Marginals of each element given what was observed up to it, or before it."""

    def __init__(self, asking: Asking, rest: Rest, present: bool) -> None:
        self._asked, self._rest, self._present, self._kept = asking, rest, present, {}

    def __iter__(self) -> Iterator[str]:
        graph = self._asked.situation.graph
        yield from (n for n in self._asked.names() if set(graph.variables[n].axes) & graph.time)
        yield from self._rest()

    def __getitem__(self, name: str) -> Distribution:
        if name not in self._found:
            graph, given = self._asked.situation.graph, self._asked.situation.given
            observed = not self._present and name in given and name in graph.random
            if observed and not graph.variables[name].is_discrete:
                self._found[name] = self._ahead(graph.variables[name])
                return self._found[name]
            variable = self._asked.continuous(name)
            self._found[name] = self._rest()[name] if variable is None else self._state(variable)
        return self._found[name]

    def _state(self, variable: Variable) -> Distribution:
        if not set(variable.axes) & self._asked.situation.graph.time:
            raise GraftError(f"{variable.name} has no time axis to filter along")
        solved = self._asked.solved(variable.name)
        letter = solved.found.part.letter
        if letter not in variable.axes or letter not in self._asked.situation.graph.time:
            raise GraftError(f"{variable.name} is not coupled along a time axis: nothing comes before it")
        moments = solved.moments(variable, "filtered" if self._present else "predicted")
        return as_normal(*moments, variable, self._asked.situation)

    def _ahead(self, variable: Variable) -> Distribution:
        """An observed variable, one step ahead of what is seen of it."""
        main = self._asked.main
        for solved in [] if main is None else main.solved:
            heads = {node.head.name for node in solved.found.part.nodes if node.kind == "conditional"}
            if variable.name in heads and solved.found.part.letter in variable.axes:
                return as_normal(*solved.prediction(variable), variable, self._asked.situation)
        raise GraftError(f"{variable.name} is evidence, and no Gaussian unknown along its time axis predicts it")


def as_normal(mean: Tensor, covariance: Tensor, variable: Variable, situation: Situation) -> Distribution:
    """Compact moments (batch, axes, d) as a distribution over the variable in the user's order.

    Elements that do not exist are standard normal.

    Raises:
        GraftError: a covariance is singular.
    """
    frame = situation.frame
    rank = 1 if variable.support is None else variable.support.event_rank
    lead = covariance.shape[:-2]
    exists = frame.exists(variable.axes)
    if exists is not None:
        exists = exists.expand(lead)
    scale = factor(covariance, exists, f"the marginal of {variable.name}").expand(*lead, -1, -1)
    mean = mean.unsqueeze(-1) if rank == 0 else mean
    mean, scale = (visible(x, variable.axes, frame) for x in (mean, scale))
    if exists is not None:
        there = visible(exists.to(scale.dtype), variable.axes, frame)
        eye = torch.eye(scale.shape[-1], dtype=scale.dtype, device=scale.device)
        scale = scale + (1 - there)[..., None, None] * eye
    if rank == 0:
        kind = frame.dtype
        loc, std = mean[..., 0].to(kind), scale[..., 0, 0].to(kind)
        return Normal(loc, std, validate_args=validation(loc))
    return _normal(mean, scale, situation)


def _normal(mean: Tensor, scale: Tensor, situation: Situation) -> Distribution:
    loc, root = mean.to(situation.frame.dtype), scale.to(situation.frame.dtype)
    return MultivariateNormal(loc, scale_tril=root, validate_args=validation(loc))

"""`GaussianPosterior`: everything one can ask where some unknowns are real and jointly Gaussian."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from graft.errors import GraftError
from graft.inference.arguments import limit, together
from graft.inference.decisions import Decision
from graft.inference.draws import complete, outward
from graft.inference.explain import Explanation
from graft.inference.gaussian_answers import Asking, GaussianFiltered, GaussianMarginals
from graft.inference.gaussian_explain import explain_gaussian
from graft.inference.gaussian_parts import NotGaussian
from graft.inference.gaussian_query import GaussianQuery, any_continuous, gaussian, gaussian_or_refuse, log_sum, without
from graft.inference.ratio import conditional, joined
from graft.inference.settle import Situation
from graft.posterior import Posterior, Values


class GaussianPosterior(Posterior):
    r"""A posterior in which real unknowns are integrated out as Gaussians, and discrete ones that do not touch them
    summed out.

    Made by `Model.given` where the model's real unknowns are linear-Gaussian: Kalman filter and smoother along an axis,
    or the conditioning of one Gaussian (factor analysis). Answers are exact, computed in float64 and returned in the
    type of the model.

    Attributes:
        kind: "exact".

    Source: Koller & Friedman 2009, chapter 14.2; for the filter, see `structured.LinearGaussianChain`.
    """

    def __init__(
        self, situation: Situation, anew: Callable[[Mapping[str, Any]], Situation], budget: int | None = None
    ) -> None:
        self._situation, self._anew, self._chains = situation, anew, True
        self._budget = limit(budget)
        self._main = gaussian_or_refuse(situation, self._budget)
        if self._main is not None:
            self._main.affordable()
        self._asking = Asking(situation, self._budget, self._main)
        self._rest = self._beside(self._main)

    def _beside(self, query: GaussianQuery | None) -> Posterior:
        """The discrete rest on its own."""
        if query is None:
            return Posterior(self._situation, self._anew, self._budget)
        names = {name for part in query.parts for name in part.names}
        return Posterior(query.rest, lambda more: without(self._anew(more), names), self._budget)

    @cached_property
    def _whole(self) -> GaussianQuery | None:
        """The integral over all unknowns, what nothing known depends on included."""
        return gaussian_or_refuse(self._situation, self._budget, everything=True)

    @cached_property
    def _whole_rest(self) -> Posterior:
        return self._beside(self._whole)

    @property
    def log_partition(self) -> Tensor:
        rest = self._rest.log_partition
        return rest if self._main is None else rest + self._main.log_partition

    @cached_property
    def _marginals(self) -> GaussianMarginals:
        return GaussianMarginals(self._asking, lambda: self._rest.marginals)

    @cached_property
    def filtered(self) -> GaussianFiltered:
        """Per time axis, the marginal of an element given the evidence up to it."""
        return GaussianFiltered(self._asking, lambda: self._rest.filtered, present=True)

    @cached_property
    def predicted(self) -> GaussianFiltered:
        """Per time axis, the marginal of an element given the evidence before it; of an observed variable too, one step
        ahead (and further where cells are missing). Known inputs of an element count as known before it."""
        return GaussianFiltered(self._asking, lambda: self._rest.predicted, present=False)

    def log_prob(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> Tensor:
        merged = joined(self._situation, together(values, named), self._anew)
        return conditional(merged, log_sum(merged, self._budget), self.log_partition)

    def _sample(self, shape: tuple[int, ...], how: Callable[[Distribution], Tensor]) -> Values:
        situation, wide = self._situation, self._situation.frame.expanded(shape)
        variables, count = situation.graph.variables, torch.Size(shape).numel()
        if self._main is None:
            return super()._sample(shape, how)
        discrete = self._rest.sample(shape)
        chosen = {name: wide.compact(value, variables[name].axes) for name, value in discrete.items()}
        for solved in self._main.solved:
            for name, value in solved.draws(count).items():
                given, value = situation.given.get(name), value.reshape(*shape, *value.shape[1:])
                if given is not None and given.cells is not None and given.value is not None:
                    value = torch.where(given.cells, value, given.value)
                chosen[name] = value
        return outward(complete(situation, chosen, shape, how), variables, wide)

    def mode(self) -> Values:
        """The most probable joint assignment of all unknowns, by name; 0 at removed elements.

        Of Gaussian unknowns it is their mean.

        Raises:
            ImpossibleEvidence: naming the rows of probability zero.
            IntractableError: if an unknown is continuous and not linear-Gaussian.
        """
        found = self._whole_rest.mode()
        graph, frame = self._situation.graph, self._situation.frame
        with torch.no_grad():
            for solved in [] if self._whole is None else self._whole.solved:
                means = {n: solved.moments(graph.variables[n], "smoothed")[0] for n in solved.found.part.names}
                shown = outward(means, graph.variables, frame)
                found.update({name: value.to(frame.dtype) for name, value in shown.items()})
        return {name: found[name] for name in graph.variables if name in found}

    def entropy(self) -> Tensor:
        total = self._whole_rest.entropy()
        for solved in [] if self._whole is None else self._whole.solved:
            total = total + solved.entropy().to(total.dtype)
        return total

    def decide(self, loss: Any = "hamming", names: Any = None, *, among: Any = None) -> Decision:
        """Of the discrete unknowns alone; see `Posterior.decide`. A real one has its mean: `mode`."""
        self._discrete_only(names, "decide")
        return self._rest.decide(loss, names, among=among)

    def risk(self, loss: Any, decision: Mapping[str, Any]) -> Tensor:
        """Of the discrete unknowns alone; see `Posterior.risk`."""
        self._discrete_only(decision, "risk")
        return self._rest.risk(loss, decision)

    def _discrete_only(self, names: Any, what: str) -> None:
        variables = self._situation.graph.variables
        for name in [names] if isinstance(names, str) else names or ():
            if name in variables and not variables[name].is_discrete:
                raise GraftError(f"{what} is of discrete unknowns; {name} is real, and its mean is both mode and mean")

    def top_k(self, k: Any) -> tuple[Values, Tensor]:
        """Not to be had: real unknowns have no list of assignments.

        Raises:
            GraftError: always.
        """
        real = ", ".join(self._asking.names()) or "some of it"
        raise GraftError(f"top_k lists the assignments of states, and {real} is real: mode() has the most probable one")

    def expectation(self, f: Callable[..., Tensor], terms: str | None = None) -> Tensor:
        """Of a function of discrete unknowns; see `Posterior.expectation`. `marginals` has the moments of real ones."""
        return self._rest.expectation(f, terms)

    def explain(self) -> Explanation:
        rest = self._rest.explain()
        return rest if self._main is None else explain_gaussian(self._main, rest.rows)

    def __repr__(self) -> str:
        names = [] if self._main is None else [name for part in self._main.parts for name in part.names]
        return f"GaussianPosterior over {', '.join(names) or 'nothing that the evidence depends on'} (exact)"


def serves(situation: Situation) -> bool:
    """Whether some real unknown of a call can be integrated out as a Gaussian."""
    if not any_continuous(situation):
        return False
    try:
        if gaussian(situation, 0) is not None:
            return True
    except NotGaussian:
        return False
    return any(_alone(situation, name) for name in Asking(situation, 0, None).names())


def _alone(situation: Situation, name: str) -> bool:
    try:
        return gaussian(situation, 0, (name,)) is not None
    except NotGaussian:
        return False

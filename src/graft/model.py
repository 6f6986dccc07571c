"""`Model`: a factorisation written as in a textbook, and everything it can be asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, overload

import torch
from torch import Tensor, nn

from graft.approximate_posterior import ApproximatePosterior
from graft.distributions.supports import Support
from graft.errors import FormulaError, GraftError
from graft.gaussian_posterior import GaussianPosterior, serves
from graft.graph.checks import no_breach_by_name
from graft.graph.factor_graph import FactorGraph, build
from graft.graph.factor_list import FactorList, refuse_change
from graft.graph.latex import latex
from graft.inference.approximate.engine import Engine
from graft.inference.arguments import BUDGET, limit, together
from graft.inference.evidence import kept
from graft.inference.query import ask
from graft.inference.ratio import log_probability
from graft.inference.settle import Situation, settle
from graft.inference.shapes import ShapeReport, report
from graft.ops.modes import ordinary
from graft.plots import diagram
from graft.posterior import Posterior, Values


class Model(nn.Module):
    r"""A probabilistic model: formulas and the modules that compute their factors.

    The joint is the product of all factors over one normaliser,
    $p(\text{random} \mid \text{inputs}) = \frac{1}{Z} \prod_f f$; if every factor is a conditional, $Z = 1$.

    Args:
        factors: modules by formula, or (formula, module) pairs for repeated scopes.
        support: what values variables take, where no factor knows: `Real(5)`, `Binary(784)`, `Finite(10)`.
        sizes: of axes, where no value tells.
        labels: names of states.

    Raises:
        FormulaError: if the model does not make sense as written; the text at fault is underlined.

    Example:
        >>> from graft.factors import Categorical
        >>> rain = Model({
        ...     "rain": Categorical(probs=torch.tensor([0.8, 0.2])),
        ...     "wet | rain": Categorical(probs=torch.tensor([[0.9, 0.1], [0.2, 0.8]])),
        ... })
        >>> posterior = rain.given(wet=torch.tensor(1))
        >>> posterior.marginals["rain"].probs.detach()
        tensor([0.3333, 0.6667])
    """

    def __init__(
        self,
        factors: Mapping[str, Any] | Iterable[tuple[str, Any]],
        *,
        support: Mapping[str, Support] | None = None,
        sizes: Mapping[str, int] | None = None,
        labels: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        super().__init__()
        pairs = _pairs(factors)
        self.graph: FactorGraph = build(pairs, support or {}, labels or {})
        self.sizes = dict(sizes or {})
        no_breach_by_name(self.sizes, self.graph.letters, "sizes")
        # modules by place: formulas hold characters that parameter names may not
        self.factors = FactorList(n.module for n in self.graph.nodes if isinstance(n.module, nn.Module))

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "factors" and name in self._modules:
            refuse_change()
        super().__setattr__(name, value)

    def forward(self, *_: Any, **__: Any) -> Tensor:
        raise GraftError("a model is not called: ask it for log_prob, given, sample or score")

    def log_prob(
        self,
        values: Mapping[str, Any] | None = None,
        /,
        *,
        lengths: Any = None,
        mask: Any = None,
        sizes: Mapping[str, int] | None = None,
        budget: int | None = None,
        **named: Any,
    ) -> Tensor:
        r"""$\log p(\text{values} \mid \text{inputs})$, whatever is unnamed summed or integrated out exactly.

        Args:
            values: random variables and inputs by name, in one dict or as keywords.
            lengths: how many elements of the time axis exist in each row (a dict by axis if there are several).
            mask: which elements exist, likewise.
            sizes: of axes that no value has.
            budget: bytes that all tables together may take.

        Returns:
            Log-probabilities, shape batch; `-inf` (with zero gradient) where the values are impossible.

        Raises:
            GraftError: wrong names, shapes or values.
            IntractableError: if no exact engine can answer within the budget.
        """
        situation = self.settled(together(values, named), lengths=lengths, mask=mask, sizes=sizes)
        return log_probability(situation, limit(budget))

    def score(
        self,
        values: Mapping[str, Any] | None = None,
        /,
        *,
        lengths: Any = None,
        mask: Any = None,
        sizes: Mapping[str, int] | None = None,
        **named: Any,
    ) -> Tensor:
        """The sum of all log-factors at a full assignment, not normalised; shape batch.

        Raises:
            GraftError: if a random variable is not given in full.
        """
        situation = self.settled(together(values, named), lengths=lengths, mask=mask, sizes=sizes)
        for name in self.graph.random:
            found = situation.given.get(name)
            if found is None or found.value is None or found.cells is not None:
                raise GraftError(f"score is of a full assignment: {name} is not given in full")
        return ask(situation, BUDGET, True).log_partition

    @overload
    def given(
        self,
        values: Mapping[str, Any] | None = ...,
        /,
        *,
        lengths: Any = ...,
        mask: Any = ...,
        sizes: Mapping[str, int] | None = ...,
        using: None = ...,
        budget: int | None = ...,
        **named: Any,
    ) -> Posterior: ...

    @overload
    def given(
        self,
        values: Mapping[str, Any] | None = ...,
        /,
        *,
        lengths: Any = ...,
        mask: Any = ...,
        sizes: Mapping[str, int] | None = ...,
        using: Engine,
        budget: int | None = ...,
        **named: Any,
    ) -> ApproximatePosterior: ...

    def given(
        self,
        values: Mapping[str, Any] | None = None,
        /,
        *,
        lengths: Any = None,
        mask: Any = None,
        sizes: Mapping[str, int] | None = None,
        using: Any = None,
        budget: int | None = None,
        **named: Any,
    ) -> Posterior | ApproximatePosterior:
        """The posterior over everything not given.

        Real unknowns are integrated out where they are linear-Gaussian (Kalman filter and smoother, factor analysis).

        Args:
            values: evidence and inputs by name: tensors (-1 for a missing state), `Partial`, `Soft`, `Missing`.
            lengths: as in `log_prob`.
            mask: as in `log_prob`.
            sizes: as in `log_prob`.
            using: an approximate engine, such as `LoopyBP()`; without one, answers are exact.
            budget: bytes that all tables together may take.

        Raises:
            GraftError: wrong names, shapes or values.
            IntractableError: naming the variables or the clique, its size and what would serve.
        """
        evidence = together(values, named)
        situation = self.settled(evidence, lengths=lengths, mask=mask, sizes=sizes)

        def anew(more: Mapping[str, Any]) -> Situation:
            return self.settled({**evidence, **more}, lengths=lengths, mask=mask, sizes=sizes)

        if using is not None:
            return ApproximatePosterior(situation, anew, using, budget)
        return (GaussianPosterior if serves(situation) else Posterior)(situation, anew, budget)

    def sample(
        self,
        shape: tuple[int, ...] | int = (),
        values: Mapping[str, Any] | None = None,
        /,
        *,
        seed: int | None = None,
        lengths: Any = None,
        mask: Any = None,
        sizes: Mapping[str, int] | None = None,
        **named: Any,
    ) -> Values:
        """Draw everything, given inputs (and, if wanted, some of the random variables).

        Args:
            shape: of the draws; stands before the batch.
            values: inputs by name.
            seed: makes the draws repeatable without touching the global random state.
            lengths: as in `log_prob`.
            mask: as in `log_prob`.
            sizes: as in `log_prob`.

        Returns:
            Values by name, (shape, batch, axes, event).
        """
        posterior = self.given(together(values, named), lengths=lengths, mask=mask, sizes=sizes)
        return posterior.sample(shape, seed=seed)

    def shapes(
        self,
        values: Mapping[str, Any] | None = None,
        /,
        *,
        lengths: Any = None,
        mask: Any = None,
        sizes: Mapping[str, int] | None = None,
        **named: Any,
    ) -> ShapeReport:
        """What every factor receives and returns, as batch | axes | event; prints as a table."""
        return report(self.settled(together(values, named), lengths=lengths, mask=mask, sizes=sizes))

    def latex(self) -> str:
        """The factorisation as LaTeX."""
        return latex(self.graph)

    def draw(self, guide: Model | None = None, path: Any = None, *, networks: bool = False) -> Any:
        """The diagram, in the augmented notation of Hu et al. (2017).

        Args:
            guide: drawn dashed beside the model.
            path: where to write it (.png, .svg, .pdf); if not given, nothing is written.
            networks: name the module beside each factor.

        Returns:
            A matplotlib figure.
        """
        return diagram.draw(self.graph, None if guide is None else guide.joined(self), path, networks=networks)

    def joined(self, model: Model) -> FactorGraph:
        """This model as a guide of another: its formulas checked against the other's names, axes and supports."""
        pairs = [(node.formula.text, node.module) for node in self.graph.nodes]
        told = {n: v.support for n, v in self.graph.variables.items() if v.support is not None}
        return build(pairs, told, {}, around=model.graph)

    def settled(
        self,
        values: Mapping[str, Any],
        *,
        lengths: Any = None,
        mask: Any = None,
        sizes: Mapping[str, int] | None = None,
    ) -> Situation:
        """The arguments of a call, checked: what objectives that take several sums of one batch start from.

        Raises:
            GraftError: wrong names, shapes or values.
        """
        if not isinstance(sizes, Mapping | None):
            raise GraftError(f"sizes must be a dict of whole numbers by axis, not {type(sizes).__name__}")
        told = {**self.sizes, **(sizes or {})}
        with ordinary():
            values, lengths, mask = kept(dict(values)), kept(lengths), kept(mask)
            return settle(self.graph, values, lengths, mask, told, like=self._like())

    def _like(self) -> Tensor:
        """A parameter, whose type and device log-probabilities take; what a factor itself holds is found fastest."""
        for factor in self.factors:
            for parameter in factor._parameters.values():
                if parameter is not None and parameter.is_floating_point():
                    return parameter
        return next((p for p in self.parameters() if p.is_floating_point()), torch.empty(0))

    def __repr__(self) -> str:
        lines = [f"    {node.formula.text!r}: {type(node.module).__name__}" for node in self.graph.nodes]
        return "Model({\n" + ",\n".join(lines) + "\n})"


def _pairs(factors: Any) -> list[tuple[str, Any]]:
    """Formulas with their modules, from a dict or a list of pairs."""
    pairs = list(factors.items()) if isinstance(factors, Mapping) else factors
    if not isinstance(pairs, Iterable) or isinstance(pairs, str):
        raise FormulaError(f"a model is a dict of modules by formula, or a list of pairs, not {type(factors).__name__}")
    pairs = list(pairs)
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise FormulaError("a list of factors holds pairs of a formula and a module")
    return [(text, module) for text, module in pairs]

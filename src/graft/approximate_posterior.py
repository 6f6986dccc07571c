"""`ApproximatePosterior`: what an approximate engine can be asked of a model given evidence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NoReturn

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.inference.answers import expectation, unknown_to
from graft.inference.approximate.answer import Answer, ApproximateMarginals
from graft.inference.approximate.engine import Engine
from graft.inference.approximate.explained import explained
from graft.inference.approximate.gibbs import Diagnostics, Drawn
from graft.inference.arguments import limit, together
from graft.inference.decisions import Decision, checked, element_risks, least, to_decide
from graft.inference.draws import complete, decoded, outward, seeded
from graft.inference.explain import Explanation
from graft.inference.losses import ElementLoss, ZeroOne, named_loss
from graft.inference.problem import pose
from graft.inference.ratio import conditional, joined
from graft.inference.settle import Situation
from graft.structured.checks import draws_shape

Values = dict[str, Tensor]

_EXACT = "given(...) without using= answers it exactly if that fits the budget"
#: What would serve, by query that no approximate engine answers.
_SERVES = {
    "filtered": f"the marginals given the past: {_EXACT}; or give it the evidence up to a moment",
    "predicted": f"the marginals given the past: {_EXACT}; or give it the evidence before a moment",
    "top_k": f"the most probable assignments: {_EXACT}; mode() gives one of high probability, Gibbs() draws many",
    "decide": f"a loss of whole assignments: {_EXACT}; a loss over elements, such as 'hamming', goes by marginals",
    "risk": f"the risk of whole assignments: {_EXACT}; log_prob() gives an estimate for one",
}


class ApproximatePosterior:
    """A distribution over everything not given, approximated by one engine.

    Made by `Model.given(..., using=engine)`. Answers are computed when first asked for and then kept; every number is
    what `kind` says.
    """

    def __init__(
        self,
        situation: Situation,
        anew: Callable[[Mapping[str, Any]], Situation],
        engine: Engine,
        budget: int | None = None,
    ) -> None:
        if not isinstance(engine, Engine):
            rule = "using= takes an engine such as LoopyBP(), TreeReweighted(), MeanField() or Gibbs()"
            raise GraftError(f"{rule}, not {engine!r}")
        self._situation, self._anew, self._engine = situation, anew, engine
        self._budget = limit(budget)
        self._main = Answer(pose(situation), engine, self._budget)

    @cached_property
    def _joint(self) -> Answer:
        """The answer about all unknowns."""
        problem = pose(self._situation, everything=True)
        if problem.unknowns.keys() == self._main.problem.unknowns.keys():
            return self._main
        return Answer(problem, self._engine, self._budget)

    @property
    def kind(self) -> str:
        """What `log_partition` is: "estimate", "lower bound" or "upper bound".

        An upper bound that has not converged in every row is an estimate.
        """
        return self._main.latest.kind

    @property
    def steps(self) -> int:
        """How many steps the engine made."""
        return self._main.latest.steps

    @property
    def converged(self) -> Tensor:
        """Which rows converged; boolean, shape batch."""
        return self._main.by_row(self._main.latest.converged)

    @property
    def residual(self) -> Tensor:
        """How far each row was from convergence at the end; shape batch."""
        return self._main.by_row(self._main.latest.residual)

    @property
    def log_partition(self) -> Tensor:
        """The engine's value for the log of the sum, over everything not given, of all factors; shape batch.

        Rows proved impossible have `-inf`.

        Raises:
            GraftError: if the engine has none.
        """
        return self._main.log_partition

    @property
    def marginals(self) -> ApproximateMarginals:
        """Marginals by name, or joint tables of several terms, as in `Posterior.marginals`.

        Raises:
            ImpossibleEvidence: naming the rows proved impossible.
            GraftError: the engine has no such table.
        """
        return self._marginals

    @cached_property
    def _marginals(self) -> ApproximateMarginals:
        return ApproximateMarginals(self._situation, self._main)

    @property
    def filtered(self) -> NoReturn:
        """Approximate engines have no marginals given the past.

        Raises:
            GraftError: always; it says what would serve.
        """
        raise self._exact_only("filtered")

    @property
    def predicted(self) -> NoReturn:
        """Approximate engines have no marginals given the past.

        Raises:
            GraftError: always; it says what would serve.
        """
        raise self._exact_only("predicted")

    def top_k(self, k: Any) -> NoReturn:
        """Approximate engines have no list of best assignments.

        Raises:
            GraftError: always; it says what would serve.
        """
        raise self._exact_only("top_k")

    def _exact_only(self, query: str) -> GraftError:
        engine = type(self._engine).__name__
        return GraftError(f"{engine} does not answer {query}, {_SERVES[query]}")

    def decide(
        self,
        loss: str | ElementLoss | ZeroOne | Mapping[str, Any] | Callable[..., Tensor] = "hamming",
        names: Any = None,
        *,
        among: Any = None,
    ) -> Decision:
        """The assignment of least expected loss under the engine's marginals; 0 at removed elements.

        Args:
            loss: "hamming" (`Hamming()`), `Cost(matrix)`, or a dict of such by variable.
            names: what is decided, as in `Posterior.decide`.
            among: for exact posteriors alone, which can list the most probable assignments.

        Returns:
            Values by name, with `.risk` (batch), an estimate.

        Raises:
            ImpossibleEvidence: naming the rows proved impossible.
            GraftError: the loss is not over elements, or a name is of no discrete unknown.
        """
        if among is not None:
            raise self._exact_only("decide")
        found = self._over_elements(loss, "decide")
        decision = least(
            self.marginals, self._situation, found, to_decide(self._situation, self.marginals, found, names)
        )
        return Decision(decision, decision.risk, "estimate")

    def risk(self, loss: str | ElementLoss | ZeroOne | Mapping[str, Any], decision: Mapping[str, Any]) -> Tensor:
        """The expected loss of a decision under the engine's marginals, an estimate; shape batch.

        Args:
            loss: as in `decide`.
            decision: values by name, (batch, axes, event).

        Raises:
            ImpossibleEvidence: naming the rows proved impossible.
            GraftError: the loss is not over elements, or the decision is not of unknowns or out of range.
        """
        found = self._over_elements(loss, "risk")
        return element_risks(self.marginals, self._situation, found, checked(self._situation, decision))

    def _over_elements(self, loss: Any, query: str) -> Any:
        found = named_loss(loss)
        if isinstance(found, ZeroOne) or (callable(found) and not isinstance(found, ElementLoss)):
            raise self._exact_only(query)
        return found

    def expectation(self, f: Callable[..., Tensor], terms: str | None = None) -> Tensor:
        """E[f] of a function of discrete unknowns, as in `Posterior.expectation`.

        Args:
            f: of tensors of values, one per term.
            terms: what it takes; by default the variables its parameters name.

        Returns:
            (batch, axes, further dimensions).

        Raises:
            ImpossibleEvidence: naming the rows proved impossible.
        """
        if not callable(f):
            raise GraftError(f"expectation takes a function of states, not {type(f).__name__}")
        return expectation(self.marginals, f, ", ".join(inspect.signature(f).parameters) if terms is None else terms)

    def entropy(self) -> Tensor:
        """The entropy that belongs to the approximation (Bethe, tree-reweighted, of the product), in nats; shape batch.

        Raises:
            ImpossibleEvidence: naming the rows proved impossible.
            GraftError: if the engine has none.
        """
        self._joint.possible("entropy")
        return self._joint.solution.network.by_row(self._joint.solution.entropy())

    def log_prob(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> Tensor:
        """The engine's log p(values | evidence): the difference of two of its log-partitions; shape batch.

        For an assignment of all unknowns only the second is approximate: an upper bound on log Z gives a lower one
        here, and the other way round. Otherwise it is an estimate.

        Args:
            values: by name, in one dict or as keywords.

        Raises:
            GraftError: a name is given already, the values cannot be, or the engine has no log-partition.
        """
        merged = joined(self._situation, together(values, named), self._anew)
        return conditional(merged, Answer(pose(merged), self._engine, self._budget).log_partition, self.log_partition)

    def sample(self, shape: tuple[int, ...] | int = (), *, seed: int | None = None) -> Values:
        """Draws of everything not given, picked at random from those that the engine kept.

        Args:
            shape: of the draws; stands before the batch.
            seed: makes the pick repeatable without touching the global random state.

        Returns:
            Values by name, (shape, batch, axes, event); 0 at removed elements.

        Raises:
            ImpossibleEvidence: naming the rows proved impossible.
            GraftError: if the engine has no draws.
        """
        shape = draws_shape(shape)
        answer, frame = self._main, self._situation.frame
        with seeded(seed), torch.no_grad():
            answer.possible("sample")
            states = answer.latest.draws(int(torch.Size(shape).numel()))
            chosen = decoded(answer.problem, answer.assignment(states))
            chosen = {n: v.reshape(*shape, *v.shape[1:]) for n, v in chosen.items()}
            found = complete(self._situation, chosen, shape, lambda dist: dist.sample())
        return outward(found, self._situation.graph.variables, frame.expanded(shape))

    def mode(self) -> Values:
        """An assignment of high probability, by name; 0 at removed elements.

        The beliefs' best states, raised by coordinate ascent. Max-product finds the most probable assignment of a tree
        if that is unique; elsewhere nothing is promised.

        Raises:
            ImpossibleEvidence: naming the rows proved impossible.
            IntractableError: if an unknown is continuous.
            GraftError: if the engine has none.
        """
        answer = self._joint
        with torch.no_grad():
            answer.possible("mode")
            states = [part.unsqueeze(0) for part in answer.latest.mode()]
            found = {n: v[0] for n, v in decoded(answer.problem, answer.assignment(states)).items()}
        return outward(found, self._situation.graph.variables, self._situation.frame)

    def diagnostics(self, name: str) -> Diagnostics:
        """How far the frequencies of a variable's states can be trusted, for engines that draw.

        Args:
            name: of the variable.

        Returns:
            R-hat, effective sample size and standard error, (batch, axes, states) each.

        Raises:
            GraftError: if the engine has no draws, or the variable no marginal.
        """
        unknown_to(self._situation, name)
        answer = self.marginals._asking((name,))
        solution = answer.latest
        if not isinstance(solution, Drawn):
            raise GraftError(f"{solution.engine} draws nothing: diagnostics are of Gibbs()")
        return solution.diagnostics(name)

    def explain(self) -> Explanation:
        """How each variable is dealt with; prints as a table."""
        return explained(self._main)

    def __repr__(self) -> str:
        names = ", ".join(self._main.problem.unknowns) or "nothing discrete"
        return f"ApproximatePosterior over {names} (by {self._engine!r})"

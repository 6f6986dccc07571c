"""`Posterior`: everything one can ask of a model given evidence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from graft.errors import GraftError
from graft.inference.answers import Filtered, Marginals, expectation
from graft.inference.arguments import limit, together
from graft.inference.decisions import Decision, best_of, checked, element_risks, least, most_probable, to_decide
from graft.inference.draws import complete, decoded, outward, seeded
from graft.inference.explain import Explanation, explain
from graft.inference.how_many import at_most, positive
from graft.inference.kbest import k_best
from graft.inference.kbest_chain import fits, k_best_of_chain
from graft.inference.losses import ElementLoss, ZeroOne, named_loss
from graft.inference.plan import make
from graft.inference.query import Query, ask
from graft.inference.ratio import conditional, joined
from graft.inference.settle import Situation
from graft.inference.sweep import argmax, assign, draw
from graft.structured.checks import draws_shape

Values = dict[str, Tensor]


class Posterior:
    """A distribution over everything not given.

    Made by `Model.given`. All queries are exact; they are computed when first asked for and then kept.

    Attributes:
        kind: "exact".
    """

    kind = "exact"

    def __init__(
        self,
        situation: Situation,
        anew: Callable[[Mapping[str, Any]], Situation],
        budget: int | None = None,
        chains: bool = True,
    ) -> None:
        self._situation, self._anew, self._chains = situation, anew, chains
        self._budget = limit(budget)
        _ = self._query.plan  # refuse what is too wide before anything is allocated

    @cached_property
    def _query(self) -> Query:
        """The sum over what the evidence depends on."""
        return ask(self._situation, self._budget, self._chains)

    @cached_property
    def _joint(self) -> Query:
        """The sum over all unknowns."""
        return ask(self._situation, self._budget, self._chains, everything=True)

    @cached_property
    def _drawn(self) -> Query:
        """The sum that samples come from: missing units of a vector are drawn even if nothing depends on them."""
        graph, given = self._situation.graph, self._situation.given
        units = [n for n, g in given.items() if g.cells is not None and graph.variables[n].is_discrete]
        return ask(self._situation, self._budget, self._chains, units) if units else self._query

    @property
    def log_partition(self) -> Tensor:
        """The log of the sum, over everything not given, of the product of all factors; shape batch.

        For a model of conditionals alone it is the log-probability of the evidence. Rows of probability zero have
        `-inf`, with zero gradient.
        """
        return self._query.log_partition

    @property
    def marginals(self) -> Marginals:
        """Marginals by name, ``marginals["y"]`` (a distribution, batch shape = batch + axes), or of several terms,
        ``marginals["y[t-1], y[t]"]`` (a tensor: batch, axes, one axis of states per term).

        A time axis read with offsets loses the elements at which no such pair stands: T-1 of T. At removed elements
        a `Categorical` is uniform, a table 0.

        Raises:
            ImpossibleEvidence: naming the rows of probability zero.
        """
        return self._marginals

    @cached_property
    def _marginals(self) -> Marginals:
        return Marginals(self._situation, self._budget, self._chains, self._query)

    @cached_property
    def filtered(self) -> Filtered:
        """Per time axis, the marginal of an element given the evidence up to it (directed models)."""
        return Filtered(self._situation, self._budget, self._chains, present=True)

    @cached_property
    def predicted(self) -> Filtered:
        """Per time axis, the marginal of an element given the evidence before it (directed models)."""
        return Filtered(self._situation, self._budget, self._chains, present=False)

    def log_prob(self, values: Mapping[str, Any] | None = None, /, **named: Any) -> Tensor:
        """log p(values | evidence), whatever is unnamed summed out; shape batch.

        Args:
            values: by name, in one dict or as keywords.

        Returns:
            `-inf` where the values, or the evidence, have probability zero.

        Raises:
            GraftError: a name is given already, or the values cannot be.
        """
        merged = joined(self._situation, together(values, named), self._anew)
        return conditional(merged, ask(merged, self._budget, self._chains).log_partition, self.log_partition)

    def sample(self, shape: tuple[int, ...] | int = (), *, seed: int | None = None) -> Values:
        """Draw everything not given, jointly.

        Args:
            shape: of the draws; stands before the batch.
            seed: makes the draws repeatable without touching the global random state.

        Returns:
            Values by name, (shape, batch, axes, event); 0 at removed elements.

        Raises:
            ImpossibleEvidence: naming the rows of probability zero.
        """
        shape = draws_shape(shape)
        with seeded(seed), torch.no_grad():
            return self._sample(shape, lambda dist: dist.sample())

    def _sample(self, shape: tuple[int, ...], how: Callable[[Distribution], Tensor]) -> Values:
        query, frame = self._drawn, self._situation.frame
        query.possible("sample")
        count = int(torch.Size(shape).numel())
        states = assign(query.problem, query.plan, query.recorded(), lambda w: draw(w, None), draws=count, mode=False)
        chosen = {n: v.reshape(*shape, *v.shape[1:]) for n, v in decoded(query.problem, states).items()}
        found = complete(self._situation, chosen, shape, how)
        return outward(found, self._situation.graph.variables, frame.expanded(shape))

    def mode(self) -> Values:
        """The most probable joint assignment of all unknowns, by name; 0 at removed elements.

        Raises:
            ImpossibleEvidence: naming the rows of probability zero.
            IntractableError: if an unknown is continuous.
        """
        query = self._joint
        with torch.no_grad():
            query.possible("mode")
            states = assign(query.problem, query.plan, query.best(), argmax, draws=1, mode=True)
            found = {n: v[0] for n, v in decoded(query.problem, states).items()}
            return outward(found, self._situation.graph.variables, self._situation.frame)

    def decide(
        self,
        loss: str | ElementLoss | ZeroOne | Mapping[str, Any] | Callable[..., Tensor] = "hamming",
        names: Any = None,
        *,
        among: Any = None,
    ) -> Decision:
        r"""The assignment of least expected loss, $\arg\min_{\hat y} E[\Delta(y, \hat y)]$; 0 at removed elements.

        With a loss that adds up over elements each is decided by its own marginal. Such an assignment may have
        probability zero as a whole; `among=k` takes the best of the k most probable ones instead, all possible.

        Args:
            loss: "hamming" (`Hamming()`), "zero-one" (`ZeroOne()`, the mode), `Cost(matrix)`, a dict of such by
                variable, or, with `among`, a function of two dicts of values (k, batch, axes, event), truth and
                decision, that returns (k, batch).
            names: what is decided; by default every discrete unknown, or those that a dict of losses names.
            among: how many of the most probable joint assignments to choose from.

        Returns:
            Values by name, a dict with `.risk` (batch) and its `.kind`: the expected loss, exact unless the loss is
            a function, which is summed over the listed assignments only and so bounds the risk from below, unless
            the list holds every assignment that is possible.

        Raises:
            GraftError: a function returns a cost that is negative or not finite.
            ImpossibleEvidence: naming the rows of probability zero.
            IntractableError: "zero-one" of some names, if others would have to be summed out.

        Source: Duda, Hart & Stork 2001, section 2.2; Rabiner 1989, section III.B (Hamming); Goel & Byrne 2000 (lists).

        Example:
            >>> from graft.factors import Table
            >>> from graft.model import Model
            >>> pairs = torch.tensor([[0.0, 0.6, 0.0], [0.5, 0.0, 0.4]])
            >>> posterior = Model({"a, b": Table(values=pairs.log())}).given()
            >>> posterior.mode()["a"], posterior.decide()["a"]
            (tensor(0), tensor(1))
        """
        found = named_loss(loss)
        wanted = to_decide(self._situation, self.marginals, found, names)
        if among is not None:
            k = positive(among, "among")
            values, scores = self._listed(k)
            log_probs = scores - self._joint.log_partition.detach()
            more = callable(found) and not isinstance(found, ElementLoss) and self._more_than(k, scores)
            return best_of(self.marginals, self._situation, found, {n: values[n] for n in wanted}, log_probs, more)
        if isinstance(found, ZeroOne):
            return most_probable(ask(self._situation, self._budget, self._chains, wanted), wanted)
        return least(self.marginals, self._situation, found, wanted)

    def risk(self, loss: str | ElementLoss | ZeroOne | Mapping[str, Any], decision: Mapping[str, Any]) -> Tensor:
        """The exact expected loss of a decision; differentiable, shape batch.

        Args:
            loss: as in `decide`, but no function.
            decision: values by name, (batch, axes, event); what it does not name is summed out.

        Raises:
            GraftError: the decision is not of unknowns, of a wrong shape, or out of range.
            ImpossibleEvidence: naming the rows of probability zero.
        """
        found, states = named_loss(loss), checked(self._situation, decision)
        if isinstance(found, ZeroOne):
            self._query.possible("risk")
            return -torch.expm1(self.log_prob(decision))
        return element_risks(self.marginals, self._situation, found, states)

    def top_k(self, k: Any) -> tuple[Values, Tensor]:
        """The k assignments of greatest score, best first.

        Args:
            k: how many.

        Returns:
            Values by name, (k, batch, axes, event), and their scores (k, batch): the sum of all log-factors, so that
            `scores - log_partition` are log-probabilities. Where there are fewer than k, scores are `-inf`. Of
            several with one score any may come first.

        Raises:
            GraftError: k is no positive whole number.
            IntractableError: if an unknown is continuous, or the list does not fit the budget.
        """
        k = positive(k)
        values, scores = self._listed(k)
        short = k - len(scores)
        fits(short, sum(value[0].numel() for value in values.values()), self._budget)
        filled = {name: torch.cat([v, v.new_zeros(short, *v.shape[1:])]) for name, v in values.items()}
        return filled, torch.cat([scores, scores.new_full((short, *scores.shape[1:]), -torch.inf)])

    def _more_than(self, k: int, scores: Tensor) -> bool:
        """Whether some row has possible assignments besides those k."""
        if len(scores) < k or not bool((scores[-1] > -torch.inf).any()):
            return False
        _, longer = self._listed(k + 1)
        return bool((longer[k:] > -torch.inf).any())

    def _listed(self, k: int) -> tuple[Values, Tensor]:
        """The k best, or all if there are fewer in all."""
        problem = self._joint.problem
        sizes = [(prod(problem.sizes[x] for x in one.axes), one.states) for one in problem.unknowns.values()]
        k = at_most(k, sizes)
        with torch.no_grad():
            found = k_best_of_chain(self._joint, k)
            if found is None:
                plan = make(problem, self._budget // k, unroll=True)
                found = k_best(problem, plan, self._joint.tables, k)
            states, scores = found
            frame = self._situation.frame.expanded((len(scores),))
            return outward(decoded(problem, states), self._situation.graph.variables, frame), scores

    def entropy(self) -> Tensor:
        r"""The joint entropy $-E[\log p(\text{unknowns} \mid \text{evidence})]$, in nats; shape batch.

        Raises:
            ImpossibleEvidence: naming the rows of probability zero.
            IntractableError: if an unknown is continuous.
        """
        self._joint.possible("entropy")
        return self._joint.entropy()

    def expectation(self, f: Callable[..., Tensor], terms: str | None = None) -> Tensor:
        """E[f] of a function of discrete unknowns, at every element of their axes.

        Args:
            f: takes one tensor of values per term, with the states of the first term along the first dimension, those
                of the second along the second and so on (it may return further dimensions after those).
            terms: what it takes, such as ``"y[t-1], y[t]"``; by default the variables its parameters name.

        Returns:
            (batch, axes, further dimensions).

        Raises:
            ImpossibleEvidence: naming the rows of probability zero.
        """
        if not callable(f):
            raise GraftError(f"expectation takes a function of states, not {type(f).__name__}")
        if terms is None:
            terms = ", ".join(inspect.signature(f).parameters)
        return expectation(self.marginals, f, terms)

    def explain(self) -> Explanation:
        """The plan: how each variable is dealt with, at what cost, exact or not; prints as a table."""
        return explain(self._query)

    def __repr__(self) -> str:
        return f"Posterior over {', '.join(self._query.problem.unknowns) or 'nothing discrete'} (exact)"

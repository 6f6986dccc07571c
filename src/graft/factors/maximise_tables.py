"""M-steps of tables of probabilities: expected counts, normalised."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from graft.factors.bernoulli import Bernoulli
from graft.factors.categorical import Categorical
from graft.factors.maximise import Cases, Maximiser, Statistics, assign
from graft.factors.maximise_best import array, best_logits
from graft.factors.maximise_compiled import best_logits as compiled_best
from graft.factors.maximise_prior import PseudoCounts, spread_over


class CategoricalMaximiser(Maximiser):
    r"""$\theta_{is} = (n_{is} + c_{is}) / \sum_{s'} (n_{is'} + c_{is'})$ of expected counts n and pseudo-counts c.

    A probability of exactly zero stays zero, whatever the pseudo-counts; a row that nothing is expected of stays as it
    is.

    Source: Rabiner 1989, equations 40a to 40c.
    """

    prior_type = PseudoCounts
    factor: Categorical

    def statistics(self, weights: Tensor, cases: Cases) -> Statistics:
        states = self.factor.states
        index = cases.parents.clamp_min(0) * states + cases.value.clamp_min(0)
        shape = torch.broadcast_shapes(weights.shape, index.shape)
        flat, counts = index.expand(shape).reshape(-1), weights.double().expand(shape).reshape(-1)
        found = torch.bincount(flat, counts, minlength=self.factor.table.numel())
        return {"counts": found.reshape(self.factor.table.shape)}

    def maximise(self, found: Statistics) -> None:
        table: Tensor = self.factor.table
        best = compiled_best(found["counts"], self.held.read("table"), self.prior) if self.compiled else None
        if best is None:
            assign(table, self.best(found["counts"], table, self.prior), "a Categorical")
        else:
            self.held.write("table", best)

    @staticmethod
    def best(counts: Tensor, table: Tensor, prior: PseudoCounts) -> np.ndarray:
        """The new logits of a table (..., states)."""
        return best_logits(array(counts), array(table), None if prior.none else prior.counts)

    def log_prior(self) -> float:
        return log_density(self.prior, self.factor.table)


def log_density(prior: PseudoCounts, table: Tensor) -> float:
    """Pseudo-counts times log-probabilities, but for those that are zero by rule."""
    pseudo = spread_over(prior.counts.to(table.device), tuple(table.shape), "pseudo-counts")
    if prior.none:
        return 0.0
    log_probs = table.detach().double().log_softmax(-1)
    return float((pseudo * torch.where(table > -torch.inf, log_probs, 0.0)).sum())


class BernoulliMaximiser(Maximiser):
    r"""$p_i = (n_{i1} + c_{i1}) / (n_{i0} + n_{i1} + c_{i0} + c_{i1})$ of every unit; missing ones count nothing."""

    prior_type = PseudoCounts
    factor: Bernoulli

    def statistics(self, weights: Tensor, cases: Cases) -> Statistics:
        event, width = self._event(), prod(self._event())
        rows = self.factor.table.numel() // max(1, width)
        lead = cases.value.shape[: len(cases.lead)]
        # counts of a table that batch and axes share are sums over these
        shape = torch.broadcast_shapes(weights.shape, cases.parents.shape, lead)

        def flat(x: Tensor) -> Tensor:
            return x.double().expand(*shape, *event).reshape(-1, width)

        each = weights.double().expand(shape).reshape(-1, 1)
        each = each * (1.0 if cases.seen is None else flat(cases.seen))
        on = each * flat(cases.value)
        index = cases.parents.clamp_min(0).expand(shape).reshape(-1)
        both = torch.stack([(each - on).expand_as(on), on], -1)
        counts = both.new_zeros(rows, *both.shape[1:]).index_add_(0, index, both)
        return {"counts": counts.reshape(*self.factor.table.shape, 2)}

    def _event(self) -> tuple[int, ...]:
        return self.factor.event or ()

    def maximise(self, found: Statistics) -> None:
        best = CategoricalMaximiser.best(found["counts"], self._off_on(), self.prior)
        # where a row keeps its logits, this difference is the old one
        assign(self.factor.table, _difference(best), "a Bernoulli")

    def _off_on(self) -> Tensor:
        """The table as log-probabilities of off and on."""
        logits = self.factor.table.detach().double()
        return torch.stack([torch.nn.functional.logsigmoid(-logits), torch.nn.functional.logsigmoid(logits)], -1)

    def log_prior(self) -> float:
        return log_density(self.prior, self._off_on())


def _difference(best: np.ndarray) -> np.ndarray:
    return np.asarray(best[..., 1] - best[..., 0])

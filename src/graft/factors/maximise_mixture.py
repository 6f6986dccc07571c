"""The M-step of learnable mixtures of Gaussians: each component takes its share of its state's weight."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from graft.factors.maximise import Cases, Maximiser, Statistics, assign
from graft.factors.maximise_gaussian import Components, joined_moments
from graft.factors.maximise_prior import MixturePrior
from graft.factors.maximise_tables import CategoricalMaximiser, log_density
from graft.factors.mixture import Mixture
from graft.factors.spread import spread


class MixtureMaximiser(Maximiser):
    r"""Weights $\pi_{kc} = \sum_n r_{kcn} / \sum_n r_{kn}$ with $r_{kcn} = r_{kn} \, p(c \mid x_n, k)$, and moments by
    $r_{kcn}$.

    Source: Juang, Levinson & Sondhi 1986, section III.
    """

    prior_type = MixturePrior
    factor: Mixture

    def components(self) -> Components:
        """All components of all states, one after the other."""
        factor = self.factor
        scale = spread(factor.raw_scale.detach().double(), factor.covariance)
        rows = prod(factor.logits.shape)
        return Components(factor.loc.reshape(rows, -1), scale.reshape(rows, *scale.shape[factor.logits.dim() :]))

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """As of a Gaussian, of all components of all states."""
        loc, raw = self.held.read("loc"), self.held.read("raw_scale")
        loc = loc.reshape(-1, loc.shape[-1])
        return loc, raw.reshape(len(loc), *raw.shape[self.factor.logits.dim() :])

    def _log_joint(self, now: Components, cases: Cases) -> Tensor:
        """(states, components, points)."""
        log_weights = self.factor.logits.detach().double().log_softmax(-1).reshape(-1, self.factor.components, 1)
        return now.log_probs(cases.points).reshape(*log_weights.shape[:2], -1) + log_weights

    def log_table(self, cases: Cases) -> Tensor | None:
        if cases.listed != self.factor.logits.shape[:-1].numel():
            return None
        return self._log_joint(self.components(), cases).logsumexp(1).reshape(cases.lead)

    def statistics(self, weights: Tensor, cases: Cases) -> Statistics:
        now = self.components()
        each = cases.by_row(weights, self.factor.logits.shape[:-1].numel()).clamp_min(0.0)
        shares = self._log_joint(now, cases).softmax(1) * each[:, None]
        counts = shares.sum(-1).reshape(self.factor.logits.shape)
        return {"counts": counts, **now.moments(shares.flatten(0, 1), cases.points)}

    def maximise(self, found: Statistics) -> None:
        now, factor, prior = self.components(), self.factor, self.prior
        least = torch.finfo(factor.loc.dtype).tiny
        loc, raw = now.best(found, prior.components, least, factor.loc.requires_grad)
        logits = CategoricalMaximiser.best(found["counts"], factor.logits, prior.weights)
        assign(factor.loc, loc, "a Mixture")
        assign(factor.raw_scale, raw, "a Mixture")
        assign(factor.logits, logits, "a Mixture")

    def log_prior(self) -> float:
        return self.components().log_prior(self.prior.components) + log_density(self.prior.weights, self.factor.logits)

    def joined(self, one: Statistics, other: Statistics, share: float = 1.0, rest: float = 1.0) -> Statistics:
        counts = rest * one["counts"] + share * other["counts"]
        return {"counts": counts, **joined_moments(one, other, share, rest)}

"""The M-step of a linear Gaussian with observed parents: weighted least squares."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.factors.base import Call, apply_network
from graft.factors.linear_gaussian import LinearGaussian
from graft.factors.maximise import Cases, Maximiser, Statistics, assign
from graft.factors.maximise_gaussian import Components
from graft.factors.maximise_prior import GaussianPrior


class LinearMaximiser(Maximiser):
    r"""$[W\; b] = \big(\sum r\, y u^\top\big) \big(\sum r\, u u^\top\big)^{-1}$ with $u = [x\; 1]$, and the weighted
    covariance of what is left.

    Directions that the parents never take keep the least weights (the pseudo-inverse). Of the prior, `scatter`,
    `degrees`, `floor` and `added` are of the noise.

    Raises:
        GraftError: the prior has a `weight`, which a regression has no use for.

    Source: Bishop 2006, equations 3.15 and 3.21.
    """

    prior_type = GaussianPrior
    factor: LinearGaussian

    def parents(self, inputs: tuple[Tensor, ...], call: Call) -> Tensor:
        if self.prior.weight:
            raise GraftError("weight of a prior is of locations, which a LinearGaussian does not have")
        return apply_network(_joined, inputs, call)

    def statistics(self, weights: Tensor, cases: Cases) -> Statistics:
        if cases.seen is not None:
            raise GraftError("the M-step of a LinearGaussian needs whole vectors: some cells are missing")
        shape, rows = cases.lead, prod(cases.lead)
        x = cases.parents.double().expand(*shape, -1).reshape(rows, -1)
        y = cases.value.double().expand(*shape, -1).reshape(rows, -1)
        each = weights.double().reshape(rows, 1).clamp_min(0.0)
        both = torch.cat([x, torch.ones_like(each), y], 1)
        return {"products": both.T @ (each * both)}

    def maximise(self, found: Statistics) -> None:
        factor, products = self.factor, found["products"]
        size = factor.given_dim + 1
        mass = products[size - 1, size - 1]
        if float(mass) <= 0:
            return
        xx, xy, yy = products[:size, :size], products[:size, size:], products[size:, size:]
        present = torch.cat([factor.linear.weight.detach(), factor.linear.bias.detach()[:, None]], 1).double()
        moves = factor.linear.weight.requires_grad and factor.linear.bias.requires_grad
        weights = (torch.linalg.pinv(xx, hermitian=True) @ xy).T if moves else present
        left = yy - weights @ xy - (weights @ xy).T + weights @ xx @ weights.T
        raw_scale = self._noise(left, mass)
        assign(factor.linear.weight, weights[:, :-1], "a LinearGaussian")
        assign(factor.linear.bias, weights[:, -1], "a LinearGaussian")
        assign(factor.raw_scale, raw_scale, "a LinearGaussian")

    def _noise(self, left: Tensor, mass: Tensor) -> Tensor:
        """The raw scale of what the regression leaves, a Gaussian of location 0."""
        now = self._present()
        second = left if now.full else left.diagonal()
        masses = mass.reshape(1) if now.full else mass.expand(1, len(left))
        found = {"origin": now.loc, "mass": masses, "first": torch.zeros_like(now.loc), "second": second[None]}
        return now.best(found, self.prior, torch.finfo(self.factor.raw_scale.dtype).tiny, False)[1][0]

    def _present(self) -> Components:
        scale = self.factor.noise().detach().double()
        scale = scale if self.factor.covariance == "full" else scale.diagonal()
        return Components(scale.new_zeros(1, len(scale)), scale[None])

    def log_prior(self) -> float:
        return self._present().log_prior(self.prior)


def _joined(*inputs: Tensor) -> Tensor:
    return inputs[0]

"""M-steps of learnable Gaussians: weighted means and covariances, with priors and floors."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from graft.factors.gaussian import Gaussian
from graft.factors.maximise import Cases, Maximiser, Statistics, assign
from graft.factors.maximise_moments import diagonal_moments, full_moments, moved
from graft.factors.maximise_points import Points, diagonal, full
from graft.factors.maximise_prior import GaussianPrior, spread_over
from graft.factors.maximise_scatter import scatter_over
from graft.factors.spread import unspread


class Components:
    """K Gaussians of D dimensions as tables in double precision, whatever factor holds them.

    Args:
        loc: (K, D).
        scale: (K, D), or Cholesky factors (K, D, D).
        tied: all have the covariance of the first.
        spherical: all dimensions have one variance.
    """

    def __init__(self, loc: Tensor, scale: Tensor, *, tied: bool = False, spherical: bool = False) -> None:
        self.loc, self.scale = loc.detach().double(), scale.detach().double()
        self.tied, self.spherical, self.full = tied, spherical, scale.dim() == 3

    def log_probs(self, at: Points) -> Tensor:
        """(K, N)."""
        return (full if self.full else diagonal)(at, self.loc, self.scale)

    def moments(self, weights: Tensor, at: Points) -> Statistics:
        """Of points with weights (K, N), about the present locations."""
        if self.full:
            return full_moments(weights, at, self.loc, self.scale @ self.scale.mT)
        return diagonal_moments(weights, at, self.loc)

    def best_loc(self, found: Statistics, prior: GaussianPrior) -> Tensor:
        """(K, D); where there is no mass, the present ones."""
        mass = found["mass"] if found["mass"].dim() == 2 else found["mass"][:, None]
        m = spread_over(prior.loc.to(mass.device), tuple(self.loc.shape), "loc of a prior")
        total = mass + prior.weight
        step = (prior.weight * (m - found["origin"]) + found["first"]) / torch.where(total > 0, total, 1.0)
        return torch.where(total > 0, found["origin"] + step, self.loc)

    def best_scale(self, found: Statistics, loc: Tensor, prior: GaussianPrior, least: float) -> Tensor:
        """(K, D), or Cholesky factors (K, D, D), for these locations; where there is no mass, the present ones."""
        about = moved(found, loc)
        m = spread_over(prior.loc.to(loc.device), tuple(loc.shape), "loc of a prior")
        return (self._full if self.full else self._diagonal)(about, m - loc, prior, max(prior.floor, least))

    def _diagonal(self, about: Statistics, off: Tensor, prior: GaussianPrior, floor: float) -> Tensor:
        top = self._scatter(prior) + prior.weight * off.square() + about["second"].clamp_min(0.0)
        mass = prior.degrees + about["mass"]
        if self.spherical:
            top, mass = (x.sum(-1, keepdim=True).expand_as(off) for x in (top, mass))
        variance = (top / torch.where(mass > 0, mass, 1.0) + prior.added).clamp_min(floor)
        return torch.where(mass > 0, variance.sqrt(), self.scale)

    def _full(self, about: Statistics, off: Tensor, prior: GaussianPrior, floor: float) -> Tensor:
        size = off.shape[-1]
        eye = torch.eye(size, dtype=off.dtype, device=off.device)
        top = about["second"] + prior.weight * off[:, :, None] * off[:, None, :]
        mass = about["mass"]
        if self.tied:
            top, mass = top.sum(0, keepdim=True), mass.sum(0, keepdim=True)
        mass = (mass + prior.degrees)[:, None, None]
        covariance = (top + self._scatter(prior)) / torch.where(mass > 0, mass, 1.0) + prior.added * eye
        found = torch.where(mass > 0, _cholesky(covariance, floor), self.scale[: len(top)])
        return found.expand_as(self.scale)

    def _scatter(self, prior: GaussianPrior) -> Tensor:
        """(K, D), or (K, D, D), K being 1 where all have one covariance."""
        return scatter_over(
            prior.scatter.to(self.loc.device), tuple((self.scale[:1] if self.tied else self.scale).shape)
        )

    def log_prior(self, prior: GaussianPrior) -> float:
        """See `GaussianPrior`."""
        off = self.loc - spread_over(prior.loc.to(self.loc.device), tuple(self.loc.shape), "loc of a prior")
        scatter = self._scatter(prior)
        if not self.full:
            squares = scatter + prior.weight * off.square()
            return float(-(prior.degrees * self.scale.log() + 0.5 * squares * self.scale**-2).sum())
        whitened = torch.linalg.solve_triangular(self.scale, off[:, :, None], upper=False)
        scale = self.scale[:1] if self.tied else self.scale
        inverse = torch.cholesky_inverse(scale)
        log_norm = prior.degrees * scale.diagonal(dim1=-2, dim2=-1).log().sum()
        return float(-log_norm - 0.5 * (inverse * scatter).sum() - 0.5 * prior.weight * whitened.square().sum())


def _cholesky(covariance: Tensor, floor: float) -> Tensor:
    """Cholesky factors of matrices whose eigenvalues are raised to a floor."""
    values, vectors = torch.linalg.eigh(0.5 * (covariance + covariance.mT))
    low = values[..., 0] < floor
    raised = (vectors * values.clamp_min(floor).unsqueeze(-2)) @ vectors.mT
    whole = torch.where(low[..., None, None], 0.5 * (raised + raised.mT), covariance)
    found, failed = torch.linalg.cholesky_ex(whole)
    if not bool(failed.any()):
        return found
    # rounded below zero: the root by its eigenvalues, made triangular
    root = vectors * values.clamp_min(floor).sqrt().unsqueeze(-2)
    upper = torch.linalg.qr(root.mT).R
    return (upper * torch.where(upper.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).unsqueeze(-1)).mT


class GaussianMaximiser(Maximiser):
    r"""$\mu_k = \sum_n r_{kn} x_n / \sum_n r_{kn}$ and likewise $\Sigma_k$; see `GaussianPrior` for both with priors.

    Missing cells are left out of a diagonal covariance, and filled in by their expectation in a full one.

    Source: Dempster, Laird & Rubin 1977, section 4.3; Ghahramani & Jordan 1994, section 3.
    """

    prior_type = GaussianPrior
    factor: Gaussian

    def components(self) -> Components:
        """The present tables."""
        factor = self.factor
        rows, width = prod(factor.given or ()), prod(factor.event or ())
        scale = factor.scales(double=True)
        wide = (rows, width, width) if factor.covariance in ("full", "tied") else (rows, width)
        kind = {"tied": factor.covariance == "tied", "spherical": factor.covariance == "spherical"}
        return Components(factor.loc.reshape(rows, width), scale.reshape(wide), **kind)

    def log_table(self, cases: Cases) -> Tensor | None:
        now = self.components()
        if cases.listed != len(now.loc):
            return None
        return now.log_probs(cases.points).reshape(cases.lead)

    def statistics(self, weights: Tensor, cases: Cases) -> Statistics:
        now = self.components()
        return now.moments(cases.by_row(weights, len(now.loc)).clamp_min(0.0), cases.points)

    def maximise(self, found: Statistics) -> None:
        now, factor = self.components(), self.factor
        loc = now.best_loc(found, self.prior) if factor.loc.requires_grad else now.loc
        scale = now.best_scale(found, loc, self.prior, torch.finfo(factor.loc.dtype).tiny)
        raw = unspread(scale, "full" if now.full else "diag")
        if factor.raw_scale.numel() < raw.numel():
            # one number for all dimensions, or one matrix for all states
            raw = raw[0] if now.tied else raw[:, :1]
        assign(factor.loc, loc, "a Gaussian")
        assign(factor.raw_scale, raw, "a Gaussian")

    def log_prior(self) -> float:
        return self.components().log_prior(self.prior)

    def joined(self, one: Statistics, other: Statistics, share: float = 1.0, rest: float = 1.0) -> Statistics:
        return joined_moments(one, other, share, rest)


def joined_moments(one: Statistics, other: Statistics, share: float, rest: float) -> Statistics:
    """Sums of moments, about the origin of the later."""
    one = moved(one, other["origin"])
    sums: dict[str, Any] = {name: rest * one[name] + share * other[name] for name in ("mass", "first", "second")}
    return {"origin": other["origin"], **sums}

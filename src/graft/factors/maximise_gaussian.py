"""M-steps of learnable Gaussians: weighted means and covariances, with priors and floors."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graft.factors.gaussian import Gaussian
from graft.factors.maximise import Cases, Maximiser, Statistics, assign
from graft.factors.maximise_best import Moments, array, best_loc, best_log_scale
from graft.factors.maximise_compiled import best_diagonal as compiled_best
from graft.factors.maximise_compiled import prior_tables
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

    def best(self, found: Statistics, prior: GaussianPrior, least: float, moves: bool) -> tuple[Tensor, Tensor]:
        """The best locations (K, D), and for these raw scales (K, D) or (K, D, D); where there is no mass, the present.

        Args:
            found: the statistics.
            prior: of both.
            least: no variance falls below it.
            moves: whether locations may.
        """
        now, floor = array(self.loc), max(prior.floor, least)
        if not self.full:
            both = best_diagonal(found, now, array(self.scale.log()), prior, floor, moves, self.spherical)
            return torch.from_numpy(both[0]), torch.from_numpy(both[1])
        at = torch.from_numpy(best_loc(_moments(found, now), now, prior) if moves else now)
        about = moved(found, at.to(found["origin"].device))
        return at, unspread(self._full(about, at.to(self.loc.device), prior, floor), "full")

    def _off(self, loc: Tensor, prior: GaussianPrior) -> Tensor:
        return spread_over(prior.loc.to(loc.device), tuple(loc.shape), "loc of a prior") - loc

    def _full(self, about: Statistics, loc: Tensor, prior: GaussianPrior, floor: float) -> Tensor:
        eye, off = torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device), self._off(loc, prior)
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
        if prior.none:
            return 0.0
        if not self.full:
            squares = scatter + prior.weight * off.square()
            return float(-(prior.degrees * self.scale.log() + 0.5 * squares * self.scale**-2).sum())
        whitened = torch.linalg.solve_triangular(self.scale, off[:, :, None], upper=False)
        scale = self.scale[:1] if self.tied else self.scale
        inverse = torch.cholesky_inverse(scale)
        log_norm = prior.degrees * scale.diagonal(dim1=-2, dim2=-1).log().sum()
        return float(-log_norm - 0.5 * (inverse * scatter).sum() - 0.5 * prior.weight * whitened.square().sum())


def best_diagonal(
    found: Statistics, loc: np.ndarray, raw: np.ndarray, prior: GaussianPrior, floor: float, moves: bool,
    spherical: bool,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """`Components.best` where dimensions are independent: from present locations and logarithms of scales, (K, D)."""
    moments = _moments(found, loc)
    at = best_loc(moments, loc, prior) if moves else loc
    return at, best_log_scale(moments, at, raw, prior, floor, spherical)


def _moments(found: Statistics, loc: np.ndarray) -> Moments:
    mass = array(found["mass"])
    every = mass if mass.ndim == 2 else np.broadcast_to(mass[:, None], loc.shape)
    return Moments(array(found["origin"]), every, array(found["first"]), array(found["second"]))


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
        factor, kind = self.factor, self.factor.covariance
        rows, width = prod(factor.given or ()), prod(factor.event or ())
        with torch.no_grad():
            scale = factor.scales(double=True)
        wide = (rows, width, width) if kind in ("full", "tied") else (rows, width)
        loc = factor.loc.detach().reshape(rows, width)
        return Components(loc, scale.reshape(wide), tied=kind == "tied", spherical=kind == "spherical")

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Locations (K, D), and logarithms of scales (K, D or 1), or raw Cholesky factors (K or 1, D, D)."""
        loc, raw = self.held.read("loc"), self.held.read("raw_scale")
        loc = loc.reshape(prod(self.factor.given or ()), -1)
        if self.factor.covariance in ("full", "tied"):
            return loc, raw.reshape(-1, loc.shape[1], loc.shape[1])
        return loc, raw.reshape(len(loc), -1)

    def log_table(self, cases: Cases) -> Tensor | None:
        now = self.components()
        if cases.listed != len(now.loc):
            return None
        return now.log_probs(cases.points).reshape(cases.lead)

    def statistics(self, weights: Tensor, cases: Cases) -> Statistics:
        now = self.components()
        return now.moments(cases.by_row(weights, len(now.loc)).clamp_min(0.0), cases.points)

    def maximise(self, found: Statistics) -> None:
        factor, kind = self.factor, self.factor.covariance
        loc_now: Tensor = factor.loc
        least, moves = torch.finfo(loc_now.dtype).tiny, loc_now.requires_grad
        if self.compiled and self._by_kernel(found, max(self.prior.floor, least), moves):
            return
        loc: Any
        raw: Any
        if kind in ("full", "tied"):
            loc, raw = self.components().best(found, self.prior, least, moves)
            raw = raw[0] if factor.raw_scale.numel() < raw.numel() else raw  # one matrix for all states
        else:
            loc, raw = self.tables()
            single, raw = raw.shape != loc.shape, np.broadcast_to(raw, loc.shape)
            floor = max(self.prior.floor, least)
            loc, raw = best_diagonal(found, loc, raw, self.prior, floor, moves, kind == "spherical")
            raw = raw[:, :1] if single else raw  # one number for all dimensions
        assign(factor.loc, loc, "a Gaussian")
        assign(factor.raw_scale, raw, "a Gaussian")

    def _by_kernel(self, found: Statistics, floor: float, moves: bool) -> bool:
        """Whether a compiled M-step has moved the parameters: where dimensions are independent, and nothing is NaN."""
        if self.factor.covariance not in ("diag", "spherical") or found["mass"].dim() != 2:
            return False
        spherical = self.factor.covariance == "spherical"
        best = compiled_best(found, self.tables(), self.prior, self._prior, floor, moves, spherical)
        if best is None:
            return False
        self.held.write("loc", best[0])
        self.held.write("raw_scale", best[1])
        return True

    @cached_property
    def _prior(self) -> tuple[np.ndarray, np.ndarray]:
        """Of independent dimensions."""
        return prior_tables(self.prior, (prod(self.factor.given or ()), prod(self.factor.event or ())))

    def log_prior(self) -> float:
        if self.prior.none or self.factor.covariance not in ("diag", "spherical"):
            return self.components().log_prior(self.prior)
        prior, (m, scatter), (loc, raw) = self.prior, self._prior, self.tables()
        squares = scatter + prior.weight * (m - loc) ** 2
        with np.errstate(over="ignore", invalid="ignore"):
            each = prior.degrees * raw + 0.5 * squares * np.exp(-2.0 * raw)
        return -float(each.sum())

    def joined(self, one: Statistics, other: Statistics, share: float = 1.0, rest: float = 1.0) -> Statistics:
        return joined_moments(one, other, share, rest)


def joined_moments(one: Statistics, other: Statistics, share: float, rest: float) -> Statistics:
    """Sums of moments, about the origin of the later."""
    one = moved(one, other["origin"])
    sums: dict[str, Any] = {name: rest * one[name] + share * other[name] for name in ("mass", "first", "second")}
    return {"origin": other["origin"], **sums}

"""Gaussians with covariances that may turn out singular: densities, determinants, and the normals that torch takes."""

from __future__ import annotations

from math import log, pi

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from graft.errors import GraftError


def factor(
    covariance: Float[Tensor, "*#n d d"], alive: Bool[Tensor, "*n"] | None, what: str
) -> Float[Tensor, "*n d d"]:
    """Cholesky factors; the identity where nothing exists.

    Raises:
        GraftError: a covariance is singular, so that there is no density.
    """
    if alive is not None and not bool(alive.all()):
        eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
        covariance = torch.where(alive[..., None, None], covariance, eye)
    found, failed = torch.linalg.cholesky_ex(covariance)
    pivots = found.detach().diagonal(dim1=-2, dim2=-1).square()
    least = 1e-13 * covariance.detach().diagonal(dim1=-2, dim2=-1)
    bad = failed.bool() | (pivots <= least).any(-1)
    if bool(bad.any()):
        place = tuple(bad.nonzero()[0].tolist())
        raise GraftError(
            f"{what} has no density: its covariance is singular, first at {place} (noise of variance zero, or an exact "
            "observation)"
        )
    return found


def log_determinants(
    covariance: Float[Tensor, "#b t d d"], alive: Bool[Tensor, "b t"] | None, what: str
) -> Float[Tensor, "b t"]:
    """Of each covariance; 0 where nothing exists."""
    return 2 * factor(covariance, alive, what).diagonal(dim1=-2, dim2=-1).log().sum(-1)


def density(
    error: Float[Tensor, "*n b t d"],
    covariance: Float[Tensor, "#b t d d"],
    alive: Bool[Tensor, "b t"] | None,
    what: str,
) -> Float[Tensor, "*n b t"]:
    """The log-density of centred values."""
    scale = factor(covariance, alive, what)
    white = torch.linalg.solve_triangular(scale, error.unsqueeze(-1), upper=False).squeeze(-1)
    half = scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * white.square().sum(-1) - half - 0.5 * error.shape[-1] * log(2 * pi)


def normals(
    mean: Float[Tensor, "b t d"], covariance: Float[Tensor, "#b t d d"], alive: Bool[Tensor, "b t"] | None, what: str
) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b t d d"]]:
    """Means and Cholesky factors, standard normal where nothing exists."""
    scale = factor(covariance, alive, what).expand(*mean.shape, -1)
    return (mean if alive is None else torch.where(alive[..., None], mean, 0.0)), scale

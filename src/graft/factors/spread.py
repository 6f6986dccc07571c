"""Scales of Gaussians: positive diagonals or Cholesky factors, and the normals made of them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from graft.errors import GraftError
from graft.factors.events import validation

Covariance = Literal["diag", "full"]


def spread(raw: Tensor, covariance: Covariance) -> Tensor:
    r"""The scale that an unconstrained tensor stands for.

    Diagonal: $\sigma = e^r$. Full: the Cholesky factor
    $L = \mathrm{tril}(R, -1) + \mathrm{diag}(e^{r_{ii}})$.

    Shapes: (..., d) to (..., d), or (..., d, d) to (..., d, d).
    """
    if covariance == "diag":
        return raw.exp()
    return raw.tril(-1) + torch.diag_embed(raw.diagonal(dim1=-2, dim2=-1).exp())


def unspread(scale: Tensor, covariance: Covariance) -> Tensor:
    """The inverse of `spread`.

    Raises:
        GraftError: if a scale is not positive, or a Cholesky factor not lower triangular.
    """
    diagonal = scale if covariance == "diag" else scale.diagonal(dim1=-2, dim2=-1)
    if not bool((diagonal > 0).all()):
        raise GraftError("scales must be positive")
    if covariance == "diag":
        return scale.log()
    if not torch.equal(scale, scale.tril()):
        raise GraftError("the scale of a full covariance is a lower triangular Cholesky factor")
    return scale.tril(-1) + torch.diag_embed(diagonal.log())


def spread_shape(event: tuple[int, ...], covariance: Covariance) -> tuple[int, ...]:
    """The shape of one scale for an event of this shape.

    Raises:
        GraftError: if a full covariance is asked for anything but vectors.
    """
    if covariance == "diag":
        return event
    if covariance != "full":
        raise GraftError(f'covariance is "diag" or "full", not {covariance!r}')
    if len(event) != 1:
        raise GraftError(f"a full covariance needs a vector, not an event of shape {event}")
    return event * 2


def normal(loc: Tensor, scale: Tensor, event_rank: int, covariance: Covariance = "diag") -> Distribution:
    """The Gaussian with this location and the scale that `spread` returned."""
    if covariance == "full":
        return MultivariateNormal(loc, scale_tril=scale, validate_args=validation(loc))
    return Independent(Normal(loc, scale), event_rank)

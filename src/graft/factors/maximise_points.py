"""Observed vectors as rows in double precision, and the densities of many Gaussians at all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from graft.errors import GraftError

#: The greatest rounding error of a log-density that a matrix product may make.
TOLERANCE = 1e-8


@dataclass(eq=False)
class Points:
    """N vectors about their mean.

    Attributes:
        x: (N, D) less the centre; 0 in missing cells.
        centre: (D).
        seen: (N, D), 1 where a cell is there; None if all are.
    """

    x: Tensor
    centre: Tensor
    seen: Tensor | None = None

    @cached_property
    def squares(self) -> Float[Tensor, "n d"]:
        return self.x.square()

    @cached_property
    def widest(self) -> Float[Tensor, " d"]:
        """The greatest square of each dimension."""
        return self.squares.amax(0) if len(self.x) else torch.zeros_like(self.centre)


def points(values: Shaped[Tensor, "n d"], seen: Bool[Tensor, "n d"] | None = None) -> Points:
    """Rows about their mean, which keeps the digits of products.

    Args:
        values: anything may stand in missing cells.
        seen: which cells are there.

    Raises:
        GraftError: a value is so great that its square is not finite.

    Example:
        >>> points(torch.tensor([[1.0], [3.0]])).x.T
        tensor([[-1.,  1.]], dtype=torch.float64)
    """
    x = values.detach().double()
    if seen is None:
        centre = x.mean(0) if len(x) else x.new_zeros(x.shape[1])
        found = Points(x - centre, centre)
    else:
        there = seen.double()
        x = torch.where(seen, x, 0.0)
        centre = x.sum(0) / there.sum(0).clamp_min(1.0)
        found = Points((x - centre) * there, centre, there)
    refuse_great(bool(torch.isfinite(found.widest).all()))
    return found


def refuse_great(finite: bool) -> None:
    """Raises unless all squares of data are finite."""
    if not finite:
        raise GraftError("an observation is too great: its square has no finite value, scale the data")


def diagonal(at: Points, loc: Float[Tensor, "k d"], scale: Float[Tensor, "k d"]) -> Float[Tensor, "k n"]:
    r"""$\log \mathcal{N}(x_n; \mu_k, \mathrm{diag}\,\sigma_k^2)$ by matrix products, missing cells integrated out.

    Where scales are so small beside the data that the products would lose digits, state by state.

    Example:
        >>> at = points(torch.tensor([[1.0], [3.0]]))
        >>> diagonal(at, torch.tensor([[1.0]]), torch.tensor([[1.0]])) + 0.5 * math.log(2 * math.pi)
        tensor([[ 0., -2.]], dtype=torch.float64)
    """
    m, precision = loc.double() - at.centre, scale.double() ** -2
    log_norm = scale.double().log() + 0.5 * math.log(2 * math.pi)
    if at.seen is None:
        norm = log_norm.sum(-1, keepdim=True)
    else:
        norm = log_norm @ at.seen.T
    worst = (precision * torch.maximum(at.widest, m.square())).sum(-1)
    if not bool((worst * torch.finfo(torch.float64).eps < TOLERANCE).all()):
        return -norm - 0.5 * _one_by_one(at, m, precision)
    squares = m.square() * precision
    constant = squares.sum(-1, keepdim=True) if at.seen is None else squares @ at.seen.T
    found = torch.addmm(constant + 2 * norm, precision, at.squares.T)
    return found.addmm_(m * precision, at.x.T, alpha=-2.0).mul_(-0.5)


def _one_by_one(at: Points, m: Tensor, precision: Tensor) -> Tensor:
    """Squared distances (K, N) of each state in turn."""
    rows = []
    for one, weight in zip(m, precision, strict=True):
        apart = at.x - one if at.seen is None else (at.x - one) * at.seen
        rows.append(apart.square() @ weight)
    return torch.stack(rows)


def full(at: Points, loc: Float[Tensor, "k d"], scale: Float[Tensor, "k d d"]) -> Float[Tensor, "k n"]:
    r"""$\log \mathcal{N}(x_n; \mu_k, L_k L_k^\top)$; of the observed cells alone where some are missing.

    Example:
        >>> full(points(torch.zeros(1, 2)), torch.zeros(1, 2), torch.eye(2)[None]) + math.log(2 * math.pi)
        tensor([[0.]], dtype=torch.float64)
    """
    m, scale = loc.double() - at.centre, scale.double()
    if at.seen is not None:
        return _partly(at, m, scale @ scale.mT)
    return torch.stack([_mahalanobis(at.x - one, factor) for one, factor in zip(m, scale, strict=True)])


def _mahalanobis(apart: Tensor, factor: Tensor) -> Tensor:
    """Log-densities of a Gaussian with a Cholesky factor, at (N, D) less its location."""
    whitened = torch.linalg.solve_triangular(factor, apart.T, upper=False)
    norm = factor.diagonal().log().sum() + 0.5 * len(factor) * math.log(2 * math.pi)
    return -norm - 0.5 * whitened.square().sum(0)


def _partly(at: Points, m: Tensor, covariance: Tensor) -> Tensor:
    found = at.x.new_zeros(len(m), len(at.x))
    for rows, seen in patterns(at):
        for k in range(len(m)) if bool(seen.any()) else ():
            factor = torch.linalg.cholesky(covariance[k][seen][:, seen])
            found[k, rows] = _mahalanobis(at.x[rows][:, seen] - m[k, seen], factor)
    return found


def patterns(at: Points) -> list[tuple[Tensor, Tensor]]:
    """Rows (by number) that miss the same cells, and which cells (D) are there."""
    assert at.seen is not None
    kinds, which = at.seen.bool().unique(dim=0, return_inverse=True)
    return [((which == number).nonzero()[:, 0], kind) for number, kind in enumerate(kinds)]

"""The best locations and variances of Gaussians whose dimensions are independent, on plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from graft.factors.maximise_prior import GaussianPrior, spread_over
from graft.factors.maximise_scatter import scatter_over


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over weighted points, each (K, D): see `graft.factors.maximise_moments`.

    Attributes:
        origin: what the points are taken about.
        mass: of the weights.
        first: of weighted points.
        second: of weighted squares.
    """

    origin: np.ndarray
    mass: np.ndarray
    first: np.ndarray
    second: np.ndarray


def array(tensor: Tensor) -> np.ndarray:
    """A small tensor in double precision where numpy reaches it: its operations cost a third of torch's."""
    own = tensor.detach() if tensor.requires_grad else tensor
    if own.dtype != torch.float64 or not own.is_cpu:
        own = own.double().cpu()
    found: np.ndarray = own.numpy()
    return found


def best_loc(found: Moments, loc: Float[np.ndarray, "k d"], prior: GaussianPrior) -> Float[np.ndarray, "k d"]:
    """The best locations; where there is no mass, the present ones.

    Example:
        >>> one = np.ones((1, 1))
        >>> best_loc(Moments(one, 4 * one, 2 * one, 9 * one), one, GaussianPrior())
        array([[1.5]])
    """
    total, pull = found.mass, found.first
    if prior.weight > 0:
        m = spread_over(prior.loc, loc.shape, "loc of a prior").numpy()
        total, pull = total + prior.weight, prior.weight * (m - found.origin) + pull
    some = total > 0
    return np.where(some, found.origin + pull / np.where(some, total, 1.0), loc)


def best_log_scale(
    found: Moments, loc: Float[np.ndarray, "k d"], now: Float[np.ndarray, "k d"], prior: GaussianPrior,
    floor: float, spherical: bool,
) -> Float[np.ndarray, "k d"]:  # fmt: skip
    """The best logarithms of scales for these locations; where there is no mass, the present ones.

    Args:
        found: the statistics.
        loc: the locations.
        now: the present logarithms.
        prior: of both.
        floor: no variance falls below it.
        spherical: all dimensions have one.

    Example:
        >>> one = np.ones((1, 1))
        >>> best_log_scale(Moments(one, 4 * one, 2 * one, 9 * one), 1.5 * one, one, GaussianPrior(), 1e-6, False)
        array([[0.34657359]])
    """
    by = found.origin - loc
    top = np.maximum(found.second + by * (2.0 * found.first + found.mass * by), 0.0)
    mass = found.mass
    if not prior.none:
        off = spread_over(prior.loc, loc.shape, "loc of a prior").numpy() - loc
        top = scatter_over(prior.scatter, loc.shape).numpy() + prior.weight * off * off + top
        mass = prior.degrees + mass
    if spherical:
        top, mass = (np.broadcast_to(x.sum(-1, keepdims=True), loc.shape) for x in (top, mass))
    some = mass > 0
    variance = np.maximum(top / np.where(some, mass, 1.0) + prior.added, floor)
    return np.where(some, 0.5 * np.log(variance), now)


def best_logits(
    counts: Float[np.ndarray, "*rows s"], table: Float[np.ndarray, "*rows s"], pseudo: Tensor | None
) -> Float[np.ndarray, "*rows s"]:
    """Logarithms of counts normalised; what was impossible stays so, and a row without counts as it is.

    Example:
        >>> np.exp(best_logits(np.array([3.0, 1.0]), np.zeros(2), None))
        array([0.75, 0.25])
    """
    counts = np.maximum(counts, 0.0)
    if pseudo is not None:
        counts = counts + spread_over(pseudo, table.shape, "pseudo-counts").numpy()
    counts = np.where(table > -np.inf, counts, 0.0)
    total = counts.sum(-1, keepdims=True)
    some = total > 0
    with np.errstate(divide="ignore"):
        return np.where(some, np.log(counts / np.where(some, total, 1.0)), table)


def tensors(moments: Moments) -> dict[str, Tensor]:
    """The same by name, as statistics are kept.

    Example:
        >>> sorted(tensors(Moments(*np.ones((4, 1, 1)))))
        ['first', 'mass', 'origin', 'second']
    """
    return {name: torch.from_numpy(one) for name, one in vars(moments).items()}

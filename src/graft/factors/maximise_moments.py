"""Weighted moments of vectors about given origins: the statistics of Gaussians."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from graft.factors.maximise_points import Points, patterns

#: Below this share of a square, a second moment found by shifting has lost half of its digits.
CANCELLED = 1e-8

#: `origin` (K, D), `mass` (K, D) or (K), `first` (K, D), `second` (K, D) or (K, D, D).
Moments = dict[str, Tensor]


def diagonal_moments(weights: Float[Tensor, "k n"], at: Points, origin: Float[Tensor, "k d"]) -> Moments:
    r"""$\sum_n r_{kn}$, $\sum_n r_{kn} (x_n - o_k)$ and $\sum_n r_{kn} (x_n - o_k)^2$; missing cells count nothing.

    Args:
        weights: r, at least 0.
        at: x.
        origin: o, near the mean of its row: the moments then keep their digits.

    Example:
        >>> from graft.factors.maximise_points import points
        >>> found = diagonal_moments(torch.ones(1, 2), points(torch.tensor([[1.0], [3.0]])), torch.ones(1, 1))
        >>> found["mass"].item(), found["first"].item(), found["second"].item()
        (2.0, 2.0, 4.0)
    """
    weights, origin = weights.double(), origin.double()
    shift = origin - at.centre
    mass = weights.sum(1, keepdim=True).expand_as(shift) if at.seen is None else weights @ at.seen
    plain, squares = weights @ at.x, weights @ at.squares
    first = plain - mass * shift
    second = squares - 2 * shift * plain + mass * shift.square()
    lost = (second < CANCELLED * torch.maximum(squares, mass * shift.square())).any(-1)
    for k in lost.nonzero()[:, 0].tolist():
        apart = at.x - shift[k] if at.seen is None else (at.x - shift[k]) * at.seen
        first[k], second[k] = weights[k] @ apart, weights[k] @ apart.square()
    return {"origin": origin, "mass": mass.clone(), "first": first, "second": second}


def full_moments(
    weights: Float[Tensor, "k n"], at: Points, origin: Float[Tensor, "k d"], covariance: Float[Tensor, "k d d"]
) -> Moments:
    r"""The same with outer products in place of squares.

    Missing cells take their expectation given the others, and their conditional covariance is added.

    Args:
        weights: r, at least 0.
        at: x.
        origin: o, the present means.
        covariance: the present ones, which missing cells are filled in by.

    Source: Ghahramani & Jordan 1994, section 3.

    Example:
        >>> from graft.factors.maximise_points import points
        >>> at = points(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
        >>> full_moments(torch.ones(1, 2), at, torch.zeros(1, 2), torch.eye(2)[None])["second"]
        tensor([[[10.,  0.],
                 [ 0.,  0.]]], dtype=torch.float64)
    """
    weights, origin, covariance = weights.double(), origin.double(), covariance.double()
    shift = origin - at.centre
    first, second = torch.zeros_like(origin), torch.zeros_like(covariance)
    for k in range(len(origin)):
        apart, extra = (at.x - shift[k], None) if at.seen is None else _filled(at, shift[k], covariance[k], weights[k])
        first[k], second[k] = weights[k] @ apart, apart.T @ (weights[k][:, None] * apart)
        if extra is not None:
            second[k] += extra
    return {"origin": origin, "mass": weights.sum(1), "first": first, "second": second}


def _filled(at: Points, shift: Tensor, covariance: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors about an origin with missing cells filled in, and the covariance that these have left in sum."""
    assert at.seen is not None
    apart, left = (at.x - shift) * at.seen, torch.zeros_like(covariance)
    for rows, seen in patterns(at):
        gone = ~seen
        if not bool(gone.any()):
            continue
        block = covariance[gone][:, gone]
        if bool(seen.any()):
            gain = torch.linalg.solve(covariance[seen][:, seen], covariance[seen][:, gone])
            filled = apart[rows]
            filled[:, gone] = filled[:, seen] @ gain
            apart[rows] = filled
            block = block - covariance[gone][:, seen] @ gain
        places = gone.nonzero()[:, 0]
        left[places[:, None], places] += weights[rows].sum() * block
    return apart, left


def moved(moments: Moments, origin: Float[Tensor, "k d"]) -> Moments:
    """The same moments about another origin.

    Example:
        >>> one = {"origin": torch.zeros(1, 1), "mass": torch.ones(1, 1), "first": torch.ones(1, 1)}
        >>> moved(one | {"second": torch.ones(1, 1)}, torch.ones(1, 1))["second"]
        tensor([[0.]])
    """
    by, mass, first = moments["origin"] - origin, moments["mass"], moments["first"]
    if mass.dim() == 2:
        second = moments["second"] + 2 * by * first + mass * by.square()
        return {"origin": origin, "mass": mass, "first": first + mass * by, "second": second}
    cross = first[:, :, None] * by[:, None, :]
    second = moments["second"] + cross + cross.mT + mass[:, None, None] * by[:, :, None] * by[:, None, :]
    return {"origin": origin, "mass": mass, "first": first + mass[:, None] * by, "second": second}

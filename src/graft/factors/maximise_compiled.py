"""M-steps of small tables by compiled kernels: one call each, where arrays take twenty.

Only what runs with the compiler loaded comes here: see `graft.factors.maximise.Maximiser.compiled`.
"""

from __future__ import annotations

import numpy as np
import torch

from graft.factors.maximise import Statistics
from graft.factors.maximise_best import array
from graft.factors.maximise_prior import GaussianPrior, PseudoCounts, spread_over
from graft.factors.maximise_scatter import scatter_over

#: Two tables (K, D), the second (K, 1) where all dimensions have one number.
Tables = tuple[np.ndarray, np.ndarray]


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Of logits on the last axis.

    Example:
        >>> np.exp(log_probabilities(np.array([[3.0, 3.0]])))
        array([[0.5, 0.5]])
    """
    from graft.ops.cpu.simplex import normalised

    found = np.empty(logits.shape)
    normalised(logits.reshape(-1), logits.shape[-1], found.reshape(-1))
    return found


def best_logits(counts: torch.Tensor, logits: np.ndarray, prior: PseudoCounts) -> np.ndarray | None:
    """As `graft.factors.maximise_best.best_logits`; None where one is NaN.

    Example:
        >>> np.exp(best_logits(torch.tensor([3.0, 1.0]), np.zeros(2), PseudoCounts()))
        array([0.75, 0.25])
    """
    from graft.ops.cpu.simplex import best

    expected = array(counts)
    if not prior.none:
        pseudo = spread_over(prior.counts, logits.shape, "pseudo-counts").numpy()
        expected = np.maximum(expected, 0.0) + pseudo
    found = np.empty(logits.shape)
    bad = best(expected.reshape(-1), logits.reshape(-1), logits.shape[-1], found.reshape(-1))
    return None if bad else found


def prior_tables(prior: GaussianPrior, shape: tuple[int, ...]) -> Tables:
    """Locations and scatters of a prior, (K, D) each; empty if it is flat.

    Example:
        >>> prior_tables(GaussianPrior(degrees=1.0, scatter=0.5), (1, 2))
        (array([[0., 0.]]), array([[0.5, 0.5]]))
    """
    if prior.none:
        return np.empty((0, 0)), np.empty((0, 0))
    loc, scatter = spread_over(prior.loc, shape, "loc of a prior"), scatter_over(prior.scatter, shape)
    return np.ascontiguousarray(array(loc)), np.ascontiguousarray(array(scatter))


def best_diagonal(
    found: Statistics, now: Tables, prior: GaussianPrior, tables: Tables, floor: float, moves: bool, spherical: bool
) -> Tables | None:  # fmt: skip
    """As `graft.factors.maximise_gaussian.best_diagonal`; None where a number is NaN.

    Args:
        found: with a mass of each dimension.
        now: the present locations, and logarithms of scales.
        prior: of both.
        tables: see `prior_tables`.
        floor: no variance falls below it.
        moves: whether locations may.
        spherical: all dimensions have one variance.
    """
    from graft.ops.cpu.normals import best

    loc, raw = (np.array(one, order="C") for one in now)
    sums = (array(found[name]) for name in ("mass", "first", "second", "origin"))
    bad = best(
        *sums, *tables, prior.weight, prior.degrees, prior.added, floor, moves, spherical, loc, raw
    )  # fmt: skip
    return None if bad else (loc, raw)

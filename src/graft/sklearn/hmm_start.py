"""Where EM begins: clusters by k-means, spread like all data."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.cluster import KMeans

from graft.factors.maximise import Cases
from graft.factors.maximise_gaussian import GaussianMaximiser
from graft.factors.maximise_prior import GaussianPrior
from graft.sklearn.hmm_covariances import gaussian, same, variances


def whole(table: np.ndarray) -> np.ndarray:
    """Missing numbers replaced by the mean of their column (0 where all are missing).

    Example:
        >>> whole(np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])).tolist()
        [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]
    """
    there = ~np.isnan(table)
    means = np.where(there, table, 0.0).sum(0) / np.maximum(there.sum(0), 1)
    return np.where(there, table, means)


def centres(table: np.ndarray, count: int, random_state: np.random.RandomState, starts: int = 10) -> np.ndarray:
    """Centres (count, dimensions) of clusters; the elements themselves, over and over, if there are fewer.

    Example:
        >>> from sklearn.utils import check_random_state
        >>> sorted(centres(np.array([[0.0], [0.2], [9.0]]), 2, check_random_state(0))[:, 0].round(1).tolist())
        [0.1, 9.0]
        >>> centres(np.array([[5.0]]), 2, check_random_state(0)).tolist()
        [[5.0], [5.0]]
    """
    table = whole(table)
    if len(table) <= count:
        return table[np.arange(count) % len(table)] if len(table) else np.zeros((count, table.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct elements than clusters: EM keeps what then has no mass
        return KMeans(count, n_init=starts, random_state=random_state).fit(table).cluster_centers_.astype(np.float64)


def covariance(table: np.ndarray, floor: float) -> np.ndarray:
    """The covariance (dimensions, dimensions) of all elements, its diagonal raised by a floor.

    Example:
        >>> covariance(np.array([[0.0], [2.0]]), 0.5).tolist()
        [[1.5]]
    """
    about = whole(table)
    about = about - about.mean(0) if len(about) else about
    return about.T @ about / max(len(about), 1) + floor * np.eye(table.shape[1])


def simplex(shape: tuple[int, ...], random_state: np.random.RandomState) -> np.ndarray:
    """Rows of random probabilities."""
    return random_state.dirichlet(np.ones(shape[-1]), size=shape[:-1])


def moments(
    table: np.ndarray, labels: np.ndarray, states: int, kind: str, added: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares, means and covariances of clusters, as one tells them.

    Args:
        table: (elements, dimensions), NaN where a number is missing.
        labels: (elements), the cluster of each.
        states: how many clusters; an empty one takes an element for its mean, and the covariance of all.
        kind: of the covariances.
        added: to the variances.

    Example:
        >>> moments(np.array([[0.0], [2.0], [9.0]]), np.array([0, 0, 1]), 2, "diag", 0.5)[1:]
        (array([[1.],
               [9.]]), array([[1.5],
               [0.5]]))
    """
    sizes = np.bincount(labels, minlength=states) + 10 * np.finfo(np.float64).eps
    filled = whole(table)
    factor = gaussian(filled[np.arange(states) % len(table)], same(covariance(table, added), kind, states), kind)
    shares = torch.from_numpy(np.eye(states)[:, labels])
    seen = torch.from_numpy(~np.isnan(table))[None]
    value = torch.from_numpy(np.where(np.isnan(table), 0.0, table))[None]
    rows = torch.arange(states)[:, None]
    cases = Cases((states, len(table)), 1, rows, value, 1, None if bool(seen.all()) else seen)
    own = GaussianMaximiser(factor, GaussianPrior(floor=0.0, added=added))
    own.maximise(own.statistics(shares, cases))
    return sizes / sizes.sum(), factor.loc.detach().numpy().copy(), variances(factor).copy()

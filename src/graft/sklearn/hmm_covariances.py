"""Covariances in the shapes that hmmlearn and scikit-learn give them, and Gaussian factors that hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from graft.errors import GraftError, ShapeError
from graft.factors.gaussian import Gaussian
from graft.sklearn.hmm_told import numbers, shaped


def covariances(value: Any, kind: str, states: int, name: str = "covars_") -> np.ndarray:
    """Covariances in the shape that their kind takes.

    Args:
        value: (states, D) for "diag", (states,) for "spherical", (D, D) for "tied", (states, D, D) for "full"; for the
            first three also the matrices (states, D, D) that reading the attribute gives.
        kind: of the covariance.
        states: how many.
        name: for messages.

    Raises:
        GraftError: a variance is not positive, or a matrix not symmetric positive definite.

    Example:
        >>> covariances(np.stack([np.eye(2), 2 * np.eye(2)]), "spherical", 2)
        array([1., 2.])
    """
    found = numbers(value, name)
    if found.ndim == 3 and kind in ("diag", "spherical"):
        found = np.diagonal(shaped(found, (states, found.shape[1], found.shape[1]), name), axis1=1, axis2=2)
        found = found if kind == "diag" else found.mean(1)
    elif found.ndim == 3 and kind == "tied":
        found = found.mean(0)
    wanted: dict[str, tuple[int | None, ...]] = {
        "diag": (states, None),
        "spherical": (states,),
        "tied": (None, None),
        "full": (states, None, None),
    }
    found = shaped(found, wanted[kind], name)
    if kind in ("diag", "spherical"):
        if not (found > 0).all():
            raise GraftError(f"{name} must be positive")
        return found
    square = found.shape[-1] == found.shape[-2]
    if not square or not np.allclose(found, np.swapaxes(found, -1, -2)) or (np.linalg.eigvalsh(found) <= 0).any():
        raise GraftError(f"{name} must be symmetric and positive definite")
    return found


def matrices(found: np.ndarray, kind: str, states: int, width: int) -> np.ndarray:
    """The same as matrices (states, D, D), as hmmlearn shows them.

    Example:
        >>> matrices(np.array([2.0]), "spherical", 1, 2).tolist()
        [[[2.0, 0.0], [0.0, 2.0]]]
    """
    if kind == "diag":
        return np.stack([np.diag(one) for one in found])
    if kind == "spherical":
        return found[:, None, None] * np.eye(width)
    return np.stack([found] * states) if kind == "tied" else found


def roots(found: np.ndarray, kind: str) -> np.ndarray:
    """Scales, or Cholesky factors, of covariances."""
    return np.sqrt(found) if kind in ("diag", "spherical") else np.linalg.cholesky(found)


def same_width(means: np.ndarray, covars: np.ndarray, kind: str) -> None:
    """Refuse means and covariances of different vectors.

    Raises:
        ShapeError: they differ in their dimensions.
    """
    width = means.shape[1]
    if kind != "spherical" and covars.shape[-1] != width:
        raise ShapeError(f"means_ have {width} dimensions, covars_ {covars.shape[-1]}")


def gaussian(means: np.ndarray, covars: np.ndarray, kind: str) -> Gaussian:
    """The factor with these tables, in double precision.

    Raises:
        ShapeError: means and covariances differ in their dimensions.
    """
    same_width(means, covars, kind)
    states, width = means.shape
    found = Gaussian(dim=width, given=states, covariance=kind).double()  # type: ignore[arg-type]
    scale = torch.from_numpy(np.ascontiguousarray(roots(covars, kind)))
    with torch.no_grad():
        found.loc.copy_(torch.from_numpy(np.ascontiguousarray(means)))
        if kind in ("diag", "spherical"):
            found.raw_scale.copy_(scale.log().reshape(found.raw_scale.shape))
        else:
            found.raw_scale.copy_(scale.tril(-1) + torch.diag_embed(scale.diagonal(dim1=-2, dim2=-1).log()))
    return found


def variances(factor: Gaussian) -> np.ndarray:
    """The covariances of a factor, as one tells them."""
    scale = factor.scales(double=True).detach()
    if factor.covariance in ("diag", "spherical"):
        found = scale.square()
        return (found if factor.covariance == "diag" else found[:, 0]).numpy()
    whole = scale @ scale.mT
    return (whole if factor.covariance == "full" else whole[0]).numpy()


def freedom(kind: str, states: int, width: int) -> int:
    """How many free parameters covariances have.

    Example:
        >>> freedom("tied", 5, 2), freedom("full", 5, 2)
        (3, 15)
    """
    half = width * (width + 1) // 2
    return {"diag": states * width, "spherical": states, "tied": half, "full": states * half}[kind]


def same(every: np.ndarray, kind: str, states: int) -> np.ndarray:
    """One covariance for all states, as one tells it."""
    if kind == "tied":
        return every
    if kind == "spherical":
        return np.full(states, np.diagonal(every).mean())
    return np.stack([np.diagonal(every) if kind == "diag" else every] * states)

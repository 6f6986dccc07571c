"""Attributes of hidden Markov models: read off the model, or told before there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.exceptions import NotFittedError

from graft.errors import GraftError, ShapeError


class NotFitted(GraftError, NotFittedError):
    """The estimator has no parameters yet: fit it, or set them."""


class Told:
    """An attribute that may be set before fitting, and afterwards is that of the model."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, owner: Any, kind: type) -> Any:
        if owner is None:
            return self
        return owner._now(self.name)

    def __set__(self, owner: Any, value: Any) -> None:
        owner._tell(self.name, value)


def numbers(value: Any, name: str) -> np.ndarray:
    """Finite numbers in double precision.

    Raises:
        GraftError: they are not.
    """
    try:
        found = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise GraftError(f"{name} is an array of numbers: {error}") from error
    if not np.isfinite(found).all():
        raise GraftError(f"{name} is not finite")
    return found


def shaped(found: np.ndarray, shape: tuple[int | None, ...], name: str) -> np.ndarray:
    """An array, if its shape is this one; None stands for any size.

    Raises:
        ShapeError: naming the attribute and both shapes.
    """
    good = found.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, found.shape, strict=True))
    if not good:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ShapeError(f"{name} has shape {found.shape}, not ({wanted})")
    return found


def distribution(value: Any, shape: tuple[int | None, ...], name: str) -> np.ndarray:
    """Probabilities that sum to one on the last axis.

    Raises:
        GraftError: they do not, or one is negative.

    Example:
        >>> distribution([0.25, 0.75], (2,), "startprob_")
        array([0.25, 0.75])
    """
    found = shaped(numbers(value, name), shape, name)
    total = found.sum(-1, keepdims=True)
    if (found < 0).any() or (np.abs(total - 1.0) > 1e-4).any():
        raise GraftError(f"{name} must hold probabilities that sum to one on the last axis")
    return found / total

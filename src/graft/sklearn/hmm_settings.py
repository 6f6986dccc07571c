"""The settings of hidden Markov models and mixtures, checked where fitting starts, as scikit-learn wants it."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from numbers import Integral, Real
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import BaseEstimator

from graft.errors import GraftError

_COUNTS = ("n_components", "n_iter", "n_mix", "max_iter", "n_init")
_AT_LEAST_0 = ("means_weight", "covars_weight", "min_covar", "reg_covar")
#: Names of settings by class.
_NAMES: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()
_CHOICES = {
    "algorithm": ("viterbi", "map"),
    "dtype": ("float64", "float32"),
}


def checked(settings: Mapping[str, Any], letters: str, shapes: tuple[str, ...]) -> None:
    """Refuse what no fit can use.

    Args:
        settings: by name.
        letters: of the parameters that `params` and `init_params` may name.
        shapes: that a covariance may have.

    Raises:
        GraftError: naming the setting.

    Example:
        >>> checked({"n_components": 0}, "stmc", ("diag",))
        Traceback (most recent call last):
        graft.errors.GraftError: n_components must be a positive whole number, not 0
    """
    choices = {**_CHOICES, "covariance_type": shapes}
    for name, value in settings.items():
        rule = None
        if name in _COUNTS:
            good = isinstance(value, Integral) and not isinstance(value, bool) and value >= 1
            rule = None if good else "a positive whole number"
        elif name in _AT_LEAST_0:
            rule = None if _number(value) and value >= 0 else "a finite number, at least 0"
        elif name == "tol":
            rule = None if _number(value) else "a finite number"
        elif name in choices:
            rule = None if isinstance(value, str) and value in choices[name] else f"one of {', '.join(choices[name])}"
        elif name in ("params", "init_params") and letters:
            good = isinstance(value, str) and set(value) <= set(letters)
            rule = None if good else f"some of the letters {letters!r}"
        if rule is not None:
            raise GraftError(f"{name} must be {rule}, not {value!r}")


def settings_of(estimator: BaseEstimator) -> dict[str, Any]:
    """The settings by name, as `get_params` has them, which reads the signature anew each time."""
    kind = type(estimator)
    if kind not in _NAMES:
        _NAMES[kind] = tuple(kind._get_param_names())
    return {name: getattr(estimator, name) for name in _NAMES[kind]}


def pseudo(concentration: Any, name: str) -> Any:
    """Pseudo-counts of a Dirichlet concentration.

    Raises:
        GraftError: it is below 1 somewhere, where the density has no maximum.
    """
    try:
        found = np.asarray(concentration, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise GraftError(f"{name} is a number or an array of numbers: {error}") from error
    if not (found >= 1).all():
        raise GraftError(f"{name} must be at least 1: below, the prior is infinite at probability 0")
    return found - 1


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)

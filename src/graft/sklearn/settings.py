"""The settings of `CRF`, checked where fitting starts, as scikit-learn wants it."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from numbers import Integral, Real
from typing import Any

import numpy as np
from torch import Tensor

from graft.errors import GraftError
from graft.sklearn.items import hashable

_SWITCHES = ("all_possible_states", "all_possible_transitions", "ends")


def checked(settings: Mapping[str, Any]) -> None:
    """Refuse what no fit can use.

    Raises:
        GraftError: naming the setting.

    Example:
        >>> checked({"c2": -1.0})
        Traceback (most recent call last):
        graft.errors.GraftError: c2 must be a finite number, at least 0, not -1.0
    """
    for name, value in settings.items():
        rule = _rule(name, value)
        if rule is not None:
            raise GraftError(f"{name} must be {rule}, not {value!r}")


def _rule(name: str, value: Any) -> str | None:
    """What a setting must be, if it is not."""
    number = isinstance(value, Real) and not isinstance(value, bool) and _finite(value)
    whole = number and isinstance(value, Integral) and value >= 1
    if name == "c2" and not (number and value >= 0):
        return "a finite number, at least 0"
    if name == "epsilon" and not (number and value > 0):
        return "a finite number above 0"
    if name in _SWITCHES and not isinstance(value, bool | np.bool_):
        return "True or False"
    if name in ("num_memories", "max_iterations") and not (whole or (name == "max_iterations" and value is None)):
        return "a positive whole number"
    if name == "dtype" and not (isinstance(value, str) and value in ("float64", "float32")):
        return "'float64' or 'float32'"
    if name == "ignore" and (isinstance(value, Tensor) or not hashable(value) or value != value):
        return "None or one label, hashable and equal to itself"
    return None


def _finite(value: Any) -> bool:
    try:
        return isfinite(value)
    except OverflowError:
        return False

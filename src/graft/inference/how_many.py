"""How many assignments are asked for: any kind of whole number, and never more than there are."""

from __future__ import annotations

from collections.abc import Iterable
from math import log2, prod
from numbers import Integral
from typing import Any

import numpy as np

from graft.errors import GraftError


def positive(k: Any, name: str = "k") -> int:
    """A positive whole number of Python or numpy.

    Raises:
        GraftError: it is none; True is no number.

    Example:
        >>> positive(np.int64(3))
        3
        >>> positive(True)
        Traceback (most recent call last):
        graft.errors.GraftError: k must be a positive whole number, not True
    """
    if isinstance(k, bool | np.bool_) or not isinstance(k, Integral) or k < 1:
        raise GraftError(f"{name} must be a positive whole number, not {k!r}")
    return int(k)


def at_most(k: int, unknowns: Iterable[tuple[int, int]]) -> int:
    """`k`, or the number of assignments if that is smaller.

    Args:
        k: how many are wanted.
        unknowns: how many elements each has, and how many states each of its elements.

    Example:
        >>> at_most(10**12, [(3, 2)]), at_most(5, [(1000, 2), (1, 7)])
        (8, 5)
    """
    each = list(unknowns)
    # first by the logarithm: the number itself may have any length
    if sum(elements * log2(max(1, states)) for elements, states in each) > k.bit_length():
        return k
    return min(k, prod(states**elements for elements, states in each))

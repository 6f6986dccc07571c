"""What a figure is of the quantity it stands for."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """Exact, a bound on one side, or an estimate; equal to its own name in words.

    Example:
        >>> Kind.EXACT == "exact"
        True
    """

    EXACT = "exact"
    LOWER = "lower bound"
    UPPER = "upper bound"
    ESTIMATE = "estimate"

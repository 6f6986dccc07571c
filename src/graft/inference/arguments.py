"""The arguments of a call before anything is known of the model: values by name, and a budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graft.errors import GraftError

#: Bytes that the tables of one query may take unless `budget=` says otherwise.
BUDGET = 2**31


def together(values: Mapping[str, Any] | None, named: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a call, from its one dict and its keywords.

    Raises:
        GraftError: the first is no dict, or a name stands in both.
    """
    if not isinstance(values, Mapping | None):
        raise GraftError(f"values are keywords, or one dict by name, not {type(values).__name__}")
    twice = (values or {}).keys() & named.keys()
    if twice:
        raise GraftError(f"{min(twice)} is given twice, in the dict and as a keyword")
    return {**(values or {}), **named}


def limit(budget: Any) -> int:
    """Bytes that the tables of a call may take.

    Raises:
        GraftError: if that is no positive number.
    """
    if budget is None:
        return BUDGET
    if not isinstance(budget, int | float) or not budget > 0:
        raise GraftError(f"budget is a number of bytes, not {budget!r}")
    return int(budget)

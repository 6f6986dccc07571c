"""Each process's share of a batch, and means over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graft.errors import GraftError


@dataclass(frozen=True, eq=False)
class Share:
    """What one process computes of a batch.

    Args:
        batch: values by name.
        rows: how many of its rows count; 0 if the batch only stands in, so that every process takes part in a step.
        total: rows of all processes.
    """

    batch: Mapping[str, Any]
    rows: int
    total: int

    def weight(self, world: int) -> float:
        """What the mean loss of the share is scaled by, so that a mean over processes is one over rows.

        Example:
            >>> [Share({}, rows, total=8).weight(2) for rows in (5, 3)]
            [1.25, 0.75]
        """
        return self.rows * world / self.total


class Mean:
    """A mean over rows that is read once, when it is complete.

    Args:
        device: where losses are.
    """

    def __init__(self, device: torch.device) -> None:
        exact = torch.float32 if device.type == "mps" else torch.float64  # which that device lacks
        self.total = torch.zeros((), dtype=exact, device=device)
        self.rows = 0

    def add(self, loss: Tensor, share: Share) -> None:
        """Add the mean loss of a share."""
        if share.rows:
            self.total += loss.detach() * share.rows
        self.rows += share.total

    def value(self, fabric: Any) -> float:
        """The mean over the rows of all processes."""
        return float(fabric.all_reduce(self.total.clone(), reduce_op="sum")) / self.rows


def has_rows(value: Any) -> bool:
    """Is a value of a batch cut into rows? Settings, such as a dict of sizes or a number, are handed on whole."""
    if isinstance(value, Tensor):
        return value.ndim > 0
    return not isinstance(value, Mapping | str | bytes) and hasattr(value, "__len__")


def count(batch: Mapping[str, Any]) -> int:
    """The rows of a batch, which all values that have any have in common; 1 if no value has any.

    Raises:
        GraftError: they differ.
    """
    return agreed({name: len(value) for name, value in batch.items() if has_rows(value)}, "a batch") or 1


def agreed(counts: Mapping[str, int], of: str) -> int:
    """The one number of rows; 0 if there is none.

    Raises:
        GraftError: they differ, or one is 0.
    """
    if 0 in counts.values():
        raise GraftError(f"{of}: {min(counts, key=counts.__getitem__)} has no rows")
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} {number}" for name, number in counts.items())
        raise GraftError(f"the values of {of} differ in their number of rows: {shown}")
    return next(iter(counts.values()), 0)


def checked(batch: Any) -> Mapping[str, Any]:
    """A batch that is one.

    Raises:
        GraftError: it is no dict.
    """
    if not isinstance(batch, Mapping):
        raise GraftError(f"a batch must be a dict of values by name, not {type(batch).__name__}")
    return batch


def rows_of(data: Mapping[str, Any]) -> int:
    """The number of rows that all values of a dict have in common.

    Raises:
        GraftError: there is none, or they differ.
    """
    counts = {}
    for name, value in data.items():
        if isinstance(value, list | tuple | np.ndarray):
            raise GraftError(f"{name} in the data is a {type(value).__name__}: make it a tensor")
        if has_rows(value):
            counts[name] = len(value)
    if not counts or 0 in counts.values():
        empty = f": {min(counts, key=counts.__getitem__)} has no rows" if counts else ": no value has rows"
        raise GraftError("the data are empty" + empty)
    return agreed(counts, "the data")

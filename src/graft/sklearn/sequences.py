"""Sequences of any lengths as one table, and which of its rows make a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from graft.errors import GraftError


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences of any lengths, one after the other in one table.

    Attributes:
        starts: (sequences + 1,), where each one begins, and the end of the last.
        table: (elements, attributes), sparse or dense.
        width: (elements,), how many numbers one element takes in a batch.
    """

    starts: np.ndarray
    table: Any
    width: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """(sequences,)."""
        return np.diff(self.starts)

    def places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where in the table the elements of some sequences stand, (rows, time), and which of them exist."""
        lengths = self.lengths[rows]
        if len(rows) and (lengths == lengths[0]).all() and (np.diff(rows) == 1).all():
            # end to end in the table
            shape = len(rows), int(lengths[0])
            first = self.starts[rows[0]]
            return np.arange(first, first + len(rows) * shape[1]).reshape(shape), np.ones(shape, dtype=bool)
        steps = np.arange(lengths.max(initial=0))
        exists = steps < lengths[:, None]
        return np.where(exists, self.starts[rows][:, None] + steps, 0), exists


def listed(sequences: Any, name: str) -> list[Any]:
    """A list of sequences, checked for what is easily mistaken for one.

    Raises:
        GraftError: it is a single string or sequence, or a sequence has no length or no order.

    Example:
        >>> listed((["a"], []), "X")
        [['a'], []]
    """
    if isinstance(sequences, str | bytes | Mapping | Set) or not isinstance(sequences, Iterable):
        raise GraftError(f"{name} must be a list of sequences, not {type(sequences).__name__}")
    found = list(sequences)
    for number, one in enumerate(found):
        # a set has no order
        unordered = isinstance(one, str | bytes | Mapping | Set)
        if unordered or not hasattr(one, "__len__") or getattr(one, "ndim", 1) == 0:
            raise GraftError(f"{name}[{number}] must be a sequence of elements, not {one!r}")
    return found


def is_array(one: Any) -> bool:
    """Whether a sequence is an array of vectors."""
    return getattr(one, "ndim", 1) == 2

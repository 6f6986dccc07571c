"""Observed sequences in hmmlearn's layout, as a list of arrays, or as one array with three axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from graft.errors import GraftError, ShapeError
from graft.inference.evidence import Missing
from graft.sklearn.batches import CELLS, grouped
from graft.sklearn.sequences import Sequences


@dataclass(frozen=True, eq=False)
class Observed:
    """Sequences end to end.

    Attributes:
        table: (elements, dimensions).
        lengths: of the sequences.
        layout: how the user gave them; answers come back in it.
    """

    table: np.ndarray
    lengths: np.ndarray
    layout: Literal["rows", "list", "block"]

    def batches(self, width: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Where in the table the elements of some sequences of like lengths stand, (rows, time), and which exist.

        Args:
            width: how many numbers an element takes in memory.
        """
        starts = np.concatenate([[0], np.cumsum(self.lengths)])
        sequences = Sequences(starts, self.table, np.full(len(self.table), width))
        for rows in grouped(sequences, 1, CELLS):
            yield sequences.places(rows)

    def elements(self, places: np.ndarray, exists: np.ndarray) -> np.ndarray:
        """The elements of a batch, (rows, time, dimensions): part of the table itself where they stand end to end."""
        first, size = int(places[0, 0]), places.size
        # rows of one length come in order
        if exists.all() and places[-1, -1] - first + 1 == size:
            return self.table[first : first + size].reshape(*places.shape, -1)
        found: np.ndarray = self.table[places]
        return found

    def restored(self, answer: np.ndarray) -> Any:
        """An answer per element, (elements, ...), in the layout of the data."""
        if self.layout == "rows":
            return answer
        if self.layout == "block":
            size = int(self.lengths[0]) if len(self.lengths) else 0
            return answer.reshape(len(self.lengths), size, *answer.shape[1:])
        return np.split(answer, np.cumsum(self.lengths)[:-1]) if len(self.lengths) else []


def observed(X: Any, lengths: Any = None, dtype: type = np.float64) -> Observed:
    """Read sequences.

    Args:
        X: (elements, dimensions) with `lengths`, or one sequence without; a list of such arrays; or one array
            (sequences, time, dimensions).
        lengths: how many rows of X belong to each sequence, in order.
        dtype: of the elements.

    Raises:
        ShapeError: an array has no such shape, or the lengths do not add up.
        GraftError: X is nothing of the kind.

    Example:
        >>> observed([[1.0], [2.0], [3.0]], lengths=[2, 1]).lengths
        array([2, 1])
        >>> observed([np.zeros((2, 5)), np.zeros((0, 5))]).table.shape
        (2, 5)
    """
    if lengths is None and isinstance(X, list | tuple) and X and all(np.ndim(one) == 2 for one in X):
        parts = [_array(one, dtype) for one in X]
        if len({part.shape[1] for part in parts}) > 1:
            raise ShapeError(f"sequences differ in their dimensions: {sorted({part.shape[1] for part in parts})}")
        return Observed(np.concatenate(parts), np.array([len(part) for part in parts]), "list")
    table = _array(X, dtype)
    if table.ndim == 3 and lengths is None:
        return Observed(table.reshape(-1, table.shape[2]), np.full(len(table), table.shape[1]), "block")
    if table.ndim != 2:
        shapes = "(elements, dimensions), a list of these, or (sequences, time, dimensions)"
        raise ShapeError(f"X is {shapes}, not {table.shape}")
    return Observed(table, _lengths(lengths, len(table)), "rows")


def _array(X: Any, dtype: type) -> np.ndarray:
    try:
        found = np.asarray(X.detach().cpu() if isinstance(X, torch.Tensor) else X)
        if found.dtype.kind not in "buif":
            raise GraftError(f"X holds numbers, not {found.dtype}")
        cast: np.ndarray = found.astype(dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise GraftError(f"X is an array of numbers: {error}") from error
    if np.issubdtype(dtype, np.integer):
        if not (found == cast).all():
            raise GraftError("X holds symbols, which are whole numbers from 0, -1 where one is missing")
    elif np.isinf(cast).any():
        raise GraftError("X is infinite somewhere; a missing number is NaN")
    return cast


def _lengths(lengths: Any, size: int) -> np.ndarray:
    if lengths is None:
        return np.array([size])
    found = np.asarray(lengths)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise GraftError(f"lengths are whole numbers, one per sequence, not {lengths!r}")
    if (found < 0).any() or found.sum() != size:
        raise ShapeError(f"lengths add up to {found.sum()}, X has {size} rows (and none is negative)")
    return found.astype(np.int64)


def with_missing(values: np.ndarray, exists: np.ndarray, dtype: torch.dtype) -> Any:
    """Values (rows, time, dimensions) as evidence: NaN is missing where an element exists, 0 where none does."""
    kept = values if exists.all() else np.where(exists[..., None], values, 0.0)
    gone = np.isnan(kept)
    if not gone.any():
        return torch.from_numpy(kept).to(dtype)
    return Missing(torch.from_numpy(np.where(gone, 0.0, kept)).to(dtype), torch.from_numpy(gone))

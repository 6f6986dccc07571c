"""Sequences of vectors: arrays (time, dimensions)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graft.errors import GraftError
from graft.sklearn.sequences import Sequences, is_array


class ArrayReader:
    """Reads arrays (time, dimensions).

    Attributes:
        formula: of the scores of this kind of input.
        size: how many dimensions.
    """

    kind = "arrays"
    formula = "y[t] | x"
    intercept = True

    def __init__(self, size: int | None = None) -> None:
        self.size = size

    @property
    def names(self) -> list[Hashable]:
        """The dimensions, by number."""
        return list(range(self.size or 0))

    def fit(self, sequences: Sequence[Any]) -> Sequences:
        """Learn the number of dimensions, and read."""
        self.size = next(int(one.shape[1]) for one in sequences if len(one))
        if self.size == 0:
            raise GraftError("the arrays of X have no dimensions")
        return self.read(sequences)

    def read(self, sequences: Sequence[Any]) -> Sequences:
        """Read arrays of as many dimensions."""
        arrays = [self._array(one, number) for number, one in enumerate(sequences)]
        starts = np.array([0, *accumulate(len(one) for one in arrays)])
        table = np.concatenate([*arrays, np.zeros((0, self.size or 0))])
        return Sequences(starts, table, np.full(len(table), self.size))

    def _array(self, one: Any, number: int) -> np.ndarray:
        if len(one) == 0:
            return np.zeros((0, self.size or 0))
        if not is_array(one):
            raise GraftError(f"X[{number}] is no array (time, dimensions), but the sequences before or at fit are")
        # tensors may want gradients, be elsewhere, or of a type that numpy lacks
        array = one.detach().cpu().double().numpy() if isinstance(one, Tensor) and not one.is_complex() else one
        array = np.asarray(array)
        if array.dtype.kind not in "biuf":
            raise GraftError(f"X[{number}] is an array of {array.dtype}, not of real numbers")
        array = array.astype(np.float64)
        if array.shape[1] != self.size:
            raise GraftError(f"X[{number}] has the shape {array.shape}, not (time, {self.size})")
        if not np.isfinite(array).all():
            raise GraftError(f"X[{number}] is not finite at element {int(np.argwhere(~np.isfinite(array))[0][0])}")
        return array

    def network(self, states: int, dtype: torch.dtype) -> nn.Module:
        """Scores from weights that start at zero."""
        # nothing is drawn: the random state of the process stays as it is
        net = nn.utils.skip_init(nn.Linear, self.size or 0, states, bias=False, dtype=dtype)
        nn.init.zeros_(net.weight)
        return net

    def tensors(self, sequences: Sequences, rows: np.ndarray, dtype: torch.dtype) -> dict[str, Tensor]:
        """The array, (rows, time, dimensions), 0 where nothing exists."""
        places, exists = sequences.places(rows)
        return {"x": torch.from_numpy(np.where(exists[:, :, None], sequences.table[places], 0.0)).to(dtype)}

    def occur(self, sequences: Sequences, states: np.ndarray) -> Tensor:
        """Every dimension occurs with every state, (states, dimensions)."""
        return torch.ones(states.shape[1], self.size or 0, dtype=torch.bool)

    def by_attribute(self, weights: Tensor) -> Tensor:
        """Weights as (dimensions, states)."""
        return weights.T

    def state(self) -> int | None:
        """What makes it again."""
        return self.size

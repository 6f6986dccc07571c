"""Sequences of dicts, of lists of names and of tokens: a sparse table of attributes."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.feature_extraction import DictVectorizer
from torch import Tensor, nn

from graft.errors import GraftError
from graft.sklearn.items import attributes
from graft.sklearn.network import AttributeScores
from graft.sklearn.sequences import Sequences, is_array


class AttributeReader:
    """Reads dicts, lists of names and tokens; what fitting has not seen says nothing later.

    Attributes:
        formula: of the scores of this kind of input.
        names: of the attributes, in the order of their weights.
    """

    kind = "attributes"
    formula = "y[t] | features, values"
    intercept = False

    def __init__(self, names: Sequence[Hashable] = ()) -> None:
        self._vectors = DictVectorizer(sparse=True, sort=False)
        self._vectors.feature_names_ = list(names)
        self._vectors.vocabulary_ = {name: place for place, name in enumerate(names)}

    @property
    def names(self) -> list[Hashable]:
        """The attributes."""
        return self._vectors.feature_names_

    def fit(self, sequences: Sequence[Any]) -> Sequences:
        """Learn the names, and read."""
        return self._read(sequences, self._vectors.fit_transform)

    def read(self, sequences: Sequence[Any]) -> Sequences:
        """Read by the names learnt."""
        return self._read(sequences, self._vectors.transform)

    def _read(self, sequences: Sequence[Any], how: Any) -> Sequences:
        starts = np.array([0, *accumulate(len(one) for one in sequences)])
        table = how(_items(sequences)) if starts[-1] else csr_matrix((0, len(self.names)))
        table.eliminate_zeros()
        return Sequences(starts, table, np.diff(table.indptr))

    def network(self, states: int, dtype: torch.dtype) -> nn.Module:
        """Scores from weights that start at zero."""
        return AttributeScores(len(self.names), states, dtype)

    def tensors(self, sequences: Sequences, rows: np.ndarray, dtype: torch.dtype) -> dict[str, Tensor]:
        """Numbers and values of attributes, (rows, time, at most); the rest has value 0."""
        places, exists = sequences.places(rows)
        begin, table = sequences.table.indptr, sequences.table
        count = np.where(exists, sequences.width[places], 0)
        slots = np.arange(max(1, count.max(initial=0)))
        used = slots < count[:, :, None]
        # one more entry, so that there is something to point at
        where = np.where(used, begin[places][:, :, None] + slots, table.nnz)
        features = np.append(table.indices, 0)[where].astype(np.int64)
        return {
            "features": torch.from_numpy(features),
            "values": torch.from_numpy(np.append(table.data, 0.0)[where]).to(dtype),
        }

    def occur(self, sequences: Sequences, states: np.ndarray) -> Tensor:
        """Which attributes occur with which states, (attributes, states), from those possible at each element."""
        seen = csr_matrix(sequences.table != 0, dtype=np.float64).T @ csr_matrix(states, dtype=np.float64)
        return torch.from_numpy(seen.toarray() > 0)

    def by_attribute(self, weights: Tensor) -> Tensor:
        """Weights as (attributes, states)."""
        return weights[: len(self.names)]

    def state(self) -> list[Hashable]:
        """What makes it again."""
        return self.names


def _items(sequences: Sequence[Any]) -> Iterator[dict[Hashable, float]]:
    for number, one in enumerate(sequences):
        if is_array(one):
            raise GraftError(f"X[{number}] is an array, but the sequences before or at fit are lists of elements")
        for place, item in enumerate(one.tolist() if isinstance(one, np.ndarray | Tensor) else one):
            yield attributes(item, f"X[{number}][{place}]")

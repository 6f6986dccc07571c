"""A chain with its reader and its labels: what can be asked of it, batch by batch."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from graft.errors import ImpossibleEvidence
from graft.posterior import Posterior
from graft.sklearn.batches import CELLS, grouped
from graft.sklearn.labels import UNKNOWN, UNSEEN
from graft.sklearn.readers import Reader
from graft.sklearn.sequences import Sequences
from graft.sklearn.structure import Parts


@dataclass(frozen=True, eq=False)
class Fitted:
    """What `CRF` keeps.

    Attributes:
        reader: of the inputs.
        classes: the labels.
        parts: the model.
    """

    reader: Reader
    classes: list[Hashable]
    parts: Parts

    def batch(self, sequences: Sequences, rows: np.ndarray, codes: np.ndarray | None = None) -> dict[str, Any]:
        """Values and lengths of some sequences, as the model and its objectives take them."""
        found: dict[str, Any] = {"lengths": torch.from_numpy(sequences.lengths[rows])}
        if codes is not None:
            places, exists = sequences.places(rows)
            found["y"] = torch.from_numpy(np.where(exists, codes[places], 0))
        return found | self.reader.tensors(sequences, rows, self.parts.scores.dtype)

    def posteriors(self, sequences: Sequences, cells: int = CELLS) -> Iterator[tuple[np.ndarray, Posterior]]:
        """Batches of sequences by number, and the posterior over their labels; empty ones are left out.

        Raises:
            ImpossibleEvidence: no labels at all are allowed for some sequences.
        """
        for rows in grouped(sequences, len(self.classes), cells):
            batch = self.batch(sequences, rows)
            yield rows, self.parts.model.given(batch, lengths=batch.pop("lengths"))

    def log_probs(self, sequences: Sequences, codes: np.ndarray) -> Float[np.ndarray, " n"]:
        """Log-probabilities of labels, what is not annotated summed out; `-inf` for labels never seen.

        Args:
            sequences: N of them.
            codes: (elements,), numbers of the labels.
        """
        found = np.zeros(len(sequences.lengths))
        known = np.where(codes == UNSEEN, UNKNOWN, codes)
        with torch.no_grad():
            for rows in grouped(sequences, len(self.classes)):
                batch = self.batch(sequences, rows, known)
                found[rows] = self.parts.model.log_prob(batch, lengths=batch.pop("lengths")).numpy()
        owner = np.repeat(np.arange(len(found)), sequences.lengths)
        found[owner[codes == UNSEEN]] = -np.inf
        return found

    def names(self, states: Sequence[int], length: int) -> list[Hashable]:
        """Labels of the elements that exist."""
        return [self.classes[state] for state in states[:length]]


@contextmanager
def numbered(rows: np.ndarray) -> Iterator[None]:
    """Errors about rows of a batch as errors about sequences."""
    try:
        yield
    except ImpossibleEvidence as error:
        raise forbidden([int(rows[row]) for (row,) in error.rows]) from error


def forbidden(found: Sequence[int]) -> ImpossibleEvidence:
    """The error for sequences that the constraints leave without labels."""
    shown = ", ".join(f"X[{number}]" for number in found[:8]) + (", ..." if len(found) > 8 else "")
    return ImpossibleEvidence(
        f"the constraints forbid every sequence of labels that fits {shown}", [(number,) for number in found]
    )


def weights_by(table: Tensor, first: Sequence[Any], second: Sequence[Any]) -> dict[tuple[Any, Any], float]:
    """Entries other than 0 by the names of their row and column.

    Example:
        >>> weights_by(torch.tensor([[0.0, 2.0], [0.0, 0.0]]), "ab", "cd")
        {('a', 'd'): 2.0}
    """
    rows, columns = table.nonzero(as_tuple=True)
    values = table[rows, columns].tolist()
    return {(first[i], second[j]): v for i, j, v in zip(rows.tolist(), columns.tolist(), values, strict=True)}

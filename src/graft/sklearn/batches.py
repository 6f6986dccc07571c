"""Which sequences go into a tensor together: those of like lengths, as many as memory allows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from graft.sklearn.sequences import Sequences

#: Numbers in the largest tensor of a batch (pairs of states, or values of attributes), where one sequence fits.
CELLS = 4_000_000


def grouped(sequences: Sequences, states: int, cells: int = CELLS) -> Iterator[np.ndarray]:
    """Sequences by number, the shortest first; empty ones are in no batch.

    Args:
        sequences: all of them.
        states: how many labels.
        cells: what a batch may hold, counted with its padding.

    Example:
        >>> three = Sequences(np.array([0, 3, 3, 5]), np.zeros((5, 1)), np.ones(5))
        >>> [rows.tolist() for rows in grouped(three, 2)], [rows.tolist() for rows in grouped(three, 2, 12)]
        ([[2, 0]], [[2], [0]])
    """
    lengths, widths = sequences.lengths, _widest(sequences)
    order = np.argsort(lengths, kind="stable")
    order = order[np.count_nonzero(lengths == 0) :]
    most = max(int(widths.max(initial=0)), states**2)
    if len(order) and len(order) * int(lengths[order[-1]]) * most <= cells:
        # no batch is too large where all together are not
        yield order
        return
    batch: list[int] = []
    widest = 0
    for row in order.tolist():
        widest = max(widest, int(widths[row]), states**2)
        if batch and (len(batch) + 1) * int(lengths[row]) * widest > cells:
            yield np.array(batch)
            batch, widest = [], max(int(widths[row]), states**2)
        batch.append(row)
    if batch:
        yield np.array(batch)


def _widest(sequences: Sequences) -> np.ndarray:
    """(sequences,), numbers of the element that takes most."""
    found = np.zeros(len(sequences.lengths), dtype=np.int64)
    some = sequences.lengths > 0
    found[some] = np.maximum.reduceat(sequences.width, sequences.starts[:-1][some]) if some.any() else 0
    return found

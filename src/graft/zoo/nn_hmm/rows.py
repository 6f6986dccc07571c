"""Sequences as batches for `fit`: dicts cut to the longest sequence of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from graft.data.batches import ByLength, SequenceData

Batch = dict[str, Any]


def loader(data: SequenceData, size: int, convert: Callable[[SequenceData], Batch], *, seed: int) -> DataLoader[Batch]:
    """Shuffled batches of at most `size` sequences, sequences of like length together.

    Args:
        data: what to go through.
        size: sequences a batch.
        convert: makes what an objective reads of the sequences of a batch.
        seed: of the order.

    Example:
        >>> rows = [[(torch.zeros(duration, 1), 0)] for duration in (5, 1, 4)]
        >>> data = SequenceData.from_segments(rows, names=("a",))
        >>> batches = loader(data, 2, lambda part: {"frames": part.frames}, seed=0)
        >>> sorted(batch["frames"].shape[1] for batch in batches)
        [4, 5]
    """
    return DataLoader(
        _Rows(data, convert), sampler=ByLength(data.lengths, size, torch.Generator().manual_seed(seed)), batch_size=None
    )


class _Rows(Dataset[Batch]):
    """Looked up by the indices of a whole batch."""

    def __init__(self, data: SequenceData, convert: Callable[[SequenceData], Batch]) -> None:
        self.data, self.convert = data, convert

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, indices: list[int]) -> Batch:
        return self.convert(self.data.batch(indices))

"""Whatever a user calls data, as batches: dicts whose values share their first dimension."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from graft.errors import GraftError


def batches(data: Any, size: int, generator: torch.Generator) -> Iterable[Mapping[str, Any]]:
    """Something to iterate over once per epoch.

    Args:
        data: a dict of tensors (or evidence) with a common first dimension, a `Dataset` of dicts, or a `DataLoader` of
            dicts, which keeps its own batches and order.
        size: of a batch.
        generator: shuffles.

    Raises:
        GraftError: if there is no data, or the values of a dict differ in length.
    """
    if isinstance(data, DataLoader):
        return data
    if isinstance(data, Mapping):
        return _Shuffled(data, size, generator)
    if isinstance(data, Dataset):
        if len(data) == 0:  # type: ignore[arg-type]
            raise GraftError("the data set is empty")
        return DataLoader(data, batch_size=size, shuffle=True, generator=generator)
    raise GraftError(f"data must be a dict of tensors, a Dataset or a DataLoader, not {type(data).__name__}")


class _Shuffled:
    def __init__(self, data: Mapping[str, Any], size: int, generator: torch.Generator) -> None:
        self.data, self.size, self.generator = data, size, generator
        self.count = _rows(data)

    def __len__(self) -> int:
        return -(-self.count // self.size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        order = torch.randperm(self.count, generator=self.generator)
        for rows in order.split(self.size):
            yield {name: value[rows] for name, value in self.data.items()}


def _rows(data: Mapping[str, Any]) -> int:
    counts = {}
    for name, value in data.items():
        try:
            counts[name] = len(value)
        except TypeError as error:
            raise GraftError(f"{name} in the data has no rows: give it a first dimension") from error
    if not counts or 0 in counts.values():
        empty = f": {min(counts, key=counts.__getitem__)} has no rows" if counts else ""
        raise GraftError("the data are empty" + empty)
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise GraftError(f"the values of the data differ in their number of rows: {shown}")
    return next(iter(counts.values()))

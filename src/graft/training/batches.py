"""Whatever a user calls data, as batches: dicts whose values share their first dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from graft.errors import GraftError
from graft.training.loaders import Loaded
from graft.training.share import Share, checked, has_rows, rows_of


@runtime_checkable
class Source(Protocol):
    """Batches, epoch after epoch, that can be taken up anywhere."""

    def begin(self, epoch: int, skip: int = 0) -> Iterator[Share]:
        """The batches of an epoch but the first few; their order is drawn at once."""
        ...

    def extent(self) -> dict[str, int] | None:
        """The number of rows or batches, if it is known."""
        ...

    def state(self) -> list[Tensor]:
        """Of the generators that the source has for itself."""
        ...

    def restore(self, state: list[Tensor]) -> None:
        """Put back what `state` gave."""
        ...


def source(data: Any, size: int, generator: torch.Generator | None, fabric: Any, name: str = "data") -> Source:
    """The batches of data.

    Args:
        data: a dict of tensors (or evidence) with a common first dimension, a `Dataset` of dicts, or a `DataLoader` of
            dicts, which keeps its own batches and order.
        size: of a batch, over all processes.
        generator: shuffles; none keeps the order.
        fabric: tells which process this is.
        name: that messages call the data by.

    Raises:
        GraftError: if there is no data, or the values of a dict differ in length.
    """
    if isinstance(data, DataLoader):
        return Loaded(data, fabric)
    if isinstance(data, Mapping):
        return Indexed(lambda rows: cut(data, rows), rows_of(data), size, generator, fabric)
    if isinstance(data, Dataset):
        if not hasattr(data, "__len__"):
            raise GraftError(f"{type(data).__name__} has no length: wrap it in a DataLoader")
        if len(data) == 0:
            raise GraftError("the data set is empty")
        return Indexed(lambda rows: collated(data, rows), len(data), size, generator, fabric)
    raise GraftError(f"{name} must be a dict of tensors, a Dataset or a DataLoader, not {type(data).__name__}")


class Indexed:
    """Data whose rows are taken by number: all processes draw one order, and each takes its rows of every batch.

    Args:
        take: the batch of some rows.
        count: of the rows.
        size: of a batch, over all processes.
        generator: shuffles; none keeps the order.
        fabric: tells which process this is.
    """

    def __init__(
        self,
        take: Callable[[Tensor], Mapping[str, Any]],
        count: int,
        size: int,
        generator: torch.Generator | None,
        fabric: Any,
    ) -> None:
        self.take, self.count, self.size, self.generator = take, count, size, generator
        self.rank, self.world = fabric.global_rank, fabric.world_size

    def begin(self, epoch: int, skip: int = 0) -> Iterator[Share]:
        """The batches of an epoch but the first few."""
        if self.generator is None:
            order = torch.arange(self.count)
        else:
            order = torch.randperm(self.count, generator=self.generator)
        return map(self._share, order.split(self.size)[skip:])

    def extent(self) -> dict[str, int] | None:
        """The number of rows."""
        return {"rows": self.count}

    def state(self) -> list[Tensor]:
        """Of the shuffling."""
        return [] if self.generator is None else [self.generator.get_state()]

    def restore(self, state: list[Tensor]) -> None:
        """Put back what `state` gave."""
        if self.generator is not None:
            self.generator.set_state(state[0])

    def _share(self, rows: Tensor) -> Share:
        mine = rows[self.rank :: self.world]
        # whoever has no row takes another's, so that its gradients (zero) are there to be added
        return Share(self.take(mine if len(mine) else rows[:1]), len(mine), len(rows))


def cut(data: Mapping[str, Any], rows: Tensor) -> dict[str, Any]:
    """Some rows of every value that has rows.

    Example:
        >>> cut({"x": torch.arange(6), "sizes": {"n": 4}}, torch.tensor([1, 5]))
        {'x': tensor([1, 5]), 'sizes': {'n': 4}}
    """
    return {name: value[rows] if has_rows(value) else value for name, value in data.items()}


def collated(data: Any, rows: Tensor) -> Mapping[str, Any]:
    """Some rows of a `Dataset`, put together as a `DataLoader` does."""
    numbers = rows.tolist()
    many = getattr(data, "__getitems__", None)
    return checked(default_collate(many(numbers) if many is not None else [data[number] for number in numbers]))

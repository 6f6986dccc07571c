"""A user's own `DataLoader`, which can be taken up in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from graft.errors import GraftError
from graft.training.share import Share, checked, count
from graft.training.together import together


class Loaded:
    """The batches of a `DataLoader`; under several processes, each one's own share.

    Args:
        loader: keeps its own batches and order.
        fabric: adds up the rows of the processes.
    """

    def __init__(self, loader: DataLoader[Any], fabric: Any) -> None:
        self.loader, self.fabric = loader, fabric

    def begin(self, epoch: int, skip: int = 0) -> Iterator[Share]:
        """The batches of an epoch but the first few, which are read and dropped."""
        samplers: tuple[Any, ...] = (self.loader.sampler, self.loader.batch_sampler)
        for sampler in samplers:
            if hasattr(sampler, "set_epoch"):  # such as PyTorch's `DistributedSampler`
                sampler.set_epoch(epoch)
        batches = iter(self.loader)
        last = None
        for _ in range(skip):
            last = next(batches, last)
        return self._shares(batches, last)

    def extent(self) -> dict[str, int] | None:
        """The number of batches, if the loader knows it."""
        try:
            return {"batches": len(self.loader)}
        except (TypeError, NotImplementedError):
            return None

    def state(self) -> list[Tensor]:
        """Of the generators that the loader was given."""
        return [generator.get_state() for generator in self._generators()]

    def restore(self, state: list[Tensor]) -> None:
        """Put back what `state` gave."""
        for generator, one in zip(self._generators(), state, strict=True):
            generator.set_state(one)

    def _generators(self) -> list[torch.Generator]:
        batched = self.loader.batch_sampler
        holders = (self.loader, self.loader.sampler, batched, getattr(batched, "sampler", None))
        found = [getattr(holder, "generator", None) for holder in holders]
        return list({id(one): one for one in found if isinstance(one, torch.Generator)}.values())

    def _shares(self, batches: Iterator[Any], last: Mapping[str, Any] | None) -> Iterator[Share]:
        """Until the last process has none left; until then, the others repeat a batch that does not count."""
        while True:
            batch = next(batches, None)
            rows = together(lambda one=batch: 0 if one is None else count(checked(one)), self.fabric)
            total = self._total(rows)
            if total == 0:
                return
            last = last if batch is None else batch
            if last is None:
                raise GraftError("a process was given no batch at all")
            yield Share(last, rows, total)

    def _total(self, rows: int) -> int:
        if self.fabric.world_size == 1:
            return rows
        return int(self.fabric.all_reduce(torch.tensor(rows, device=self.fabric.device), reduce_op="sum"))

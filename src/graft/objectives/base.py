"""What every objective is: a module that turns a batch into a scalar loss with named terms."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from graft.errors import GraftError
from graft.model import Model

#: Names in a batch that are options of the call rather than variables.
OPTIONS = ("lengths", "mask", "sizes")


class Objective(nn.Module, ABC):
    """A loss to be minimised: `loss = objective(batch)`, a scalar with `.terms`."""

    @abstractmethod
    def terms(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Named parts of minus the loss, each of shape batch; the loss is minus the mean of their sum."""

    def forward(self, batch: Any) -> Tensor:
        """The loss of a batch: a mean over batch dimensions, a sum over axes.

        Args:
            batch: values and evidence by name, and possibly `lengths`, `mask` or `sizes`.

        Returns:
            A scalar whose attribute `terms` holds the mean of each part, detached.

        Raises:
            GraftError: if the batch is empty, or the loss is not finite; the part at fault is named.
        """
        parts = self.terms(batch)
        whole = total(list(parts.values()))
        if whole.numel() == 0:
            raise GraftError("the batch is empty: there is nothing to take the mean of")
        loss = -whole.mean()
        means = Means(parts)
        # another device is not waited for: `fit` looks there
        if loss.device.type == "cpu" and not torch.compiler.is_compiling() and not math.isfinite(loss.item()):
            worst = next((name for name, mean in means.items() if not bool(torch.isfinite(mean))), "the sum")
            raise GraftError(f"the loss is {loss.item()}: {worst} is {means.get(worst, loss.detach())}")
        loss.terms = means  # type: ignore[attr-defined]
        return loss


class Means(Mapping[str, Tensor]):
    """The mean of each part of a loss, detached; computed when it is read.

    Args:
        parts: by name, of shape batch or broadcast to it.

    Example:
        >>> dict(Means({"a": torch.tensor([1.0, 3.0])}))
        {'a': tensor(2.)}
    """

    def __init__(self, parts: Mapping[str, Tensor]) -> None:
        self._parts = {name: part.detach() for name, part in parts.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._parts[name].mean()

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return repr(dict(self))


def total(parts: Sequence[Tensor]) -> Tensor:
    """The sum of tensors, broadcast against each other."""
    found = parts[0]
    for part in parts[1:]:
        found = found + part
    return found


class OfModel(Objective):
    """An objective of one model, without a guide."""

    model: Model

    def draw(self, path: Any = None) -> Any:
        """The diagram of the model; see `Model.draw`."""
        return self.model.draw(path=path)


def split(batch: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A batch as (values, options of the call)."""
    options = {name: batch[name] for name in OPTIONS if name in batch}
    return {name: value for name, value in batch.items() if name not in options}, options

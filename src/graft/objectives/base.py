"""What every objective is: a module that turns a batch into a scalar loss with named terms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
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
        total = torch.stack(torch.broadcast_tensors(*parts.values())).sum(0)
        if total.numel() == 0:
            raise GraftError("the batch is empty: there is nothing to take the mean of")
        loss = -total.mean()
        means = {name: part.detach().mean() for name, part in parts.items()}
        if not bool(torch.isfinite(loss)):
            worst = next((name for name, mean in means.items() if not bool(torch.isfinite(mean))), "the sum")
            raise GraftError(f"the loss is {loss.item()}: {worst} is {means.get(worst, loss.detach())}")
        loss.terms = means  # type: ignore[attr-defined]
        return loss


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

"""What must be finite while a model is trained, and the names of what is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from graft.errors import GraftError

KEPT = "the parameters before this step are kept"


def all_finite(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """Are all entries of all tensors finite? The device is not read.

    Example:
        >>> all_finite([torch.ones(2), torch.tensor([0.0, torch.nan])], torch.device("cpu"))
        tensor(False)
    """
    values = [tensor.detach() for tensor in tensors]
    values = [tensor._values() if tensor.is_sparse else tensor for tensor in values]
    values = [tensor for tensor in values if tensor.numel()]
    if not values:
        return torch.tensor(True, device=device)
    # the greatest entry, which unlike a sum of squares is finite if all entries are
    return torch.isfinite(torch.nn.utils.get_total_norm(values, float("inf"))).to(device)


def check_loss(loss: Tensor, batch: Mapping[str, Any]) -> None:
    """A loss is finite.

    Args:
        loss: a scalar; its attribute `terms`, if it has one, holds parts by name.
        batch: that gave it.

    Raises:
        GraftError: names the parts that are not finite, and the values of the batch that hold NaN.
    """
    if bool(torch.isfinite(loss.detach())):
        return
    terms = getattr(loss, "terms", None)
    parts = terms.items() if isinstance(terms, Mapping) else ()
    faults = [f"{name} is {float(part)}" for name, part in parts if not bool(torch.isfinite(torch.as_tensor(part)))]
    values = [(name, value) for name, value in batch.items() if isinstance(value, Tensor)]
    faults += [f"{name} in the batch holds NaN" for name, value in values if bool(value.isnan().any())]
    raise GraftError(f"the loss is {loss.item()}{': ' if faults else ''}{', '.join(faults)}; {KEPT}")


class Finite:
    """Parameters that stay finite, but for the entries that were infinite at the start, which forbid something.

    Args:
        named: parameters and their names.
    """

    def __init__(self, named: Sequence[tuple[str, Tensor]]) -> None:
        self.named = list(named)
        self.start = {name: p.detach().clone() for name, p in named if not bool(torch.isfinite(p).all())}

    def check(self, step: int) -> None:
        """The parameters are still finite.

        Args:
            step: that is over; the message tells it.

        Raises:
            GraftError: names those that are not.
        """
        settled = [p for name, p in self.named if name not in self.start]
        if not self.start and bool(all_finite(settled, torch.device("cpu"))):
            return
        faults = [name for name, p in self.named if bool(self._bad(name, p.detach()))]
        if faults:
            which = "parameters" if len(faults) > 1 else "parameter"
            verb = "are" if len(faults) > 1 else "is"
            raise GraftError(f"the {which} {', '.join(faults)} {verb} not finite after step {step}")

    def _bad(self, name: str, value: Tensor) -> Tensor:
        bad = ~torch.isfinite(value)
        if name in self.start:
            bad = bad & (value != self.start[name].to(value.device))  # NaN differs from itself
        return bad.any()

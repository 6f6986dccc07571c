"""Whether steps were finite, read a step late: a device is never waited for inside the step that it computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.training.finite import KEPT, check_loss


def reads_late(device: torch.device, processes: int) -> bool:
    """Whether reading a flag at once would cost: on the CPU it does not, several processes meet at every step anyway.

    Example:
        >>> reads_late(torch.device("cpu"), 1)
        False
    """
    return device.type != "cpu" and processes == 1


class Doubt:
    """The step that is not yet known to have been finite, with the parameters from before it.

    Args:
        learned: parameters and their names.
    """

    def __init__(self, learned: Sequence[tuple[str, Tensor]]) -> None:
        self.learned = list(learned)
        self.before = [torch.empty_like(p) for _, p in self.learned]
        self._open: tuple[Tensor, Any, Tensor, Tensor, Mapping[str, Any], list[str]] | None = None

    def begin(self, loss: Tensor, gradients: Sequence[tuple[str, Tensor]], batch: Mapping[str, Any]) -> None:
        """Note a step that is about to be taken; nothing is waited for.

        Args:
            loss: a scalar.
            gradients: of the parameters, with their names.
            batch: that gave them.
        """
        dense = [g._values() if g.is_sparse else g for _, g in gradients if g.numel()]
        names = [name for name, g in gradients if g.numel()]
        # the greatest entry of each, which unlike a sum of squares is finite if all entries are
        norms = torch.stack([loss.detach().abs(), *torch._foreach_norm(dense, float("inf"))])
        with torch.no_grad():
            torch._foreach_copy_(self.before, [p.detach() for _, p in self.learned])
        good = torch.isfinite(norms)
        self._open = (*_on_its_way(good.all()), good, loss, batch, names)

    def settle(self) -> None:
        """Read the flag of the step before.

        Raises:
            GraftError: its loss or a gradient was not finite; the parameters are those from before it.
        """
        if self._open is None:
            return
        flag, arrived, good, loss, batch, names = self._open
        self._open = None
        if arrived is not None:
            arrived.synchronize()
        if bool(flag):
            return
        with torch.no_grad():
            torch._foreach_copy_([p for _, p in self.learned], self.before)
        check_loss(loss, batch)
        faults = [name for name, fine in zip(names, good[1:].tolist(), strict=True) if not fine]
        raise GraftError(f"the gradient of {', '.join(faults)} is not finite; {KEPT}")


def _on_its_way(flag: Tensor) -> tuple[Tensor, Any]:
    """A flag that travels to the CPU by itself, and what tells that it has arrived."""
    if flag.device.type != "cuda":
        return flag, None
    there = torch.empty(flag.shape, dtype=flag.dtype, pin_memory=True)
    there.copy_(flag, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    return there, arrived

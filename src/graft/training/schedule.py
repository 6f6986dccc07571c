"""PyTorch's learning rate schedules, told when a step or an epoch is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from graft.errors import GraftError


class Schedule:
    """A schedule, or none.

    Args:
        scheduler: of PyTorch's kind, over the optimizer.
        each: `epoch` or `step`: after what it moves on.
        optimizer: whose rates it sets.
        figure: of the log, that `ReduceLROnPlateau` looks at.

    Raises:
        GraftError: the scheduler is over another optimizer, or does not go with `each`.
    """

    def __init__(self, scheduler: LRScheduler | None, each: str, optimizer: Optimizer, figure: str) -> None:
        self.scheduler, self.each, self.figure = scheduler, each, figure
        if each not in ("epoch", "step"):
            raise GraftError(f"schedule_each is 'epoch' or 'step', not {each!r}")
        if scheduler is None:
            return
        if scheduler.optimizer is not optimizer:
            raise GraftError("the schedule is over another optimizer than the one given")
        if each == "step" and isinstance(scheduler, ReduceLROnPlateau):
            raise GraftError("ReduceLROnPlateau looks at a figure of the epoch: schedule_each must be 'epoch'")

    def stepped(self) -> None:
        """A step of the optimizer is over."""
        if self.scheduler is not None and self.each == "step":
            self.scheduler.step()

    def ended(self, row: Mapping[str, float | int]) -> None:
        """An epoch is over, with these figures."""
        if self.scheduler is None or self.each != "epoch":
            return
        if not isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step()
        elif self.figure in row:
            self.scheduler.step(float(row[self.figure]))
        else:
            raise GraftError(f"ReduceLROnPlateau looks at {self.figure!r}, but the figures are {', '.join(row)}")

    def state(self) -> dict[str, Any] | None:
        """What a checkpoint keeps."""
        return None if self.scheduler is None else self.scheduler.state_dict()

    def restore(self, state: dict[str, Any] | None) -> None:
        """Put back what `state` gave."""
        if self.scheduler is not None and state is not None:
            self.scheduler.load_state_dict(state)

"""What a run must have in common with one that it goes on from, as plain values."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

#: What a schedule moves: rates always, and these if it cycles the momentum.
_CYCLED = ("momentum", "betas")


def settings(
    objective: torch.nn.Module, names: list[list[str]], optimizer: Optimizer, schedule: LRScheduler | None, each: str
) -> dict[str, Any]:
    """What describes an objective, its optimiser and the schedule.

    Args:
        objective: its kind counts; its tensors are compared with those of the checkpoint.
        names: of the parameters in every group of the optimiser.
        optimizer: its kind, and all of its settings but learning rates.
        schedule: its kind, and the arguments that it was made with, as far as it keeps them under their names.
        each: `epoch` or `step`.
    """
    return {
        "objective": type(objective).__name__,
        "optimizer": type(optimizer).__name__,
        "optimizer_settings": groups(optimizer, getattr(schedule, "cycle_momentum", False)),
        "parameters": names,
        "schedule": None if schedule is None else f"{type(schedule).__name__} each {each}",
        "schedule_settings": None if schedule is None else made_with(schedule),
    }


def groups(optimizer: Optimizer, cycled: bool = False) -> list[dict[str, Any]]:
    """The settings of every group of an optimiser, without learning rates.

    Example:
        >>> groups(torch.optim.SGD([torch.zeros(1, requires_grad=True)], momentum=0.5))[0]["momentum"]
        0.5
    """
    left_out = _CYCLED if cycled else ()
    return [
        {name: plain(v) for name, v in group.items() if name != "params" and "lr" not in name and name not in left_out}
        for group in optimizer.param_groups
    ]


def made_with(schedule: LRScheduler) -> dict[str, Any]:
    """The arguments that a schedule was made with, and those of the schedules in it.

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
        >>> made_with(torch.optim.lr_scheduler.StepLR(optimizer, 3))
        {'gamma': 0.1, 'step_size': 3}
    """
    arguments = inspect.signature(type(schedule)).parameters.keys() - {"optimizer", "last_epoch", "verbose"}
    found = {name: plain(vars(schedule)[name]) for name in sorted(arguments & vars(schedule).keys())}
    inner = getattr(schedule, "_schedulers", ())
    return found | ({"schedulers": [[type(one).__name__, made_with(one)] for one in inner]} if inner else {})


def plain(value: Any) -> Any:
    """A value that a checkpoint can hold and that can be compared; of anything else, its kind."""
    if isinstance(value, Tensor):
        return value.detach().cpu().tolist()
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if value is None or type(value) in (bool, int, float, str) else type(value).__name__

"""The arguments of `fit`: each is looked at before work starts, and the message names it."""

from __future__ import annotations

import inspect
import math
import os
from numbers import Integral, Real
from typing import Any

from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graft.errors import GraftError
from graft.training.log import OWN
from graft.training.stopping import EarlyStopping

_RATE = 1e-3  # of Adam, as its authors have it


def check_numbers(epochs: Any, size: Any, clip: Any, every: Any, seed: Any) -> None:
    """Counts are whole, and nothing is too small.

    Raises:
        GraftError: names the argument.
    """
    whole("epochs", epochs, 0)
    whole("batch_size", size, 1)
    if every is not None:
        whole("every", every, 1)
    if seed is not None:
        whole("seed", seed, -(2**63), 2**64 - 1)
    if clip is not None and not (real(clip) and clip > 0):
        raise GraftError(f"clip must be positive, a number, not {clip!r}")


def check_kinds(schedule: Any, stopping: Any, watch: Any, valid: Any) -> None:
    """What is handed over is of the right kind, and goes together.

    Raises:
        GraftError: names the argument.
    """
    for name, value, kind in (("schedule", schedule, LRScheduler), ("stopping", stopping, EarlyStopping)):
        if value is not None and not isinstance(value, kind):
            raise GraftError(f"{name} must be of the kind {kind.__name__}, not {value!r}")
    if watch is not None and not callable(watch):
        raise GraftError(f"watch must be a function of the epoch's number, not {watch!r}")
    if stopping is None:
        return
    if stopping.figure == "valid" and valid is None:
        raise GraftError("early stopping on 'valid' needs validation data: valid=")
    figures = [name for name in OWN if name != "seconds" and (name != "valid" or valid is not None)]
    if watch is None and stopping.figure not in figures:
        known = ", ".join(figures)
        raise GraftError(
            f"early stopping on {stopping.figure!r}, but the figures are {known}: further ones need watch="
        )


def check_folder(folder: Any, resume: bool, every: Any) -> None:
    """Checkpoints need a place.

    Raises:
        GraftError: there is none.
    """
    if folder is not None and not isinstance(folder, str | os.PathLike):
        raise GraftError(f"folder must be a path, not {folder!r}")
    if folder is None and (resume or every is not None):
        raise GraftError(f"{'resume' if resume else 'every'} needs a folder")


def optimizer_of(objective: Any, given: Any, schedule: Any, lr: Any) -> Optimizer:
    """The optimiser given, if it learns what the objective has, or Adam.

    Raises:
        GraftError: there is nothing to learn, or the arguments do not go together.
    """
    if not isinstance(objective, nn.Module):
        raise GraftError(f"objective must be a torch.nn.Module that turns a batch into a loss, not {objective!r}")
    parameters = [p for p in objective.parameters() if p.requires_grad]
    if not parameters:
        raise GraftError("the objective has no parameters to learn")
    if given is not None:
        if lr is not None:
            raise GraftError("lr and an optimizer are given: the optimizer has its own rates")
        _check_optimizer(objective, given)
        return given
    if schedule is not None:
        raise GraftError("a schedule needs its optimizer: give both")
    if lr is not None and not (real(lr) and 0 <= lr < math.inf):
        raise GraftError(f"lr must be a number, 0 or more, not {lr!r}")
    return Adam(parameters, lr=_RATE if lr is None else float(lr))


def whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """A value is a whole number within bounds.

    Raises:
        GraftError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise GraftError(f"{name} must be a whole number, not {value!r}")
    if int(value) < least or (most is not None and int(value) > most):
        bounds = f"{least} or more" if most is None else f"from {least} to {most}"
        raise GraftError(f"{name} must be {bounds}, not {value}")


def real(value: Any) -> bool:
    """Is a value a number, and not NaN?"""
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def _check_optimizer(objective: nn.Module, optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise GraftError(f"optimizer must be a torch.optim.Optimizer, not {optimizer!r}")
    kind = type(optimizer).__name__
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise GraftError(f"optimizer {kind} computes the loss anew within a step (a closure), which fit does not do")
    own = {id(p) for p in objective.parameters()}
    for number, group in enumerate(optimizer.param_groups):
        for place, p in enumerate(group["params"]):
            if id(p) not in own:
                raise GraftError(
                    f"optimizer is over another module: parameter {place} of its group {number}, of shape"
                    f" {tuple(p.shape)}, is not the objective's"
                )
    if not any(p.requires_grad for group in optimizer.param_groups for p in group["params"]):
        raise GraftError("optimizer has no parameter to learn: none of its parameters requires a gradient")

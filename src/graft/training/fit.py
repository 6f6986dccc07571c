"""`fit`: a small loop over Lightning Fabric that sees only `objective(batch) -> loss`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from graft.errors import GraftError
from graft.training import random_state
from graft.training.batches import source
from graft.training.devices import devices
from graft.training.keeper import Keeper
from graft.training.loop import Loop, Watch
from graft.training.progress import bar
from graft.training.resume import resume as take_up
from graft.training.run import Run as Run
from graft.training.schedule import Each, Schedule
from graft.training.step import Learner
from graft.training.stopping import Best, EarlyStopping


def fit(
    objective: nn.Module,
    data: Any,
    *,
    epochs: int,
    batch_size: int = 32,
    lr: float = 1e-3,
    optimizer: Optimizer | None = None,
    schedule: LRScheduler | None = None,
    schedule_each: Each = "epoch",
    clip: float | None = None,
    valid: Any = None,
    stopping: EarlyStopping | None = None,
    seed: int | None = None,
    accelerator: str = "cpu",
    fabric: Any = None,
    progress: bool = True,
    watch: Watch | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    every: int | None = None,
) -> Run:
    """Minimise an objective over data.

    Args:
        objective: any module that turns a batch (a dict) into a scalar loss.
        data: a dict of tensors or evidence, a `Dataset` or a `DataLoader` of dicts. Values without rows, such as a
            dict of sizes, are handed on whole.
        epochs: passes over the data.
        batch_size: rows of a batch over all processes (a `DataLoader` keeps its own).
        lr: learning rate of Adam (Kingma & Ba 2015), if no optimizer is given.
        optimizer: over the objective's parameters.
        schedule: of the learning rate, over the optimizer; `ReduceLROnPlateau` looks at the stopping figure, else at
            the loss of the validation data, else at the loss.
        schedule_each: `epoch` or `step`: after what the schedule moves on.
        clip: greatest norm of the gradient of all parameters.
        valid: like `data`: its mean loss per row stands under `valid`.
        stopping: when to stop early; the best parameters are put back at the end.
        seed: of all that is random; the global random states are afterwards as before. Without it, one is drawn
            from torch's.
        accelerator: as Fabric names it.
        fabric: a launched `lightning_fabric.Fabric`, instead of an accelerator: devices, precision, loggers, DDP.
        progress: show a progress bar.
        watch: called with the number of each finished epoch, for further figures.
        folder: for `log.csv` and checkpoints.
        resume: go on from the newest checkpoint in the folder, if there is one.
        every: a checkpoint after so many steps, besides one after each epoch.

    Returns:
        The run with its history.

    Raises:
        GraftError: empty data, nothing to learn, arguments that do not go together, a file that cannot be written,
            or a loss or gradient that is not finite (the parameters before that step are kept).

    Example:
        >>> from graft.factors import Gaussian
        >>> from graft.model import Model
        >>> from graft.objectives.likelihood import Likelihood
        >>> model = Model({"x": Gaussian(dim=1, learn=True)})
        >>> run = fit(Likelihood(model), {"x": torch.randn(64, 1)}, epochs=2, seed=0, progress=False)
        >>> len(run.history)
        2
    """
    _check(epochs, batch_size, clip, every, folder, resume)
    _check_stopping(stopping, valid)
    optimizer = _optimizer(objective, optimizer, schedule, lr)
    figure = stopping.figure if stopping is not None else "loss" if valid is None else "valid"
    plan = Schedule(schedule, schedule_each, optimizer, figure)
    fabric = devices(fabric, accelerator)
    drawn = fabric.broadcast(int(torch.randint(2**62, ())) if seed is None else seed)
    generator = torch.Generator()
    generator.manual_seed(drawn)
    batches = source(data, batch_size, generator, fabric)
    judged = None if valid is None else source(valid, batch_size, None, fabric)
    with random_state.isolated(fabric.device):
        random_state.seeded(drawn, fabric.global_rank, fabric.device)
        keeper = None if folder is None else Keeper(Path(folder), every, fabric)
        if keeper is not None and not resume:
            keeper.check_new()
        learner = Learner(objective, optimizer, fabric, clip)
        settings = _settings(learner, plan, stopping, {"seed": seed, "batch_size": batch_size, "clip": clip})
        loop = Loop(learner, batches, judged, plan, Best(stopping), watch, keeper, settings)
        if keeper is not None and resume:
            take_up(loop, keeper)
        with bar(progress and fabric.global_rank == 0, epochs, loop.epoch) as advance:
            return loop.run(epochs, advance)


def _check(epochs: int, size: int, clip: float | None, every: int | None, folder: Any, resume: bool) -> None:
    if epochs < 0 or size < 1:
        raise GraftError(f"epochs and batch_size must be positive, not {epochs} and {size}")
    if clip is not None and not clip > 0:
        raise GraftError(f"clip must be positive, not {clip}")
    if every is not None and every < 1:
        raise GraftError(f"every must be 1 or more steps, not {every}")
    if folder is None and (resume or every is not None):
        raise GraftError(f"{'resume' if resume else 'every'} needs a folder")


def _check_stopping(stopping: EarlyStopping | None, valid: Any) -> None:
    if stopping is not None and stopping.figure == "valid" and valid is None:
        raise GraftError("early stopping on 'valid' needs validation data: valid=")


def _optimizer(objective: nn.Module, given: Optimizer | None, schedule: LRScheduler | None, lr: float) -> Optimizer:
    parameters = [p for p in objective.parameters() if p.requires_grad]
    if not parameters:
        raise GraftError("the objective has no parameters to learn")
    if given is None and schedule is not None:
        raise GraftError("a schedule needs its optimizer: give both")
    return given if given is not None else Adam(parameters, lr=lr)


def _settings(learner: Learner, plan: Schedule, stopping: EarlyStopping | None, told: dict[str, Any]) -> dict[str, Any]:
    """What a run must have in common with one that it goes on from."""
    return {
        **told,
        "optimizer": type(learner.optimizer).__name__,
        "parameters": learner.names(),
        "schedule": None if plan.scheduler is None else f"{type(plan.scheduler).__name__} each {plan.each}",
        "stopping": None if stopping is None else dict(vars(stopping)),
        "processes": learner.fabric.world_size,
    }

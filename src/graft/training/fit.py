"""`fit`: a small loop over Lightning Fabric that sees only `objective(batch) -> loss`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from graft.training import random_state
from graft.training.batches import source
from graft.training.checks import check_folder, check_kinds, check_numbers, optimizer_of
from graft.training.devices import devices
from graft.training.keeper import Keeper
from graft.training.loop import Loop
from graft.training.progress import bar
from graft.training.resume import resume as take_up
from graft.training.run import Run as Run
from graft.training.schedule import Schedule
from graft.training.settings import settings
from graft.training.step import Learner
from graft.training.stopping import Best, EarlyStopping


def fit(
    objective: Any,
    data: Any,
    *,
    epochs: Any,
    batch_size: Any = 32,
    lr: Any = None,
    optimizer: Any = None,
    schedule: Any = None,
    schedule_each: str = "epoch",
    clip: Any = None,
    valid: Any = None,
    stopping: Any = None,
    seed: Any = None,
    accelerator: Any = "cpu",
    fabric: Any = None,
    progress: bool = True,
    watch: Any = None,
    folder: Any = None,
    resume: bool = False,
    every: Any = None,
) -> Run:
    """Minimise an objective over data.

    Args:
        objective: any `torch.nn.Module` that turns a batch (a dict) into a scalar loss.
        data: a dict of tensors or evidence, a `Dataset` or a `DataLoader` of dicts. Values without rows, such as a
            dict of sizes, are handed on whole.
        epochs: passes over the data.
        batch_size: rows of a batch over all processes (a `DataLoader` keeps its own).
        lr: learning rate of Adam (Kingma & Ba 2015), if no optimizer is given; by default 0.001.
        optimizer: a PyTorch one over the objective's parameters, which takes a step without a closure.
        schedule: of the learning rate, over the optimizer; `ReduceLROnPlateau` looks at the stopping figure, else at
            the loss of the validation data, else at the loss.
        schedule_each: `epoch` or `step`: after what the schedule moves on.
        clip: greatest norm of the gradient of all parameters.
        valid: like `data`: its mean loss per row stands under `valid`.
        stopping: an `EarlyStopping`, when to stop early; the best parameters are put back at the end.
        seed: of all that is random; the global random states are afterwards as before. Without it, one is drawn
            from torch's.
        accelerator: as Fabric names it.
        fabric: a launched `lightning_fabric.Fabric`, instead of an accelerator: devices, precision, loggers, DDP.
        progress: show a progress bar.
        watch: called with the number of each finished epoch, for further figures: a dict of numbers.
        folder: for `log.csv` and checkpoints.
        resume: go on from the newest checkpoint in the folder, if there is one.
        every: a checkpoint after so many steps, besides one after each epoch.

    Returns:
        The run with its history.

    Raises:
        GraftError: empty data, nothing to learn, arguments that do not go together, a file that cannot be written,
            a loss or gradient that is not finite (the parameters before that step are kept), or a parameter that a
            step left not finite (the checkpoints before it are kept).

    Example:
        >>> from graft.factors import Gaussian
        >>> from graft.model import Model
        >>> from graft.objectives.likelihood import Likelihood
        >>> model = Model({"x": Gaussian(dim=1, learn=True)})
        >>> run = fit(Likelihood(model), {"x": torch.randn(64, 1)}, epochs=2, seed=0, progress=False)
        >>> len(run.history)
        2
    """
    check_numbers(epochs, batch_size, clip, every, seed)
    check_folder(folder, resume, every)
    check_kinds(schedule, stopping, watch, valid)
    clip = None if clip is None else float(clip)
    optimizer = optimizer_of(objective, optimizer, schedule, lr)
    figure = stopping.figure if stopping is not None else "loss" if valid is None else "valid"
    plan = Schedule(schedule, schedule_each, optimizer, figure)
    fabric = devices(fabric, accelerator)
    drawn = fabric.broadcast(int(torch.randint(2**62, ())) if seed is None else int(seed))
    generator = torch.Generator()
    generator.manual_seed(drawn)
    batches = source(data, int(batch_size), generator, fabric)
    judged = None if valid is None else source(valid, int(batch_size), None, fabric, "valid")
    with random_state.isolated(fabric.device):
        random_state.seeded(drawn, fabric.global_rank, fabric.device)
        keeper = None if folder is None else Keeper(Path(folder), None if every is None else int(every), fabric)
        if keeper is not None and not resume:
            keeper.check_new()
        learner = Learner(objective, optimizer, fabric, clip)
        told = {"seed": drawn if seed is not None else None, "batch_size": int(batch_size), "clip": clip}
        told |= {"data": batches.extent(), "valid": None if judged is None else judged.extent()}
        compared = _settings(learner, plan, stopping, told)
        loop = Loop(learner, batches, judged, plan, Best(stopping), watch, keeper, compared)
        if keeper is not None and resume:
            take_up(loop, keeper)
        with bar(progress and fabric.global_rank == 0, int(epochs), loop.epoch) as advance:
            return loop.run(int(epochs), advance)


def _settings(learner: Learner, plan: Schedule, stopping: EarlyStopping | None, told: dict[str, Any]) -> dict[str, Any]:
    """What a run must have in common with one that it goes on from; the first process's, which writes them."""
    own = settings(learner.objective, learner.names(), learner.optimizer, plan.scheduler, plan.each)
    stop = None if stopping is None else dict(vars(stopping))
    found: dict[str, Any] = learner.fabric.broadcast(
        {**told, **own, "stopping": stop, "processes": learner.fabric.world_size}
    )
    return found

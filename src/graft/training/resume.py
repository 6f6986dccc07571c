"""Taking up a run where it was interrupted."""

from __future__ import annotations

import time
from pathlib import Path

from graft.errors import GraftError
from graft.training import checkpoint
from graft.training.checkpoint import STATE
from graft.training.keeper import Keeper
from graft.training.loop import Loop
from graft.training.rollback import all_or_nothing
from graft.training.share import Mean
from graft.training.snapshot import State, check, newest
from graft.training.weights import check_fit, put_back


def resume(loop: Loop, keeper: Keeper) -> None:
    """Put the newest good checkpoint into a loop, if there is one.

    Args:
        loop: made with the arguments of the run.
        keeper: of its folder.

    Raises:
        GraftError: the checkpoint cannot be read, or does not go with the arguments; nothing is changed then.
    """
    keeper.fabric.barrier()  # after the first process has tidied up
    found = newest(keeper.found(), loop.learner.objective, keeper.fabric.world_size)
    if found is None:
        return keeper.check_new()
    path, state, weights = found
    check(path, state["settings"], loop.settings)
    try:
        with all_or_nothing(loop):
            _restore_best(loop, path.parent, state)
            put_back(loop.learner.objective, weights)
            _restore(loop, state)
    except (LookupError, ArithmeticError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, GraftError):
            raise
        raise GraftError(f"{path / STATE} does not hold the state of a run: {error!r}") from error
    keeper.tidy(path, loop.best.checkpoint)
    if loop.rows:
        keeper.note(loop.rows, loop.seconds)
    return None


def _restore_best(loop: Loop, folder: Path, state: State) -> None:
    best, told = loop.best, state["best"]
    if best.rule is None:
        return
    best.value, best.epoch, best.waited, best.checkpoint = (
        told[name] for name in ("value", "epoch", "waited", "checkpoint")
    )
    if best.checkpoint is None:
        return
    if Path(best.checkpoint).name != best.checkpoint:
        raise GraftError(f"{best.checkpoint!r} is no name of a checkpoint")
    best.weights = checkpoint.read_weights(folder / best.checkpoint)
    check_fit(best.weights, loop.learner.objective, folder / best.checkpoint)


def _restore(loop: Loop, state: State) -> None:
    rank = loop.fabric.global_rank
    loop.learner.optimizer.load_state_dict(state["optimizer"])
    loop.schedule.restore(state["schedule"])
    loop.fabric.strategy.precision.load_state_dict(state["precision"])
    loop.epoch, loop.step, loop.position = state["epoch"], state["step"], state["position"]
    loop.mean = Mean(loop.fabric.device)
    loop.mean.total += state["total"][rank].to(loop.fabric.device)
    loop.mean.rows = state["rows"]
    loop.rows, loop.seconds, loop.stopped = state["log"], state["seconds"], state["stopped"]
    if loop.seconds:
        loop.began = time.perf_counter() - float(loop.seconds[-1]["seconds"])
    loop.start = state["start"][rank]
    loop.restore_random(state["now"][rank])

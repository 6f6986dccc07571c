"""The state of a run, and whether it goes with the arguments of a call."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from torch import nn

from graft.errors import GraftError
from graft.training import checkpoint, weights
from graft.training.values import check_values

State = dict[str, Any]

#: What the state of a run holds, and of which kind.
KINDS: dict[str, tuple[type, ...]] = {
    "settings": (dict,),  # must agree with the call
    "epoch": (int,),
    "step": (int,),
    "position": (int,),  # batches done of the epoch
    "total": (weights.Tensor,),  # sum of the losses of the rows of the epoch, of every process
    "rows": (int,),
    "start": (list,),  # random states at the start of the epoch, of every process
    "now": (list,),
    "optimizer": (dict,),
    "schedule": (dict, type(None)),
    "precision": (dict,),
    "log": (list,),
    "seconds": (list,),
    "best": (dict,),
    "stopped": (str,),
}


def newest(paths: list[Path], module: nn.Module, processes: int) -> tuple[Path, State, weights.State] | None:
    """The newest checkpoint of which everything can be read, with its state and weights.

    Args:
        paths: of checkpoints, the newest first.
        module: that the weights must fit.
        processes: that each have their part of the state.

    Raises:
        GraftError: there are checkpoints, but none can be read.
    """
    faults: list[GraftError] = []
    for path in paths:
        try:
            checkpoint.about(path)
            state = checkpoint.read_state(path)
            _check_kinds(path, state)
            check_values(path, state, processes)
            found = checkpoint.read_weights(path)
            weights.check_fit(found, module, path)
        except GraftError as error:
            faults.append(error)
            continue
        if faults:
            warnings.warn(f"{faults[0]}; going on from {path.name}", stacklevel=4)
        return path, state, found
    if faults:
        raise faults[0]
    return None


def check(path: Path, found: State, wanted: State) -> None:
    """Compare the settings of a run with those of a call.

    Raises:
        GraftError: names each that differs.
    """
    if unknown := found.keys() - wanted.keys():
        raise GraftError(f"{path} has settings that this version does not know: {', '.join(sorted(unknown))}")
    differing = [
        f"{name} was {found[name]!r} and is now {wanted[name]!r}"
        for name in wanted
        if name in found and found[name] != wanted[name]  # earlier versions noted fewer
    ]
    if differing:
        raise GraftError(f"the run in {path} cannot go on: {'; '.join(differing)}")


def _check_kinds(path: Path, state: State) -> None:
    for name, kinds in KINDS.items():
        if name not in state:
            raise GraftError(f"{path / checkpoint.STATE} does not hold the state of a run: {name} is missing")
        if not isinstance(state[name], kinds):
            raise GraftError(
                f"{path / checkpoint.STATE} does not hold the state of a run: {name} is a {type(state[name]).__name__}"
            )

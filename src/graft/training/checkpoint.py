"""A checkpoint: a folder with weights, the state of the run, and a page about both."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graft.errors import GraftError
from graft.training import state_file, weights
from graft.training.durable import discard, put_folder

FORMAT = 1
WEIGHTS, STATE, ABOUT = "weights.safetensors", "state.pt", "about.json"
_NAME = re.compile(r"(\d{5,12})-(\d{9,18})")
_LARGEST_PAGE = 64 * 2**20  # bytes of `about.json`; a million tensors take less


@dataclass(frozen=True)
class About:
    """What a checkpoint says about itself.

    Args:
        epoch: epochs that were over.
        step: steps of the optimiser that were done.
        best: the checkpoint of the best epoch then, if one is kept.
    """

    epoch: int
    step: int
    best: str | None


def name_of(epoch: int, step: int) -> str:
    """The name of a checkpoint; later ones are greater.

    Example:
        >>> name_of(3, 120)
        '00003-000000120'
    """
    return f"{epoch:05d}-{step:09d}"


def write(folder: Path, about: About, module: Mapping[str, Any], state: dict[str, Any]) -> Path:
    """Write a checkpoint whole or not at all.

    Args:
        folder: of the checkpoints.
        about: its place in the run.
        module: state dict of the objective.
        state: of the run.

    Returns:
        The folder of the checkpoint.

    Raises:
        GraftError: something cannot be written.
    """
    page = {"format": FORMAT, **vars(about), "tensors": weights.shapes(module)}
    files = {
        WEIGHTS: weights.encoded(module),
        STATE: state_file.encoded(state),
        ABOUT: json.dumps(page, indent=1).encode() + b"\n",
    }
    return put_folder(folder / name_of(about.epoch, about.step), files)


def found(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the newest first."""
    if not folder.is_dir():
        return []
    named = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(named, key=lambda pair: (int(pair[0][1]), int(pair[0][2])), reverse=True)]


def keep_only(folder: Path, names: set[str | None]) -> None:
    """Remove all other checkpoints."""
    for path in found(folder):
        if path.name not in names:
            discard(path)


def about(path: Path) -> About:
    """What a checkpoint says about itself.

    Raises:
        GraftError: it is none, or of a later version.
    """
    page = inside(path, ABOUT)
    try:
        if page.stat().st_size > _LARGEST_PAGE:
            raise ValueError("it is too long")
        told = json.loads(page.read_bytes())
        version, best = told["format"], told["best"]
        epoch, step = int(told["epoch"]), int(told["step"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise GraftError(f"{page} does not describe a checkpoint: {error or type(error).__name__}") from error
    if version != FORMAT:
        raise GraftError(f"{page} is of format {version!r}; this version reads {FORMAT}")
    if best is not None and not (isinstance(best, str) and _NAME.fullmatch(best)):
        raise GraftError(f"{page} names a best checkpoint {best!r}, which is no name of one")
    return About(epoch, step, best)


def read_state(path: Path) -> dict[str, Any]:
    """The state of the run."""
    return state_file.decoded(inside(path, STATE))


def read_weights(path: Path) -> weights.State:
    """The weights."""
    return weights.read_weights(inside(path, WEIGHTS))


def inside(path: Path, name: str) -> Path:
    """A plain file of a checkpoint.

    Raises:
        GraftError: it is not there, or a link leads out of the checkpoint.
    """
    file = path / name
    if path.is_symlink() or file.is_symlink():
        raise GraftError(f"{file} is reached through a link; a checkpoint holds its own files")
    if not file.is_file():
        raise GraftError(f"{file} is not there, or is no plain file")
    return file

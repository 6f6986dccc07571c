"""The weights of a run, put into an objective or a model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import nn

from graft.errors import GraftError
from graft.training import checkpoint
from graft.training.checkpoint import ABOUT, About
from graft.training.keeper import CHECKPOINTS
from graft.training.weights import State, check_fit, put_back


def load(objective: nn.Module, path: str | Path, which: Literal["newest", "best"] = "newest") -> Path:
    """Put the weights of a checkpoint into the module that was trained, or one like it.

    Nothing that stands in the files is run.

    Args:
        objective: as the one that was given to `fit`.
        path: the folder of a run, or of one checkpoint.
        which: of a run's checkpoints; `best` is that of the best epoch, by the figure of its early stopping.

    Returns:
        The folder of the checkpoint.

    Raises:
        GraftError: there is none, it cannot be read, or it does not fit; names what is missing, unexpected, or of
            another shape or type. The module is unchanged then.

    Example:
        >>> import tempfile, torch
        >>> from graft.factors import Gaussian
        >>> from graft.model import Model
        >>> from graft.objectives.likelihood import Likelihood
        >>> from graft.training.fit import fit
        >>> objective = Likelihood(Model({"x": Gaussian(dim=1, learn=True)}))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = fit(objective, {"x": torch.randn(8, 1)}, epochs=1, folder=folder, progress=False)
        ...     load(objective, folder).name
        '00001-000000001'
    """
    if which not in ("newest", "best"):
        raise GraftError(f"which is 'newest' or 'best', not {which!r}")
    path = Path(path)
    found, state = (path, _read(path)[1]) if (path / ABOUT).exists() else _of_run(path, which)
    check_fit(state, objective, found)
    put_back(objective, state)
    return found


def _of_run(folder: Path, which: str) -> tuple[Path, State]:
    there = checkpoint.found(folder / CHECKPOINTS)
    if not there:
        raise GraftError(f"{folder} holds no checkpoint")
    about, state = _read(there[0])
    if which == "newest":
        return there[0], state
    if about.best is None:
        raise GraftError(f"{folder} has no best epoch: the run had no early stopping, or its figure was never finite")
    best = folder / CHECKPOINTS / about.best
    return best, _read(best)[1]


def _read(path: Path) -> tuple[About, State]:
    return checkpoint.about(path), checkpoint.read_weights(path)

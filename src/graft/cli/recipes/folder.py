"""The folder that a recipe writes to."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from graft.errors import GraftError


def made(wanted: str, kind: str) -> Path:
    """The folder of a run, made if it is not there.

    Args:
        wanted: its name; if empty, one in `runs` named after the kind and the time.
        kind: of the run.

    Raises:
        GraftError: it cannot be made.
    """
    folder = Path(wanted or f"runs/{kind}-{datetime.now():%Y%m%d-%H%M%S}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GraftError(f"run={folder}: the folder cannot be made ({error.strerror})") from error
    return folder

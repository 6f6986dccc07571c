"""What a fit leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """What a fit leaves behind.

    Attributes:
        history: per epoch, its number, the steps so far, the mean loss per row, that of the validation data, watched
            figures, and the seconds so far.
        seconds: of the whole fit, earlier parts of a resumed one included.
        best: the epoch whose parameters were put back at the end, if early stopping was asked for.
        stopped: why it ended.
        folder: that holds the log and the checkpoints, if one was asked for.
    """

    history: tuple[Mapping[str, float | int], ...] = ()
    seconds: float = 0.0
    best: int | None = None
    stopped: str = ""
    folder: Path | None = None

"""What a command of the command line is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One word after `graft`.

    Args:
        run: takes the words after the command; returns the exit code. It raises `GraftError` for wrong input.
        usage: its arguments, for the help.
        help: what it does, in one sentence.
    """

    run: Callable[[Sequence[str]], int]
    usage: str
    help: str

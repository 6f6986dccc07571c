"""A comparison of arms on a terminal or in a log."""

from __future__ import annotations

from rich.console import Console

from graft.evaluation.arms import Comparison

WIDTH = 180  # characters of a line in a log, in which no number is broken


def show(comparison: Comparison, title: str, *, against: str) -> None:
    """Print the figures of all arms, and their paired differences from one of them."""
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    console.print(comparison.table(title))
    if len(comparison.arms) > 1:
        console.print(comparison.table("the same, as differences", against=against))

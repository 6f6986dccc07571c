"""A comparison of arms on a terminal or in a log."""

from __future__ import annotations

from pathlib import Path

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


def written(comparison: Comparison, folder: Path, *, against: str) -> list[Path]:
    """Write the figures of every run, and the tables that `show` prints; their paths."""
    path = folder / "table.md"
    differences = "\n" + comparison.markdown(against=against) if len(comparison.arms) > 1 else ""
    path.write_text(comparison.markdown() + differences, encoding="utf-8")
    return [comparison.write_csv(folder / "metrics.csv"), path]

"""The progress bar of a fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def bar(shown: bool, epochs: int, done: int = 0) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """A progress bar over epochs with the last figures beside it.

    Args:
        shown: if not, nothing is printed.
        epochs: in all.
        done: epochs before the start.
    """
    if not shown:
        yield lambda _: None
        return
    text = TextColumn("{task.fields[text]}")
    columns = (TextColumn("fit"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), text)
    with Progress(*columns) as progress:
        task = progress.add_task("fit", total=epochs, completed=done, text="")

        def advance(figures: Mapping[str, float]) -> None:
            words = "  ".join(f"{n} {v:.4g}" for n, v in figures.items() if n not in ("epoch", "step", "seconds"))
            progress.update(task, advance=1, text=words)

        yield advance

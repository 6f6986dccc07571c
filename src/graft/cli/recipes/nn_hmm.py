"""`graft train nn_hmm`: the four arms of the classical hybrid, over several seeds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from graft.cli.recipes.folder import made
from graft.cli.settings import choices, read, wants_help
from graft.model import Model
from graft.plots.sequence import draw
from graft.zoo.nn_hmm.config import Config
from graft.zoo.nn_hmm.files import WIDTH, text, write
from graft.zoo.nn_hmm.recipe import Outcome, epochs, run
from graft.zoo.nn_hmm.shown import repeated, shown
from graft.zoo.nn_hmm.states import States

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("epochs"),
    TimeElapsedColumn(),
)


def main(words: Sequence[str]) -> int:
    """Train all arms with all seeds; write tables, figures, weights and pictures; print the table.

    Raises:
        GraftError: wrong settings, or the run's folder cannot be made.
        DataError: the data are not there.
    """
    if wants_help(words):
        print(choices(Config))
        return 0
    config = read(words, Config)
    started = time.perf_counter()
    # before the work, so that a wrong one is told at once
    folder = made(
        config.run, f"nn_hmm-{config.data}-{config.split}" if config.data == "fsdd" else f"nn_hmm-{config.data}"
    )
    outcome = watched(config)
    written = write(outcome, folder, time.perf_counter() - started)
    written += pictures(outcome, folder)
    print(text(outcome, _width()))
    for path in written:
        print(f"wrote {path}")
    return 0


def _width() -> int:
    """Of the table: as wide as the terminal, and as wide as it likes in a log."""
    console = Console()
    return console.width if console.is_terminal else WIDTH


def watched(config: Config) -> Outcome:
    """The run, beside a progress bar."""
    with Progress(*COLUMNS, console=Console(stderr=True)) as bar:
        task = bar.add_task("nn_hmm: reading data", total=epochs(config))

        def told(seed: int, arm: str, epoch: int, found: Mapping[str, float]) -> None:
            state = f"seed {seed + 1} of {config.seeds}, {arm}: accuracy {found['accuracy %']:.1f} %"
            bar.update(task, advance=int(epoch > 0), description=state)
            if arm != "pretraining" and epoch == config.epochs:
                bar.console.print(f"{state} on validation data after {epoch} epochs")  # stays, in a log too

        with one_thread():
            return run(config, told)


@contextmanager
def one_thread() -> Iterator[None]:
    """Steps of this size only lose by being split over threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pictures(outcome: Outcome, folder: Path) -> list[Path]:
    """The diagram of the model, and one test sequence as the joint arm of the first seed reads it."""
    model = outcome.trained["joint"].module
    assert isinstance(model, Model)
    diagram, sequence = folder / "model.png", folder / "sequence.png"
    model.draw(path=diagram)
    test, config = outcome.splits.test, outcome.config
    row = repeated(test)
    states = States(len(test.names), config.states)
    view = shown(model, states, test, row, width=8 if config.data == "digits" else 3)
    title = f"test sequence {row}, joint arm, seed 0: frames, posterior of labels (truth outlined), decoded path"
    draw(view.image, view.marginals, view.decoded, view.truth, view.names, title=title, path=sequence)
    return [diagram, sequence]

"""`graft train crf_tagger`: the arms of the tagger, over several seeds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from graft.cli.recipes.folder import made
from graft.cli.recipes.shown import show, written
from graft.cli.settings import choices, read, wants_help
from graft.evaluation.arms import Comparison
from graft.evaluation.trials import place
from graft.plots import reliability as diagram
from graft.zoo.crf_tagger.arm import WEIGHTS, Bench
from graft.zoo.crf_tagger.config import Config
from graft.zoo.crf_tagger.measure import table
from graft.zoo.crf_tagger.model import READS
from graft.zoo.crf_tagger.predict import predict
from graft.zoo.crf_tagger.recipe import VOCABULARY, bench, run
from graft.zoo.crf_tagger.tagger import restored

TITLE = "crf_tagger: figures on the test data"


def main(words: Sequence[str]) -> int:
    """Train all arms with all seeds; write figures, weights and pictures; print the table.

    Raises:
        GraftError: wrong settings, or the run's folder cannot be made or holds another run.
        DataError: the treebank is not there, or a file of it is malformed.
    """
    if wants_help(words):
        print(choices(Config))
        return 0
    config = read(words, Config)
    # before the work, so that a wrong one is told at once
    folder = made(config.run, f"crf_tagger-{config.task}")
    started = time.perf_counter()
    comparison = watched(config, folder)
    paths = [*written(comparison, folder, against=config.methods[0]), *_pictures(config, folder)]
    show(comparison, TITLE, against=config.methods[0])
    print(f"{time.perf_counter() - started:.0f} seconds")
    for path in paths:
        print(f"wrote {path}")
    print(f'now: graft tag {folder} "Time flies like an arrow ."')
    return 0


def watched(config: Config, folder: Path) -> Comparison:
    """The run, beside a progress bar."""
    arms = len(config.methods) * config.seeds
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[epochs]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"crf_tagger: {arms} arms and seeds", total=arms, epochs="reading the treebank")

        def told(method: str, seed: int, found: Mapping[str, float]) -> None:
            bar.console.print(f"{method}, seed {seed}: words {found['words %']:.2f} %, {found['seconds']:.0f} s")
            bar.advance(task)

        with _counted(folder, lambda count: bar.update(task, epochs=f"{count} epochs")):
            return run(config, folder, told)


@contextmanager
def _counted(folder: Path, told: Callable[[int], None]) -> Iterator[None]:
    """Tell every second how many epochs all arms have behind them, read off their logs."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(1.0):
            logs = folder.glob("*/seed-*/log.csv")
            told(sum(max(0, len(log.read_bytes().splitlines()) - 1) for log in logs))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _pictures(config: Config, folder: Path) -> list[Path]:
    """The diagram of the last arm, and the reliability of all arms of the first seed."""
    own, paths = bench(config), [folder / "model.png", folder / "reliability.png"]
    tables = {method: _reliability(own, config, folder, method) for method in config.methods}
    diagram.draw(tables, title="marginals on test data, seed 0", path=paths[1])
    last = config.methods[-1]
    restored(config, own.vocabulary, last, place(folder, last, 0) / WEIGHTS, cpu=True).draw(path=paths[0])
    return [*paths, folder / VOCABULARY]


def _reliability(own: Bench, config: Config, folder: Path, method: str) -> tuple:
    model = restored(config, own.vocabulary, method, place(folder, method, 0) / WEIGHTS)
    found = table(predict(model, own.test, READS[method.partition("-")[0]]), own.test)
    return found.counts.numpy(), found.confidence.numpy(), found.accuracy.numpy()

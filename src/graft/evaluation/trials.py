"""Arms times seeds: every trial in a folder of its own, several at once, and none run twice."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from numbers import Real
from pathlib import Path
from typing import Any

from graft.errors import GraftError
from graft.evaluation.arms import Comparison, Kind

#: Trains and measures one arm with one seed, in a folder for what it leaves; gives its figures by name.
Trial = Callable[[str, int, Path], Mapping[str, float]]
FIGURES = "figures.json"


def run_trials(
    trial: Trial,
    arms: Sequence[str],
    seeds: Sequence[int],
    folder: str | Path,
    *,
    jobs: int = 1,
    budget: str | None = None,
    kinds: Mapping[str, Kind] | None = None,
    watch: Callable[[str, int, Mapping[str, float]], None] = lambda arm, seed, found: None,
) -> Comparison:
    """Run a trial of every arm with every seed, and compare their figures.

    The figures of a trial stay in its folder, `FOLDER/ARM/seed-K/figures.json`; a trial that has them is not run again,
    so a comparison that was cut off goes on where it was.

    Args:
        trial: what to run; with several jobs it must be importable, as `multiprocessing` wants it.
        arms: names of the methods.
        seeds: which every arm is run with.
        folder: made if need be.
        jobs: trials at once, each in a process of its own with its share of the cores.
        budget: the figure that tells what a trial was allowed, such as "updates": it must be the same in all.
        kinds: what figures are of the quantities they stand for, by name; exact if not told.
        watch: told of every trial that is done.

    Raises:
        GraftError: the trials did not have the same budget, an arm's name is no folder's, or a figure is no number.

    Example:
        >>> import tempfile
        >>> def trial(arm: str, seed: int, folder: Path) -> dict[str, float]:
        ...     return {"accuracy": {"net": 70.0, "joint": 80.0}[arm] + seed, "updates": 100.0}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = run_trials(trial, ["net", "joint"], [0, 1, 2], folder, budget="updates")
        >>> print(found.difference("joint", "net", "accuracy"))
        10 ± 0
    """
    if not isinstance(jobs, int) or jobs < 1:
        raise GraftError(f"jobs must be a whole number of at least 1, not {jobs!r}")
    if any(not isinstance(kind, Kind) for kind in (kinds or {}).values()):
        raise GraftError(f"kinds are of the enumeration Kind, not {kinds}")
    comparison = Comparison(arms, seeds=seeds)
    found: dict[tuple[str, int], dict[str, float]] = {}
    for arm, seed, figures in _done(trial, arms, seeds, Path(folder), jobs):
        watch(arm, seed, figures)
        found[arm, seed] = figures
    if budget is not None:
        _check_budget(found, budget)
    # in the order asked for, not that of arrival: the columns come as the first trial has them
    for (arm, seed), figures in sorted(found.items(), key=lambda item: (arms.index(item[0][0]), item[0][1])):
        for figure, value in figures.items():
            comparison.add(arm, seed, figure, value, kind=(kinds or {}).get(figure, Kind.EXACT))
    return comparison


def place(folder: str | Path, arm: str, seed: int) -> Path:
    """The folder of a trial.

    Raises:
        GraftError: the arm's name holds more than letters, digits and "-_.+".
    """
    if not arm.replace("-", "").replace("_", "").replace("+", "").replace(".", "").isalnum():
        raise GraftError(f"an arm names a folder, so it has letters, digits and -_.+ only: {arm!r}")
    return Path(folder) / arm / f"seed-{seed}"


def _done(
    trial: Trial, arms: Sequence[str], seeds: Sequence[int], folder: Path, jobs: int
) -> Iterator[tuple[str, int, dict[str, float]]]:
    """The figures of every trial as they come; seeds outermost, so that all arms have something early."""
    todo = [(arm, seed, place(folder, arm, seed)) for seed in seeds for arm in arms]
    if jobs == 1:
        for arm, seed, own in todo:
            yield arm, seed, _one(trial, arm, seed, own)
        return
    # spawned, not forked: a fork copies locks that other threads hold
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _started, (jobs,)) as pool:
        pending = {pool.submit(_one, trial, *one): one for one in todo}
        try:
            for future in as_completed(pending):
                arm, seed, _ = pending[future]
                yield arm, seed, future.result()
        except BaseException:
            # the error is told now, not after all that is still to come
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _one(trial: Trial, arm: str, seed: int, folder: Path) -> dict[str, float]:
    """The figures of a trial, from its folder if it has been run."""
    path = folder / FIGURES
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            found = _numbers(arm, trial(arm, seed, folder))
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
            os.replace(partial, path)
    except OSError as error:
        raise GraftError(f"{path} could not be written: {error.strerror or error}") from error
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): float(value) for name, value in told.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise GraftError(f"{path} does not hold the figures of a trial: {error}") from error


def _numbers(arm: str, told: Any) -> dict[str, float]:
    """The figures that a trial gave."""
    if not isinstance(told, Mapping):
        raise GraftError(f"a trial of {arm} gave a {type(told).__name__}, not figures by name")
    wrong = [name for name, value in told.items() if not isinstance(value, Real)]
    if wrong:
        raise GraftError(f"a trial of {arm} gave {wrong[0]!r} = {told[wrong[0]]!r}, which is no number")
    return {str(name): float(value) for name, value in told.items()}


def _started(jobs: int) -> None:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))


def _check_budget(found: Mapping[tuple[str, int], Mapping[str, float]], budget: str) -> None:
    spent = {key: figures.get(budget, math.nan) for key, figures in found.items()}
    if len(set(spent.values())) != 1 or any(map(math.isnan, spent.values())):
        told = ", ".join(f"{arm} with seed {seed} {value:g}" for (arm, seed), value in spent.items())
        raise GraftError(f"{budget!r} should be the same in all trials, but is: {told}")

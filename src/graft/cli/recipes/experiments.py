"""`graft train` for the recipes on images: arms times seeds, a table, weights and pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from rich.console import Console

from graft.cli.recipes.folder import made
from graft.cli.recipes.shown import show, written
from graft.cli.settings import choices, read, wants_help
from graft.errors import GraftError
from graft.evaluation.arms import Comparison
from graft.evaluation.kinds import Kind
from graft.evaluation.trials import place, run_trials
from graft.training.durable import put
from graft.zoo.experiment.experiment import WEIGHTS, Experiment
from graft.zoo.experiment.settings import Settings

#: Where each recipe is, by the name of its system: a module with `RECIPE`.
EXPERIMENTS = MappingProxyType(
    {
        "vae": "graft.zoo.vae",
        "sbn": "graft.zoo.sbn",
        "semi_supervised": "graft.zoo.semi_supervised",
        "categorical_vae": "graft.zoo.categorical_vae",
        "lower_half": "graft.zoo.lower_half",
    }
)
CONFIG = "config.json"
#: Settings that may be told when a run is measured again.
_ANEW = ("folder", "arms", "rows", "draws", "measured")
#: Settings that a run may have otherwise when it goes on.
_FREE = ("folder", "arms", "seeds", "jobs", "run")


def experiment(name: str) -> Experiment[Any]:
    """The recipe of a system."""
    found: Experiment[Any] = import_module(EXPERIMENTS[name]).RECIPE
    return found


def main(name: str, words: Sequence[str]) -> int:
    """Train all arms with all seeds; write figures, weights and pictures; print the table.

    Args:
        name: of the system.
        words: settings.

    Raises:
        GraftError: wrong settings, or the run's folder cannot be made or holds another run.
        DataError: the data are not there, or not what they should be.
    """
    recipe = experiment(name)
    if wants_help(words):
        print(f"arms: {', '.join(recipe.arms)}\n{choices(recipe.settings)}")
        return 0
    told = read(words, recipe.settings)
    arms = told.methods(recipe.arms, recipe.usual)
    data = told.images()  # what is wrong with them is told before anything is written
    folder = made(told.run, f"{name}-{told.data}")
    _write_settings(recipe, told, folder)
    started = time.perf_counter()
    comparison = _compared(recipe, told, arms, folder)
    paths = written(comparison, folder, against=arms[0])
    trained = {arm: recipe.restored(told, arm, data, place(folder, arm, 0) / WEIGHTS) for arm in arms}
    paths += recipe.pictures(told, trained, data, folder)
    show(comparison, recipe.title, against=arms[0])
    print(f"{time.perf_counter() - started:.0f} seconds")
    for path in paths:
        print(f"wrote {path}")
    return 0


def evaluate(words: Sequence[str]) -> int:
    """Measure the saved arms of a run on its test data again, and print the table.

    Args:
        words: the run's folder, then settings that may differ, such as folder=, rows= and draws=.

    Raises:
        GraftError: no such run, or wrong settings.
    """
    folder = Path(words[0])
    page = _page(folder)
    recipe = experiment(page["system"])
    wrong = [word for word in words[1:] if word.partition("=")[0] not in _ANEW]
    if wrong:
        raise GraftError(f"graft evaluate measures what was trained: it takes {', '.join(_ANEW)}, not {wrong[0]!r}")
    given = [f"{key}={value}" for key, value in _kept(page["settings"], words[1:]).items()]
    told = read([*given, *words[1:]], recipe.settings)
    data, found = told.images(), _saved(folder, recipe)
    if not found:
        raise GraftError(f"{folder} holds no trained arm")
    wanted = told.methods(recipe.arms) if told.arms else recipe.arms
    found = {key: path for key, path in found.items() if key[0] in wanted}
    if not found:
        raise GraftError(f"{folder} holds none of the arms {', '.join(wanted)}")
    seeds = sorted({seed for _, seed in found})
    arms = [arm for arm in wanted if any(arm == key[0] for key in found)]
    comparison = Comparison(arms, seeds=seeds)
    for (arm, seed), path in found.items():
        for figure, value in recipe.figures(told, arm, recipe.restored(told, arm, data, path), data).items():
            comparison.add(arm, seed, figure, value, kind=recipe.kinds.get(figure, Kind.EXACT))
    show(comparison, f"{folder}: the saved arms on test data", against=arms[0])
    return 0


def _compared(recipe: Experiment[Any], told: Settings, arms: Sequence[str], folder: Path) -> Comparison:
    console = Console(stderr=True)

    def watch(arm: str, seed: int, found: Mapping[str, float]) -> None:
        first = next(iter(found))
        console.print(f"{arm}, seed {seed}: {first} {found[first]:.2f}, {found['seconds']:.0f} s")

    trial = partial(recipe.trial, told)
    return run_trials(
        trial,
        arms,
        range(told.seeds),
        folder,
        jobs=told.jobs,
        budget=recipe.budget,
        kinds=recipe.kinds,
        watch=watch,
    )


def _saved(folder: Path, recipe: Experiment[Any]) -> dict[tuple[str, int], Path]:
    """The weights of every arm and seed that a run has."""
    found = {}
    for path in sorted(folder.glob(f"*/seed-*/{WEIGHTS}")):
        arm, seed = path.parent.parent.name, path.parent.name.removeprefix("seed-")
        if arm in recipe.arms and seed.isdigit():
            found[arm, int(seed)] = path
    return found


def _write_settings(recipe: Experiment[Any], told: Settings, folder: Path) -> None:
    """The settings as JSON, without those that are this machine's affair.

    Raises:
        GraftError: the folder holds another run.
    """
    kept = {name: value for name, value in asdict(told).items() if name not in _FREE}
    page = {"system": recipe.name, "settings": json.loads(json.dumps(kept)), "torch": torch.__version__}
    if (folder / CONFIG).exists():
        before = _page(folder)
        if before["system"] != recipe.name or before["settings"] != page["settings"]:
            raise GraftError(f"{folder} holds a run with other settings; choose another folder with run=")
    put(folder / CONFIG, (json.dumps(page, indent=2) + "\n").encode())


def _page(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        page: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if page["system"] not in EXPERIMENTS or not isinstance(page["settings"], dict):
            raise GraftError(f"{path} holds the settings of a run of {page['system']}")
        return page
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GraftError(f"{path} does not hold the settings of a run: {error}") from error


def _kept(settings: Mapping[str, Any], words: Sequence[str]) -> dict[str, str]:
    """The settings of a run that are not told anew, as words."""
    anew = {word.partition("=")[0] for word in words}
    return {
        key: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in settings.items()
        if key not in anew
    }

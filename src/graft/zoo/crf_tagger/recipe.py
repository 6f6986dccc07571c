"""Arms times seeds: what `graft train crf_tagger` computes, pictures apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path

import torch

from graft.errors import GraftError
from graft.evaluation.arms import Comparison
from graft.evaluation.trials import run_trials
from graft.zoo.crf_tagger.arm import WEIGHTS, Bench
from graft.zoo.crf_tagger.config import ARMS, Config
from graft.zoo.crf_tagger.data import splits, treebank, vocabulary

#: Told of every arm and seed that is done, with its figures.
Watch = Callable[[str, int, Mapping[str, float]], None]
CONFIG, VOCABULARY = "config.json", "vocabulary.json"
#: Settings that another run of the same experiment may have otherwise.
_FREE = ("data", "run", "jobs", "device", "seeds", "arms", "criterion")


def run(config: Config, folder: Path, watch: Watch = lambda arm, seed, found: None) -> Comparison:
    """Train all arms with all seeds that are not there yet, each in a folder of its own, and compare them.

    Args:
        config: the settings.
        folder: of the run.
        watch: told of every arm.

    Raises:
        GraftError: the folder holds a run with other settings, or the treebank is not there.
    """
    _write_settings(config, folder)
    bench(config).vocabulary.write(folder / VOCABULARY)
    seeds = range(config.seeds)
    trial = partial(_trial, config)
    return run_trials(trial, config.methods, seeds, folder, jobs=config.jobs, budget="epochs", watch=watch)


@lru_cache(maxsize=1)
def bench(config: Config) -> Bench:
    """The data of a run, read once in a process."""
    parts = splits(config, treebank(config))
    return Bench.of(config, parts, vocabulary(config, parts.train))


def saved(folder: Path) -> dict[tuple[str, int], Path]:
    """The weights of every arm and seed that a run has."""
    found = {}
    for path in sorted(folder.glob(f"*/seed-*/{WEIGHTS}")):
        method, seed = path.parent.parent.name, path.parent.name.removeprefix("seed-")
        if method.partition("-")[0] in ARMS and seed.isdigit():
            found[method, int(seed)] = path
    return found


def _trial(config: Config, method: str, seed: int, folder: Path) -> dict[str, float]:
    return bench(config).run(method, seed, folder)


def _write_settings(config: Config, folder: Path) -> None:
    """The settings as JSON, without the data folder, which is this machine's affair."""
    path = folder / CONFIG
    if path.exists():
        before = read_settings(folder, data=config.data)
        differ = [
            name for name, value in asdict(config).items() if name not in _FREE and getattr(before, name) != value
        ]
        if differ:
            was = ", ".join(f"{name}={getattr(before, name)}" for name in differ)
            raise GraftError(f"{folder} holds a run with other settings: {was}; choose another folder with run=")
    told = {name: value for name, value in asdict(config).items() if name not in ("data", "run")}
    told = {"system": "crf_tagger", "settings": told, "torch": torch.__version__}
    path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def read_settings(folder: Path, *, data: str) -> Config:
    """The settings of a run.

    Raises:
        GraftError: the folder holds no run of the tagger.
    """
    path = folder / CONFIG
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["system"] != "crf_tagger":
            raise GraftError(f"{path} holds the settings of a run of {told['system']}, not of crf_tagger")
        return replace(Config(data=data or "."), **told["settings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, GraftError):
            raise
        raise GraftError(f"{path} does not hold the settings of a tagger: {error}") from error

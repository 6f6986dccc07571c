"""Arms times seeds: what `graft train crf_tagger` computes, pictures apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path

import torch

from graft.errors import GraftError
from graft.evaluation.arms import Comparison
from graft.evaluation.trials import run_trials
from graft.training.durable import put
from graft.zoo.crf_tagger.arm import WEIGHTS, Bench
from graft.zoo.crf_tagger.config import ARMS, Config
from graft.zoo.crf_tagger.data import splits, treebank
from graft.zoo.crf_tagger.data import vocabulary as vocabulary_of
from graft.zoo.crf_tagger.vocabulary import Vocabulary

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
    own = bench(config)  # first: what is wrong with the data is told before anything is written
    _write_settings(config, own.digest, folder)
    own.vocabulary.write(folder / VOCABULARY)
    seeds = range(config.seeds)
    trial = partial(_trial, config)
    return run_trials(trial, config.methods, seeds, folder, jobs=config.jobs, budget="epochs", watch=watch)


@lru_cache(maxsize=1)
def bench(config: Config, vocabulary: Vocabulary | None = None) -> Bench:
    """The data of a run, read once in a process.

    Args:
        config: the settings.
        vocabulary: of a saved run; that of the training data if not told.
    """
    parts = splits(config, treebank(config))
    return Bench.of(config, parts, vocabulary or vocabulary_of(config, parts.train))


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


def _write_settings(config: Config, digest: str, folder: Path) -> None:
    """The settings as JSON; of the data their digest, since the folder is this machine's affair."""
    path = folder / CONFIG
    if path.exists():
        before, data = _read(folder, data=config.data)
        told = asdict(config).items()
        differ = [name for name, value in told if name not in _FREE and getattr(before, name) != value]
        if differ:
            was = ", ".join(f"{name}={getattr(before, name)}" for name in differ)
            raise GraftError(f"{folder} holds a run with other settings: {was}; choose another folder with run=")
        if data != digest:
            raise GraftError(f"{folder} holds a run on other data; choose another folder with run=")
    kept = {name: value for name, value in asdict(config).items() if name not in ("data", "run")}
    page = {"system": "crf_tagger", "settings": kept, "data": digest, "torch": torch.__version__}
    put(path, (json.dumps(page, indent=2) + "\n").encode())


def read_settings(folder: Path, *, data: str) -> Config:
    """The settings of a run.

    Raises:
        GraftError: the folder holds no run of the tagger.
    """
    return _read(folder, data=data)[0]


def _read(folder: Path, *, data: str) -> tuple[Config, str]:
    path = folder / CONFIG
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["system"] != "crf_tagger":
            raise GraftError(f"{path} holds the settings of a run of {told['system']}, not of crf_tagger")
        return Config(**{**told["settings"], "data": data or "."}), str(told["data"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GraftError(f"{path} does not hold the settings of a tagger: {error}") from error

"""A saved run as arms that recognise again: settings from JSON, weights from safetensors, nothing executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from graft.data.batches import Splits
from graft.errors import GraftError
from graft.training.weights import load_weights
from graft.zoo.nn_hmm.arms import ARMS, Bench, Trained
from graft.zoo.nn_hmm.config import Config
from graft.zoo.nn_hmm.measure import ByModel, ByNetwork
from graft.zoo.nn_hmm.network import Classifier, network
from graft.zoo.nn_hmm.recipe import data


def load(folder: Path, recordings: str = "") -> tuple[Config, Splits, dict[str, Trained]]:
    """The settings, the data and the arms of the first seed of a run.

    Args:
        folder: that `graft train nn_hmm` wrote.
        recordings: where the recordings are, if the run is one on speech.

    Raises:
        GraftError: the folder is no such run, or its files do not fit each other.
        DataError: the recordings are not there.
    """
    config = _config(folder, recordings)
    splits = data(config)
    bench = Bench(config, splits, 0, lambda arm, epoch, found: None)
    return config, splits, {arm: _arm(arm, bench, folder / f"{arm}.safetensors") for arm in ARMS}


def _config(folder: Path, recordings: str) -> Config:
    path = folder / "config.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        settings: dict[str, Any] = told["settings"]
        settings["sequences"] = tuple(settings["sequences"])
        config = Config(**settings, folder=recordings or ("." if settings["data"] == "digits" else ""))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, GraftError):
            raise
        raise GraftError(f"{path} does not hold the settings of an nn_hmm run: {error}") from error
    return config


def _arm(arm: str, bench: Bench, path: Path) -> Trained:
    """An arm with the shapes of its settings, then its saved weights."""
    config, train = bench.config, bench.splits.train
    # weights are replaced at once, so the start must only have the right shapes, and leave the random state alone
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = network(train.frames.shape[-1], context=config.context, hidden=config.hidden, outputs=config.outputs)
        classifier = Classifier(net, config.outputs, len(train.names))
    module = classifier if arm == "network" else bench.chain(classifier)
    load_weights(module, path)
    if isinstance(module, Classifier):
        return Trained(module, ByNetwork(module, bench.splits.valid), 0)
    return Trained(module, ByModel(module, bench.states), 0)

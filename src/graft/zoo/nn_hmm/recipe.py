"""Arms times seeds: what `graft train nn_hmm` computes and writes, pictures apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from graft.data import digit_strings, spoken_digits
from graft.data.batches import Splits
from graft.evaluation.arms import Comparison, Kind
from graft.zoo.nn_hmm.arms import ARMS, Bench, Trained
from graft.zoo.nn_hmm.config import Config
from graft.zoo.nn_hmm.measure import figures

#: Told of every epoch: the seed, the arm, the epoch, and the figures on validation data.
Watch = Callable[[int, str, int, Mapping[str, float]], None]
HistoryRow = dict[str, str | int | float]


@dataclass
class Outcome:
    """What the runs found.

    Args:
        config: the settings.
        splits: the data.
        comparison: figures on test data of every arm and seed.
        trained: the arms of the first seed.
        history: figures on validation data of every epoch.
        kept: which epoch of the second half each arm kept, seed by seed.
    """

    config: Config
    splits: Splits
    comparison: Comparison
    trained: dict[str, Trained] = field(default_factory=dict)
    history: list[HistoryRow] = field(default_factory=list)
    kept: dict[str, list[int]] = field(default_factory=dict)


def data(config: Config) -> Splits:
    """The data that the settings ask for.

    Raises:
        DataError: the folder with the recordings is not there, or not what it should be.
    """
    if config.data == "digits":
        return digit_strings.load(config.sequences)
    return spoken_digits.load(config.folder, split=config.split, sequences=config.sequences)


def run(config: Config, watch: Watch = lambda seed, arm, epoch, found: None) -> Outcome:
    """Train all arms with all seeds and measure them on the test data, once each.

    Args:
        config: the settings.
        watch: told of every epoch.

    Raises:
        DataError: as `data` does.
    """
    seeds = range(config.seeds)
    outcome = Outcome(config, data(config), Comparison(ARMS, seeds=seeds))
    for seed in seeds:
        _one_seed(outcome, seed, watch)
    return outcome


def epochs(config: Config) -> int:
    """How many epochs a run takes in all."""
    return config.seeds * (config.pretraining + len(ARMS) * config.epochs)


def _one_seed(outcome: Outcome, seed: int, watch: Watch) -> None:
    def told(arm: str, epoch: int, found: Mapping[str, float]) -> None:
        outcome.history.append({"seed": seed, "arm": arm, "epoch": epoch, **found})
        watch(seed, arm, epoch, found)

    trained = Bench(outcome.config, outcome.splits, seed, told).arms()
    test = outcome.splits.test
    for arm, result in trained.items():
        outcome.kept.setdefault(arm, []).append(result.epoch)
        for figure, value in figures(result.recognise(test), test).items():
            outcome.comparison.add(arm, seed, figure, value, kind=Kind.EXACT)
    if not outcome.trained:
        outcome.trained = trained

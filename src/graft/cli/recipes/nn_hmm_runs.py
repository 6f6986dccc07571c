"""`graft evaluate RUN` and `graft sample RUN` for the classical hybrid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from graft.errors import GraftError
from graft.evaluation.arms import Comparison
from graft.model import Model
from graft.zoo.nn_hmm.files import WIDTH
from graft.zoo.nn_hmm.load import load
from graft.zoo.nn_hmm.measure import figures


def evaluate(words: Sequence[str]) -> int:
    """Measure the saved arms of a run on its test data again, and print the table.

    Args:
        words: the run's folder, then possibly folder=RECORDINGS.

    Raises:
        GraftError: no such run.
    """
    run, recordings, _ = _words(words)
    _, splits, arms = load(run, recordings)
    comparison = Comparison(tuple(arms), seeds=(0,))
    for arm, trained in arms.items():
        for figure, value in figures(trained.recognise(splits.test), splits.test).items():
            comparison.add(arm, 0, figure, value)
    Console(width=WIDTH).print(comparison.table(f"{run}: the arms of the first seed on test data"))
    return 0


def sample(words: Sequence[str]) -> int:
    """Draw label strings for a few test sequences from the joint arm's posterior, beside the truth.

    Args:
        words: the run's folder, then possibly folder=RECORDINGS and count=NUMBER.

    Raises:
        GraftError: no such run.
    """
    run, recordings, count = _words(words)
    _, splits, arms = load(run, recordings)
    model, test = arms["joint"].module, splits.test.batch(torch.arange(min(3, len(splits.test))))
    assert isinstance(model, Model)
    posterior = model.given(frames=test.frames, lengths=test.lengths)
    draws = posterior.sample(count, seed=0)["s"]
    for row, truth in enumerate(test.strings):
        print(f"test sequence {row}: truth {_spelt(truth, test.names)}")
        for draw in draws:
            (string,) = arms["joint"].recognise.states.strings(draw[row : row + 1], test.lengths[row : row + 1])  # type: ignore[attr-defined]
            print(f"  draw {_spelt(string, test.names)}")
    return 0


def _spelt(string: Sequence[int], names: Sequence[str]) -> str:
    return " ".join(names[label] for label in string)


def _words(words: Sequence[str]) -> tuple[Path, str, int]:
    """The run's folder, the folder of recordings, and a count."""
    found = {"folder": "", "count": "5"}
    for word in words[1:]:
        key, equals, value = word.partition("=")
        if not equals or key not in found:
            raise GraftError(f"after the run stand {' and '.join(f'{k}=' for k in found)}, not {word!r}")
        found[key] = value
    if not (found["count"].isascii() and found["count"].isdigit() and int(found["count"]) > 0):
        raise GraftError(f"count must be a whole number of at least 1, not {found['count']!r}")
    return Path(words[0]), found["folder"], int(found["count"])

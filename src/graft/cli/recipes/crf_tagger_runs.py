"""`graft evaluate RUN` and `graft tag RUN` for the tagger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from graft.cli.recipes.shown import show
from graft.errors import GraftError
from graft.evaluation.arms import Comparison
from graft.zoo.crf_tagger.recipe import bench, read_settings, saved
from graft.zoo.crf_tagger.tagger import Tagger, restored


def evaluate(words: Sequence[str]) -> int:
    """Measure every saved arm of a run on the test data again, and print the table.

    Args:
        words: the run's folder, then data=FOLDER.

    Raises:
        GraftError: no such run, or no data.
    """
    folder, found = Path(words[0]), _pairs(words[1:], {"data": ""})
    if not found["data"]:
        raise GraftError("say where the treebank is: graft evaluate RUN data=FOLDER")
    config = read_settings(folder, data=found["data"])
    arms = saved(folder)
    if not arms:
        raise GraftError(f"{folder} holds no trained arm")
    own = bench(config)
    methods, seeds = ([*dict.fromkeys(column)] for column in zip(*arms, strict=True))
    comparison = Comparison(methods, seeds=seeds)
    for (method, seed), path in arms.items():
        model = restored(config, own.vocabulary, method, path)
        for figure, value in own.measured(model, method.partition("-")[0]).items():
            comparison.add(method, seed, figure, value)
    show(comparison, f"{folder}: the saved arms on test data", against=methods[0])
    return 0


def tag(words: Sequence[str]) -> int:
    """Tag a sentence: each word's tag with its marginal probability, and the most probable sequences.

    Args:
        words: the run's folder, the sentence, then possibly arm=, seed= and best=.

    Raises:
        GraftError: no such run, or an empty sentence.
    """
    if len(words) < 2:
        raise GraftError('say which run and what to tag: graft tag RUN "a sentence" [arm=NAME] [seed=0] [best=3]')
    found = _pairs(words[2:], {"arm": "", "seed": "0", "best": "3"})
    if not (found["seed"].isdigit() and found["best"].isdigit() and int(found["best"]) > 0):
        raise GraftError(f"seed and best are whole numbers, best at least 1, not {found['seed']} and {found['best']}")
    tagger = Tagger.load(words[0], found["arm"] or None, int(found["seed"]))
    tagged = tagger.tag(words[1], int(found["best"]))
    console = Console()
    confidence = Column("confidence", justify="right")
    columns = Table("word", "tag", confidence, title=f"{tagger.arm}: the most probable sequence")
    for word, name, sure in zip(tagged.words, tagged.tags, tagged.confidence, strict=True):
        columns.add_row(Text(word), Text(name), f"{sure:.3f}")
    console.print(columns)
    for number, (tags, probability) in enumerate(tagged.best, 1):
        print(f"{number}. {probability:.4f}  {' '.join(tags)}")
    return 0


def _pairs(words: Sequence[str], found: dict[str, str]) -> dict[str, str]:
    """The settings among the words, with their defaults."""
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in found:
            raise GraftError(f"after the run may stand {', '.join(f'{k}=' for k in found)}, not {word!r}")
        found[key] = value
    return found

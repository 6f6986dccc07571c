"""`graft evaluate RUN` and `graft tag RUN` for the tagger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from graft.cli.recipes.shown import show
from graft.cli.settings import read
from graft.errors import GraftError
from graft.evaluation.arms import Comparison
from graft.zoo.crf_tagger.recipe import VOCABULARY, bench, read_settings, saved
from graft.zoo.crf_tagger.tagger import Tagger, restored
from graft.zoo.crf_tagger.vocabulary import Vocabulary


@dataclass(frozen=True)
class Where:
    """What may stand after the run to be measured.

    Args:
        data: folder of the treebank, or its name if graft can fetch it.
    """

    data: str = ""


@dataclass(frozen=True)
class Which:
    """What may stand after the sentence to be tagged.

    Args:
        arm: of the run; a CRF with neural scores if it has one.
        seed: of the arm.
        best: how many sequences to print.
    """

    arm: str = ""
    seed: int = 0
    best: int = 3


def evaluate(words: Sequence[str]) -> int:
    """Measure every saved arm of a run on the test data again, and print the table.

    Args:
        words: the run's folder, then data=FOLDER.

    Raises:
        GraftError: no such run, or no data.
    """
    folder, told = Path(words[0]), read(words[1:], Where)
    if not told.data:
        raise GraftError("say where the treebank is: graft evaluate RUN data=FOLDER")
    config = read_settings(folder, data=told.data)
    arms = saved(folder)
    if not arms:
        raise GraftError(f"{folder} holds no trained arm")
    own = bench(config, Vocabulary.read(folder / VOCABULARY))
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
    told = read(words[2:], Which)
    tagger = Tagger.load(words[0], told.arm or None, told.seed)
    tagged = tagger.tag(words[1], told.best)
    console = Console()
    confidence = Column("confidence", justify="right")
    columns = Table("word", "tag", confidence, title=f"{tagger.arm}: the most probable sequence")
    for word, name, sure in zip(tagged.words, tagged.tags, tagged.confidence, strict=True):
        columns.add_row(Text(word), Text(name), f"{sure:.3f}")
    console.print(columns)
    for number, (tags, log_prob) in enumerate(tagged.best, 1):
        # a long sentence has sequences enough for each to be rarer than a float can tell
        shown = f"{math.exp(log_prob):.4f}" if log_prob > -9 else f"exp({log_prob:.1f})"
        print(f"{number}. {shown}  {' '.join(tags)}")
    return 0

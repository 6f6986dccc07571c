"""A saved run, put to use: `Tagger.load("runs/tagger").tag("Time flies like an arrow.")`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.evaluation.trials import place
from graft.model import Model
from graft.training.weights import load_weights
from graft.zoo.crf_tagger.arm import WEIGHTS, device
from graft.zoo.crf_tagger.config import Config
from graft.zoo.crf_tagger.corpus import Corpus
from graft.zoo.crf_tagger.model import READS, Parts
from graft.zoo.crf_tagger.predict import WORDS, posteriors
from graft.zoo.crf_tagger.recipe import VOCABULARY, read_settings, saved
from graft.zoo.crf_tagger.tokens import words
from graft.zoo.crf_tagger.vocabulary import Vocabulary


@dataclass(frozen=True)
class Tagged:
    """A sentence with its tags.

    Args:
        words: its words.
        tags: of the most probable sequence.
        confidence: the marginal probability of each of these tags.
        best: the most probable sequences, best first, each with its log-probability in nats.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    confidence: tuple[float, ...]
    best: tuple[tuple[tuple[str, ...], float], ...]


@dataclass(frozen=True)
class Tagger:
    """A trained arm with its vocabulary.

    Args:
        model: in eval mode.
        vocabulary: of its training data.
        arm: which it is.
    """

    model: Model
    vocabulary: Vocabulary
    arm: str

    @classmethod
    def load(cls, run: str | Path, method: str | None = None, seed: int = 0, *, cpu: bool = False) -> Tagger:
        """An arm of a run that `graft train crf_tagger` wrote, on a GPU if there is one.

        Args:
            run: its folder.
            method: which arm; a CRF with neural scores if the run has one.
            seed: which of its seeds.
            cpu: even if there is a GPU.

        Raises:
            GraftError: no such run or arm, or its files do not fit each other. Nothing in them is executed.
        """
        folder = Path(run)
        config = read_settings(folder, data="")
        method = method or preferred(folder)
        vocabulary = Vocabulary.read(folder / VOCABULARY)
        weights = place(folder, method, seed) / WEIGHTS
        if not weights.exists():
            raise GraftError(f"{folder} holds no arm {method!r} with seed {seed}: there is no {weights}")
        return cls(restored(config, vocabulary, method, weights, cpu=cpu), vocabulary, method.partition("-")[0])

    def tag(self, sentence: str | Sequence[str], best: int = 3) -> Tagged:
        """Tag one sentence: a text, which is split by rule, or its words.

        Raises:
            GraftError: there are no words.
        """
        return self.tag_all([sentence], best)[0]

    @torch.no_grad()
    def tag_all(self, sentences: Sequence[Any], best: int = 3) -> list[Tagged]:
        """Tag sentences, in batches of like length.

        Raises:
            GraftError: there are no sentences, or one has no words.
        """
        if isinstance(sentences, str):
            raise GraftError("tag_all takes a list of sentences, not one text: say tag")
        if not isinstance(best, int) or best < 1:
            raise GraftError(f"best must be a whole number of at least 1, not {best!r}")
        split = [_split(number, sentence) for number, sentence in enumerate(sentences)]
        corpus = Corpus.of(split, self.vocabulary)
        found: dict[int, Tagged] = {}
        for part in posteriors(self.model, corpus, READS[self.arm], WORDS):
            posterior = part.posterior
            states, scores = posterior.top_k(best)
            log_probs = (scores - posterior.log_partition).cpu()
            sure = posterior.marginals["y"].probs.gather(-1, states["y"][0].unsqueeze(-1)).squeeze(-1).cpu()
            for k, row in enumerate(part.rows.tolist()):
                found[row] = self._one(split[row], states["y"][:, k].cpu(), log_probs[:, k], sure[k])
        return [found[row] for row in range(len(split))]

    def _one(self, sentence: tuple[str, ...], states: Tensor, log_probs: Tensor, sure: Tensor) -> Tagged:
        size, names = len(sentence), self.vocabulary.tags
        rows = [tuple(names[k] for k in row[:size].tolist()) for row in states]
        # there may be fewer sequences than asked for
        ranked = tuple((row, p) for row, p in zip(rows, log_probs.tolist(), strict=True) if p > -torch.inf)
        return Tagged(sentence, rows[0], tuple(sure[:size].tolist()), ranked)


def _split(number: int, sentence: Any) -> tuple[str, ...]:
    if isinstance(sentence, str):
        return tuple(words(sentence))
    if not isinstance(sentence, Sequence) or any(not isinstance(word, str) or not word for word in sentence):
        raise GraftError(f"sentence {number} must be a text or a list of words, not {sentence!r}")
    return tuple(sentence)


def preferred(folder: Path) -> str:
    """The arm that a user of a run most likely wants."""
    there = [method for method, _ in saved(folder)]
    if not there:
        raise GraftError(f"{folder} holds no trained arm")
    return next((method for method in ("unaries", "transitions") if method in there), there[-1])


def restored(config: Config, vocabulary: Vocabulary, method: str, weights: Path, *, cpu: bool = False) -> Model:
    """An arm with the shapes of its settings, then its saved weights."""
    # weights are replaced at once, so the start must only have the right shapes, and leave the random state alone
    try:
        with torch.random.fork_rng(devices=[]):
            model = Parts(config, vocabulary).model(method.partition("-")[0])
    except RuntimeError as error:
        raise GraftError(f"no model can be made with the settings of {weights.parents[2]}: {error}") from error
    load_weights(model, weights)
    return model.to("cpu" if cpu else device(config)).eval()

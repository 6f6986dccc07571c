"""A saved run, put to use: `Tagger.load("runs/tagger").tag("Time flies like an arrow.")`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

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
        best: the most probable sequences, best first, each with its probability.
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
    def tag_all(self, sentences: Sequence[str | Sequence[str]], best: int = 3) -> list[Tagged]:
        """Tag sentences, in batches of like length.

        Raises:
            GraftError: there are no sentences, or one has no words.
        """
        split = [tuple(words(s)) if isinstance(s, str) else tuple(s) for s in sentences]
        corpus = Corpus.of(split, self.vocabulary)
        found: dict[int, Tagged] = {}
        for part in posteriors(self.model, corpus, READS[self.arm], WORDS):
            posterior = part.posterior
            states, scores = posterior.top_k(best)
            probs = (scores - posterior.log_partition).exp().cpu()
            sure = posterior.marginals["y"].probs.gather(-1, states["y"][0].unsqueeze(-1)).squeeze(-1).cpu()
            for k, row in enumerate(part.rows.tolist()):
                found[row] = self._one(split[row], states["y"][:, k].cpu(), probs[:, k], sure[k])
        return [found[row] for row in range(len(split))]

    def _one(self, sentence: tuple[str, ...], states: torch.Tensor, probs: torch.Tensor, sure: torch.Tensor) -> Tagged:
        size, names = len(sentence), self.vocabulary.tags
        rows = [tuple(names[k] for k in row[:size].tolist()) for row in states]
        # there may be fewer sequences than asked for
        ranked = tuple((row, p) for row, p in zip(rows, probs.tolist(), strict=True) if p > 0)
        return Tagged(sentence, rows[0], tuple(sure[:size].tolist()), ranked)


def preferred(folder: Path) -> str:
    """The arm that a user of a run most likely wants."""
    there = [method for method, _ in saved(folder)]
    if not there:
        raise GraftError(f"{folder} holds no trained arm")
    return next((method for method in ("unaries", "transitions") if method in there), there[-1])


def restored(config: Config, vocabulary: Vocabulary, method: str, weights: Path, *, cpu: bool = False) -> Model:
    """An arm with the shapes of its settings, then its saved weights."""
    # weights are replaced at once, so the start must only have the right shapes, and leave the random state alone
    with torch.random.fork_rng(devices=[]):
        model = Parts(config, vocabulary).model(method.partition("-")[0])
    load_weights(model, weights)
    return model.to("cpu" if cpu else device(config)).eval()

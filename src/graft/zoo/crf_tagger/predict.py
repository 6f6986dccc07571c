"""What an arm says of a corpus: decisions, marginals and probabilities, word by word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graft.data.tag_schemes import Allowed
from graft.model import Model
from graft.posterior import Posterior
from graft.structured.linear_chain import LinearChain
from graft.zoo.crf_tagger.corpus import Corpus

#: Words in a batch that nobody differentiates, padding included.
WORDS = 4000


@dataclass(frozen=True)
class Found:
    """What was found for the N words of M sentences.

    Args:
        mode: (N,), the tags of each sentence's most probable sequence.
        best: (N,), the most probable tag of each word: the decision of least expected Hamming loss.
        confidence: (N,), the probability of that tag.
        log_prob: (M,), that of the true tags of each sentence in nats, the untold ones summed out.
    """

    mode: Int[Tensor, " N"]
    best: Int[Tensor, " N"]
    confidence: Float[Tensor, " N"]
    log_prob: Float[Tensor, " M"]


@dataclass(frozen=True)
class Part:
    """A batch of a corpus and the posterior of its tags.

    Args:
        rows: numbers of its sentences.
        place: where its words stand in the corpus.
        there: (rows, time), which words exist.
        tags: (rows, time), on the model's device.
        posterior: of the tags.
    """

    rows: Tensor
    place: Tensor
    there: Tensor
    tags: Tensor
    posterior: Posterior

    def words(self, found: Tensor) -> Tensor:
        """(rows, time) to the words that exist."""
        return found.cpu()[self.there]


@torch.no_grad()
def modes(model: Model, corpus: Corpus, reads: tuple[str, ...]) -> Int[Tensor, " N"]:
    """The most probable sequences alone."""
    found = torch.empty_like(corpus.tags)
    for part in posteriors(model, corpus, reads):
        found[part.place] = part.words(part.posterior.mode()["y"])
    return found


@torch.no_grad()
def predict(model: Model, corpus: Corpus, reads: tuple[str, ...]) -> Found:
    """Everything the figures need.

    Args:
        model: in eval mode.
        corpus: the sentences.
        reads: the inputs of the arm.
    """
    mode, best = torch.empty_like(corpus.tags), torch.empty_like(corpus.tags)
    confidence = torch.empty(corpus.tags.shape)
    log_prob = torch.empty(corpus.lengths.shape)
    for part in posteriors(model, corpus, reads):
        top, tag = part.posterior.marginals["y"].probs.max(-1)
        mode[part.place] = part.words(part.posterior.mode()["y"])
        best[part.place], confidence[part.place] = part.words(tag), part.words(top)
        log_prob[part.rows] = part.posterior.log_prob(y=part.tags).cpu()
    return Found(mode, best, confidence, log_prob)


@torch.no_grad()
def legal_modes(model: Model, corpus: Corpus, reads: tuple[str, ...], may: Allowed) -> Int[Tensor, " N"]:
    """The best legal sequences of an arm whose tags are independent: its softmax under the rules of the scheme."""
    found = torch.empty_like(corpus.tags)
    start, pairs = (torch.zeros(x.shape).masked_fill(~x, -torch.inf) for x in (may.first, may.pairs))
    for part in posteriors(model, corpus, reads):
        unary = part.posterior.marginals["y"].logits.cpu()
        unary = torch.cat([unary[:, :1] + start, unary[:, 1:]], 1)
        found[part.place] = part.words(LinearChain(unary, pairs, mask=part.there).mode())
    return found


def device_of(model: Model) -> torch.device:
    """Where its parameters are."""
    return next(model.parameters()).device


def posteriors(model: Model, corpus: Corpus, reads: tuple[str, ...], words: int = WORDS) -> Iterator[Part]:
    """The posterior of all tags of a corpus, sentences of like length together.

    Args:
        model: in eval mode.
        corpus: the sentences.
        reads: the inputs of the arm.
        words: that a batch holds at most, padding included, or one sentence.
    """
    device = device_of(model)
    for rows in corpus.parts(words):
        batch = corpus.batch(rows, reads)
        steps = torch.arange(batch["y"].shape[1])
        there = steps < batch["lengths"][:, None]
        place = (corpus.starts[rows][:, None] + steps)[there]
        given = {name: batch[name].to(device) for name in (*reads, "lengths")}
        yield Part(rows, place, there, batch["y"].to(device), model.given(**given))

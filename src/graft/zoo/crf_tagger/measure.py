"""The figures of the comparison, the same for all arms."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from graft.data.spans import SpanScores, span_scores
from graft.data.tag_schemes import allowed, decode
from graft.evaluation.calibration import Reliability, reliability
from graft.zoo.crf_tagger.corpus import Corpus
from graft.zoo.crf_tagger.predict import Found

#: What an epoch is chosen by, task by task.
SELECTED = MappingProxyType({"upos": "words %", "chunks": "F1 %"})


def selection(task: str, tags: Sequence[str], mode: Int[Tensor, " N"], corpus: Corpus) -> dict[str, float]:
    """The figure that an epoch is chosen by."""
    found = 100 * spans(tags, mode, corpus).f1 if task == "chunks" else _percent(mode == corpus.tags)
    return {SELECTED[task]: found}


def figures(
    task: str, tags: Sequence[str], found: Found, corpus: Corpus, seen: Bool[Tensor, "S S"]
) -> dict[str, float]:
    """The columns of the table.

    Args:
        task: "upos" or "chunks".
        tags: their names.
        found: what the arm says.
        corpus: with all tags told.
        seen: which pairs of neighbouring tags the training data have.

    Returns:
        Per cent of words and of whole sentences that the most probable sequence has right, of words that the most
        probable tags have right; nats a word of the true tags; the calibration error of the marginals in per cent;
        neighbours in 1,000 that the training data lack, among those of the most probable sequence; for chunks also
        their F1 and the share of sentences with an illegal sequence.
    """
    right = found.mode == corpus.tags
    pairs = _neighbours(found.mode, corpus)
    return {
        "words %": _percent(right),
        "sentences %": _percent(whole(right, corpus)),
        "words by marginals %": _percent(found.best == corpus.tags),
        "log p per word": float(found.log_prob.double().sum() / len(corpus.tags)),
        "calibration error %": 100 * table(found, corpus).error,
        "new pairs per 1000": 1000 * float((~seen[pairs[:, 0], pairs[:, 1]]).double().mean()),
        **(_of_chunks(tags, found, corpus) if task == "chunks" else {}),
    }


def table(found: Found, corpus: Corpus) -> Reliability:
    """The marginals' confidences against what is right."""
    return reliability(found.confidence, found.best == corpus.tags)


def whole(right: Bool[Tensor, " N"], corpus: Corpus) -> Bool[Tensor, " M"]:
    """Which sentences have all their words right.

    Example:
        >>> corpus = Corpus(*(torch.zeros(3),) * 5, lengths=torch.tensor([2, 1]))
        >>> whole(torch.tensor([True, False, True]), corpus)
        tensor([False,  True])
    """
    sentence = torch.arange(len(corpus)).repeat_interleave(corpus.lengths)
    return torch.zeros(len(corpus)).index_add(0, sentence, (~right).float()) == 0


def pairs_seen(corpus: Corpus, tags: int) -> Bool[Tensor, "S S"]:
    """Which tags (first axis) stand before which (second axis) in a corpus with all tags told."""
    seen = torch.zeros(tags, tags, dtype=torch.bool)
    pairs = _neighbours(corpus.tags, corpus)
    seen[pairs[:, 0], pairs[:, 1]] = True
    return seen


def spans(tags: Sequence[str], mode: Int[Tensor, " N"], corpus: Corpus) -> SpanScores:
    """Spans found and missed; an illegal sequence is read as the CoNLL shared tasks did."""
    gold, own = (_named(tags, x, corpus) for x in (corpus.tags, mode))
    rows = zip(gold, own, strict=True)
    return sum((span_scores(decode(g), decode(o, lenient=True)) for g, o in rows), start=SpanScores())


def _of_chunks(tags: Sequence[str], found: Found, corpus: Corpus) -> dict[str, float]:
    may = allowed(tags)
    pairs, inside = _neighbours(found.mode, corpus), _second(corpus)
    broken = torch.zeros(len(corpus.tags), dtype=torch.bool)
    broken[inside] = ~may.pairs[pairs[:, 0], pairs[:, 1]]
    broken |= ~inside & ~may.first[found.mode]
    return {
        "F1 %": 100 * spans(tags, found.mode, corpus).f1,
        "illegal sentences %": 100 - _percent(whole(~broken, corpus)),
    }


def _named(tags: Sequence[str], ids: Tensor, corpus: Corpus) -> list[list[str]]:
    return [[tags[k] for k in row.tolist()] for row in ids.split(corpus.lengths.tolist())]


def _second(corpus: Corpus) -> Bool[Tensor, " N"]:
    """Which words have another before them in their sentence."""
    later = torch.ones(len(corpus.tags), dtype=torch.bool)
    later[corpus.starts] = False
    return later


def _neighbours(ids: Tensor, corpus: Corpus) -> Int[Tensor, "pairs 2"]:
    """The tags of neighbours in a sentence, earlier and later."""
    return torch.stack([ids.roll(1), ids], -1)[_second(corpus)]


def _percent(right: Tensor) -> float:
    return 100 * float(right.double().mean())

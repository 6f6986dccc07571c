"""Sentences as flat tensors, and batches of them as dicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from graft.data.batches import ByLength
from graft.errors import DataError
from graft.zoo.crf_tagger.features import AFFIXES, CONTEXTS
from graft.zoo.crf_tagger.vocabulary import PADDING, WIDTH, Vocabulary

#: The tag of a word that nobody annotated.
UNTOLD = -1
Batch = dict[str, Any]


@dataclass(frozen=True)
class Corpus:
    """N words of M sentences, one after the other: nothing is padded until a batch is made.

    Args:
        words: integers (N,).
        chars: integers (N, `WIDTH`).
        affixes: integers (N, features of a word's spelling).
        contexts: integers (N, features of a word among its neighbours).
        tags: integers (N,), -1 where nobody annotated.
        lengths: integers (M,), words of each sentence, at least 1.
    """

    words: Tensor
    chars: Tensor
    affixes: Tensor
    contexts: Tensor
    tags: Tensor
    lengths: Tensor

    @classmethod
    def of(
        cls, sentences: Sequence[Sequence[str]], vocabulary: Vocabulary, labels: Sequence[Sequence[str]] | None = None
    ) -> Corpus:
        """Sentences of words, and their tags if they are known.

        Raises:
            DataError: there are no sentences, one of them is empty, or its tags are not as many as its words.
            GraftError: a tag is none of the vocabulary.
        """
        _check(sentences, labels)
        words = [word for sentence in sentences for word in sentence]
        told = None if labels is None else [vocabulary.tag(tag) for row in labels for tag in row]
        placed = [row for sentence in sentences for row in vocabulary.placed(sentence)]
        return cls(
            words=torch.tensor([vocabulary.word(word) for word in words]),
            chars=_table([vocabulary.spelt(word) for word in words], WIDTH),
            affixes=_table([vocabulary.affixed(word) for word in words], AFFIXES),
            contexts=_table(placed, CONTEXTS),
            tags=torch.full((len(words),), UNTOLD) if told is None else torch.tensor(told),
            lengths=torch.tensor([len(sentence) for sentence in sentences]),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def starts(self) -> Tensor:
        """Where each sentence begins (M,)."""
        return self.lengths.cumsum(0) - self.lengths

    def batch(self, rows: Sequence[int] | Tensor, reads: Sequence[str]) -> Batch:
        """Some sentences, padded to the longest of them: the inputs asked for, `lengths` and tags `y`."""
        index = torch.as_tensor(rows, dtype=torch.long)
        lengths = self.lengths[index]
        steps = torch.arange(int(lengths.max()))
        there = steps < lengths[:, None]
        place = (self.starts[index][:, None] + steps).where(there, 0)
        inputs = {name: getattr(self, name)[place] for name in reads}
        inputs = {name: value.masked_fill(_wide(~there, value), PADDING) for name, value in inputs.items()}
        return {**inputs, "lengths": lengths, "y": self.tags[place].masked_fill(~there, UNTOLD)}

    def annotated(self, share: float, seed: int) -> Corpus:
        """The same sentences with a random share of the words annotated, the tags of the others untold."""
        generator = torch.Generator().manual_seed(seed)
        told = torch.rand(len(self.tags), generator=generator) < share
        return replace(self, tags=self.tags.where(told, UNTOLD))

    def parts(self, size: int) -> Iterator[Tensor]:
        """The numbers of all sentences, those of like length together.

        Args:
            size: words that a batch of a part holds at most, padding included, or one sentence.
        """
        rows: list[int] = []
        for row in self.lengths.argsort(stable=True).tolist():
            if rows and int(self.lengths[row]) * (len(rows) + 1) > size:
                yield torch.tensor(rows)
                rows = []
            rows.append(row)
        yield torch.tensor(rows)


def loader(corpus: Corpus, size: int, reads: Sequence[str], *, generator: torch.Generator) -> DataLoader[Batch]:
    """Shuffled batches of `size` sentences of like length, for training."""
    sampler = ByLength(corpus.lengths, size, generator)
    return DataLoader(_Rows(corpus, reads), sampler=sampler, batch_size=None, generator=generator)


class _Rows(Dataset[Batch]):
    def __init__(self, corpus: Corpus, reads: Sequence[str]) -> None:
        self.corpus, self.reads = corpus, reads

    def __len__(self) -> int:
        return len(self.corpus)

    def __getitem__(self, rows: list[int]) -> Batch:
        return self.corpus.batch(rows, self.reads)


def _table(rows: list[list[int]], width: int) -> Tensor:
    return torch.tensor(rows, dtype=torch.int32).reshape(-1, width)


def _wide(where: Tensor, like: Tensor) -> Tensor:
    return where.reshape(*where.shape, *(1,) * (like.dim() - where.dim()))


def _check(sentences: Sequence[Sequence[str]], labels: Sequence[Sequence[str]] | None) -> None:
    if not sentences:
        raise DataError("there are no sentences")
    for number, sentence in enumerate(sentences):
        if not sentence:
            raise DataError(f"sentence {number} is empty")
        if labels is not None and len(labels[number]) != len(sentence):
            raise DataError(f"sentence {number} has {len(sentence)} words and {len(labels[number])} tags")

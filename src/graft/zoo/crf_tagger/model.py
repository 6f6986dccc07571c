"""The arms as graft models: what stands between the words and the tags."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from graft.data.tag_schemes import allowed
from graft.distributions.supports import Finite, Real
from graft.factors.categorical import Categorical
from graft.factors.function import Function
from graft.factors.scores import Scores
from graft.factors.tables import Table
from graft.model import Model
from graft.zoo.crf_tagger.config import Config
from graft.zoo.crf_tagger.features import AFFIXES, CONTEXTS
from graft.zoo.crf_tagger.network import Bag, Encoder
from graft.zoo.crf_tagger.vocabulary import WIDTH, Vocabulary

Supports = dict[str, Finite | Real]
#: The inputs of each arm.
READS = MappingProxyType(
    {
        "softmax": ("words", "chars", "affixes"),
        "table": ("affixes", "contexts"),
        "unaries": ("words", "chars", "affixes"),
        "transitions": ("words", "chars", "affixes"),
    }
)


@dataclass(frozen=True)
class Parts:
    """What the arms are put together from.

    Args:
        config: sizes.
        vocabulary: of words and tags.
    """

    config: Config
    vocabulary: Vocabulary

    def model(self, arm: str) -> Model:
        """An untrained arm.

        - `softmax`: the tags are independent given the words.
        - `table`: a chain of tags with a table for neighbours, and one weight for each feature of a word and tag.
        - `unaries`: the network of the softmax arm gives the scores of the tags, a table those of neighbours.
        - `transitions`: the network gives the scores of neighbours too, at every place.
        """
        factors, supports = getattr(self, f"_{arm}")()
        names = self.vocabulary.tags
        return Model(factors, support={**supports, "y": Finite(len(names))}, labels={"y": names})

    def _softmax(self) -> tuple[dict[str, nn.Module], Supports]:
        head = Categorical(self._network(), self._tags, onehot=False, concat=False)
        return {"y[t] | words[t], chars[t], affixes[t], lengths": head}, self._spelt

    def _table(self) -> tuple[dict[str, nn.Module], Supports]:
        spelt, placed = (
            Scores(Bag(self.vocabulary.sizes[name], self._tags), states=self._tags) for name in ("affixes", "contexts")
        )
        supports: Supports = {"affixes": Real(AFFIXES), "contexts": Real(CONTEXTS)}
        return {"y[t] | affixes[t]": spelt, "y[t] | contexts[t]": placed, **self._tables()}, supports

    def _unaries(self) -> tuple[dict[str, nn.Module], Supports]:
        scores = Scores(self._network(), states=self._tags, onehot=False, concat=False)
        return {"y[t] | words[t], chars[t], affixes[t], lengths": scores, **self._tables()}, self._spelt

    def _transitions(self) -> tuple[dict[str, nn.Module], Supports]:
        encoder = self._encoder()
        return {
            "h[t] = words[t], chars[t], affixes[t], lengths": Function(
                encoder, dim=encoder.size, onehot=False, concat=False
            ),
            "y[t] | h[t]": Scores(nn.Linear(encoder.size, self._tags), states=self._tags),
            "y[t-1], y[t] | h[t]": Scores(Pairs(encoder.size, self._tags), states=(self._tags, self._tags)),
            **self._tables(),
        }, self._spelt

    @property
    def _tags(self) -> int:
        return len(self.vocabulary.tags)

    @property
    def _spelt(self) -> Supports:
        return {"words": Finite(self.vocabulary.sizes["words"]), "chars": Real(WIDTH), "affixes": Real(AFFIXES)}

    def _encoder(self) -> Encoder:
        config, vocabulary = self.config, self.vocabulary
        none = vocabulary.sizes["words"] - len(vocabulary.counts)
        return Encoder(
            torch.tensor((*(0,) * none, *vocabulary.counts), dtype=torch.float),
            vocabulary.sizes["chars"],
            vocabulary.sizes["affixes"],
            word=config.word,
            filters=config.filters,
            hidden=config.hidden,
            layers=config.layers,
            dropout=config.dropout,
        )

    def _network(self) -> Emissions:
        return Emissions(self._encoder(), self._tags)

    def _tables(self) -> dict[str, nn.Module]:
        """Scores of the first tag, of neighbours and of the last one; what the scheme forbids is impossible."""
        size = self._tags
        first, pairs, last = torch.zeros(size), torch.zeros(size, size), torch.zeros(size)
        if self.config.task == "chunks":
            may = allowed(self.vocabulary.tags, "BIO")
            first, pairs, last = (_forbidden(t) for t in (may.first, may.pairs, may.last))
        return {"y[t-1], y[t]": Table(values=pairs), "y[0]": Table(values=first), "y[-1]": Table(values=last)}


class Emissions(nn.Module):
    """Scores of all tags for every word.

    Args:
        encoder: gives each word its vector.
        tags: how many there are.
    """

    def __init__(self, encoder: Encoder, tags: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.size, tags)

    def forward(self, words: Tensor, chars: Tensor, affixes: Tensor, lengths: Tensor) -> Tensor:
        """What the encoder takes to (rows, time, tags)."""
        return self.head(self.encoder(words, chars, affixes, lengths))


class Pairs(nn.Module):
    """Scores of all pairs of neighbouring tags, from the later word's vector; they start at nothing.

    Args:
        size: length of a vector.
        tags: how many there are.
    """

    def __init__(self, size: int, tags: int) -> None:
        super().__init__()
        self.tags, self.head = tags, nn.Linear(size, tags * tags)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., size) to (..., tags, tags)."""
        return self.head(x).unflatten(-1, (self.tags, self.tags))


def _forbidden(may: Tensor) -> Tensor:
    return torch.zeros(may.shape).masked_fill(~may, -torch.inf)

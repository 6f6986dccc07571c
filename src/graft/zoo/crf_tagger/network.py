"""Words and characters to a vector for each word: embeddings, a convolution over characters, a BiLSTM."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from graft.zoo.crf_tagger.vocabulary import PADDING, UNKNOWN


class Encoder(nn.Module):
    r"""A vector for every word that knows its sentence.

    While it trains, a word of count c is taken for an unknown one with probability $a / (a + c)$, so that the unknown
    word's embedding learns what rare words are like (Kiperwasser & Goldberg 2016, section 4.1, a = 1/4).

    Args:
        counts: (V,), how often each word stands in the training data; 0 for what is no word.
        chars: how many characters there are.
        affixes: how many features of spelling there are.
        word: length of a word's embedding.
        affix: length of the sum of its affixes' embeddings.
        char: length of a character's embedding.
        filters: of the convolution over characters.
        hidden: length of each direction's state.
        layers: of the LSTM.
        dropout: of its inputs, between its layers and of its outputs.

    Source: Ma & Hovy, *End-to-end sequence labeling via bi-directional LSTM-CNNs-CRF* (2016).
    """

    def __init__(
        self,
        counts: Tensor,
        chars: int,
        affixes: int,
        *,
        word: int = 100,
        affix: int = 64,
        char: int = 32,
        filters: int = 64,
        hidden: int = 200,
        layers: int = 2,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        self.size = 2 * hidden
        self.forgotten: Tensor
        self.words = nn.Embedding(len(counts), word, padding_idx=PADDING)
        self.spelling = Spelling(chars, char, filters)
        self.affixes = nn.EmbeddingBag(affixes, affix, mode="sum", padding_idx=PADDING)
        nn.init.normal_(self.affixes.weight, std=0.3)  # six of them add up to something like one
        self.lstm = nn.LSTM(
            word + self.spelling.size + affix,
            hidden,
            num_layers=layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("forgotten", torch.where(counts > 0, 0.25 / (0.25 + counts), 0.0), persistent=False)

    def forward(self, words: Tensor, chars: Tensor, affixes: Tensor, lengths: Tensor) -> Tensor:
        """(rows, time), (rows, time, width), (rows, time, affixes of a word) and (rows,) to (rows, time, `size`)."""
        if self.training:
            words = words.masked_fill(torch.rand_like(self.forgotten[words]) < self.forgotten[words], UNKNOWN)
        # packing refuses empty rows; nobody looks at their vectors
        ends = lengths.clamp_min(1).cpu()
        there = torch.arange(words.shape[1], device=words.device) < lengths[:, None]
        spelt = chars.new_zeros((*words.shape, self.spelling.size), dtype=self.words.weight.dtype)
        # of the words that exist alone: most of the padding would be characters
        spelt = spelt.masked_scatter(there[..., None], self.spelling(chars[there]))
        shaped = self.affixes(affixes.flatten(0, -2)).unflatten(0, words.shape)
        x = self.dropout(torch.cat([self.words(words), spelt, shaped], -1))
        packed = pack_padded_sequence(x, ends, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=words.shape[1])
        return self.dropout(out)


class Spelling(nn.Module):
    r"""A vector for a word from its characters: a convolution, then the greatest answer of each filter.

    With an alphabet this small, $\sum_k W_k e(c_{i+k})$ is quicker looked up than multiplied: the products $W_k e(c)$
    of all characters are one small table. Each distinct word is dealt with once.

    Args:
        chars: how many characters there are.
        char: length of a character's embedding.
        filters: of the convolution.
        span: characters that a filter sees.
    """

    def __init__(self, chars: int, char: int, filters: int, span: int = 5) -> None:
        super().__init__()
        self.size, self.reach = filters, span // 2
        self.embedding = nn.Embedding(chars, char, padding_idx=PADDING)
        self.filters = nn.Conv1d(char, filters, span, padding=self.reach)

    def forward(self, chars: Tensor) -> Tensor:
        """(words, width) to (words, `size`)."""
        distinct, place = torch.unique(chars, dim=0, return_inverse=True)
        padded = nn.functional.pad(distinct.long(), (self.reach, self.reach), value=PADDING)
        # (span, chars, filters)
        table = torch.einsum("ce,fek->kcf", self.embedding.weight, self.filters.weight)
        places = (padded[:, k : k + chars.shape[1]] for k in range(len(table)))
        answers = torch.stack([nn.functional.embedding(c, t) for c, t in zip(places, table, strict=True)]).sum(0)
        best = torch.relu(answers.amax(1) + self.filters.bias)
        return best[place]


class Bag(nn.Module):
    """A score of each tag from indicator features: a log-linear model.

    Args:
        features: how many there are.
        tags: how many there are.
    """

    def __init__(self, features: int, tags: int) -> None:
        super().__init__()
        self.weights = nn.EmbeddingBag(features, tags, mode="sum", padding_idx=PADDING)
        nn.init.zeros_(self.weights.weight)
        self.bias = nn.Parameter(torch.zeros(tags))

    def forward(self, features: Tensor) -> Tensor:
        """(rows, time, features of a word) to (rows, time, tags)."""
        return self.weights(features.flatten(0, -2)).unflatten(0, features.shape[:-1]) + self.bias

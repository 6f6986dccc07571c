"""Labels of sequences: hidden Markov models, taggers, conditional random fields, and the classical hybrid."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from graft.distributions.supports import Finite, Real
from graft.factors.categorical import Categorical
from graft.factors.function import Function
from graft.factors.gaussian import Gaussian
from graft.factors.scores import Scores
from graft.factors.tables import Table
from graft.model import Model
from graft.zoo.system import System
from graft.zoo.systems.nets import mlp

TAGS = ("verb", "noun", "preposition", "determiner")


def hmm() -> Model:
    """The hidden Markov model."""
    return Model({
        "s[0]": Categorical(4),
        "s[t] | s[t-1]": Categorical(4, given=4),
        "w[t] | s[t]": Categorical(6, given=4),
    }, labels={"s": TAGS})  # fmt: skip


def mrf_tagger() -> Model:
    """The MRF tagger."""
    return Model({
        "y[t-1], y[t]": Table(4, 4),
        "y[t], w[t]": Table(4, 6),
    }, labels={"y": TAGS})  # fmt: skip


def table_crf() -> Model:
    """The conditional random field."""
    return Model({
        "y[t-1], y[t]": Table(4, 4),
        "y[t] | w[t]": Scores(nn.Embedding(6, 4), states=4, onehot=False),
    }, support={"w": Finite(6)}, labels={"y": TAGS})  # fmt: skip


class BiLSTM(nn.Module):
    """Scores of all labels at every step from a bidirectional LSTM that stops where each row ends.

    Args:
        features: length of an input.
        hidden: length of each direction's state.
        labels: how many there are.
    """

    def __init__(self, features: int, hidden: int, labels: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, labels)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(rows, time, features) and (rows,) to (rows, time, labels)."""
        # packing refuses empty rows; nobody looks at their scores
        ends = lengths.clamp_min(1).cpu()
        packed = pack_padded_sequence(x, ends, batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        return self.head(out)


def neural_crf() -> Model:
    """The neural CRF."""
    return Model({
        "y[t-1], y[t]": Table(4, 4),
        "y[t] | x, lengths": Scores(BiLSTM(3, 5, 4), states=4, concat=False),
    }, labels={"y": TAGS})  # fmt: skip


def nn_hmm() -> Model:
    """The NN + HMM."""
    return Model({
        "s[0]": Categorical(4),
        "s[t] | s[t-1]": Categorical(4, given=4),
        "y[t] = frames[t]": Function(mlp(6, 8, 3), dim=3),
        "m[t] | s[t]": Categorical(2, given=4),
        "y[t] | s[t], m[t]": Gaussian(dim=3, given=(4, 2), covariance="full"),
    }, support={"frames": Real(6)})  # fmt: skip


def _lengths(batch: tuple[int, ...], size: int) -> dict[str, Tensor]:
    count = int(torch.Size(batch).numel())
    return {"t": (size - torch.arange(count) % 2).reshape(batch)}


def _words(batch: tuple[int, ...]) -> dict[str, Any]:
    return {"w": torch.randint(6, (*batch, 5))}


def _embedded(batch: tuple[int, ...]) -> dict[str, Any]:
    return {"x": torch.randn(*batch, 5, 3), "lengths": _lengths(batch, 5)}


def _frames(batch: tuple[int, ...]) -> dict[str, Any]:
    return {"frames": torch.randn(*batch, 5, 6)}


SEQUENCES = (
    System(
        "hmm",
        "hidden Markov model",
        "A chain of hidden states, each showing one word (Rabiner 1989).",
        hmm,
        sizes={"t": 5},
    ),
    System(
        "mrf_tagger",
        "MRF tagger",
        "Tags and words in one undirected chain of tables.",
        mrf_tagger,
        sizes={"t": 5},
    ),
    System(
        "table_crf",
        "conditional random field",
        "An undirected chain of tags given the words, with tables for features (Lafferty et al. 2001).",
        table_crf,
        inputs=_words,
    ),
    System(
        "neural_crf",
        "neural CRF",
        "The same with scores from a bidirectional LSTM (Lample et al. 2016).",
        neural_crf,
        inputs=_embedded,
    ),
    System(
        "nn_hmm",
        "NN + HMM",
        "An HMM that takes a network's outputs as its observations (Bengio et al. 1992).",
        nn_hmm,
        inputs=_frames,
    ),
)

"""The settings of the tagger's experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from graft.errors import GraftError

ARMS = ("softmax", "table", "unaries", "transitions")
CRITERIA = ("likelihood", "pointwise", "hamming", "max_margin", "softmax_margin")


@dataclass(frozen=True)
class Config:
    """Everything that `graft train crf_tagger` can be told.

    Args:
        data: folder with the *-train.conllu, *-dev.conllu and *-test.conllu of a treebank, or "ud_english_ewt", which
            is downloaded into `data/`.
        task: parts of speech, or noun chunks in BIO.
        arms: which, with commas between.
        criterion: what the arms with a CRF are trained by; more than one, with commas between, makes an arm of each.
        labels: the share of the training words whose tags are told.
        seeds: how many, from 0; a seed decides on the start, dropout, the order of batches and the words told.
        epochs: of every arm; the one with the best accuracy on dev is kept.
        batch: sentences in a gradient step.
        rate: learning rate (Adam) at the start; it falls to nothing over all epochs in a straight line.
        table_rate: likewise, of the arm without a network.
        clip: greatest norm of a gradient.
        word: length of a word's embedding.
        filters: of the convolution over characters.
        hidden: length of each direction's state.
        layers: of the LSTM.
        dropout: in the network.
        sentences: of the training data that are used; 0 for all.
        jobs: arms trained at once, each in a process of its own.
        device: "cpu", or "auto" for a GPU if there is one.
        run: folder that the run is written to; if empty, one in `runs` named after task and time. A run that was cut
            off goes on where it was.
    """

    data: str = ""
    task: Literal["upos", "chunks"] = "upos"
    arms: str = "softmax,table,unaries,transitions"
    criterion: str = "likelihood"
    labels: float = 1.0
    seeds: int = 3
    epochs: int = 8
    batch: int = 32
    rate: float = 3e-3
    table_rate: float = 5e-3
    clip: float = 5.0
    word: int = 100
    filters: int = 64
    hidden: int = 128
    layers: int = 1
    dropout: float = 0.45
    sentences: int = 0
    jobs: int = 2
    device: Literal["auto", "cpu"] = "auto"
    run: str = ""

    def __post_init__(self) -> None:
        if not self.data:
            raise GraftError("data= is the folder of a treebank in CoNLL-U, or ud_english_ewt, which is downloaded")
        for key, wanted in get_type_hints(Config).items():
            _typed(key, getattr(self, key), wanted)
        for key in ("seeds", "epochs", "batch", "word", "filters", "hidden", "layers", "jobs"):
            if getattr(self, key) < 1:
                raise GraftError(f"{key} must be at least 1, not {getattr(self, key)}")
        for key in ("rate", "table_rate", "clip", "labels"):
            if not 0 < getattr(self, key) < float("inf"):
                raise GraftError(f"{key} must be positive, not {getattr(self, key)}")
        if self.labels > 1 or not 0 <= self.dropout < 1 or self.sentences < 0:
            raise GraftError("labels is a share up to 1, dropout one below 1, sentences not negative")
        _known("arms", self.arms, ARMS)
        _known("criterion", self.criterion, CRITERIA)

    @property
    def methods(self) -> tuple[str, ...]:
        """The arms to train: "softmax", or a CRF with what it is trained by unless that is the likelihood."""
        found = []
        for arm in self.arms.split(","):
            for criterion in ("likelihood",) if arm == "softmax" else self.criterion.split(","):
                found.append(arm if criterion == "likelihood" else f"{arm}-{criterion}")
        return tuple(found)


def _typed(key: str, value: object, wanted: Any) -> None:
    """Settings come from files too."""
    if get_origin(wanted) is Literal:
        good = value in get_args(wanted)
    else:
        good = isinstance(value, (int, float) if wanted is float else wanted) and not isinstance(value, bool)
    if not good:
        raise GraftError(f"{key} cannot be {value!r}")


def _known(key: str, value: str, known: tuple[str, ...]) -> None:
    names = value.split(",")
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) < len(names):
        raise GraftError(f"{key} are some of {', '.join(known)}, each once, not {value!r}")

r"""The figures of the comparison, the same for all arms.

Frame accuracy: of the HMM arms, the label of the greatest posterior marginal $p(\text{label}_t \mid f)$ at each
frame; of the network alone, of the greatest softmax. Strings: of the HMM arms, by the most probable path of
states (Viterbi); of the network alone, its labels of the frames with repetitions collapsed, after a majority
vote over a window of frames whose width is chosen on validation data (width 1: none). The log-probability
$\log p(\text{frame labels} \mid \text{frames})$ is that of the frame labels, wherever segments begin, which
both kinds of arms give: the sum of log-softmaxes, and $\log p(\text{labels}, y) - \log p(y)$ by two forward
passes.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graft.data.batches import SequenceData
from graft.evaluation.edit_distance import score
from graft.model import Model
from graft.posterior import Posterior
from graft.zoo.nn_hmm.network import Classifier
from graft.zoo.nn_hmm.states import States

WIDTHS = (1, 3, 5, 7, 9, 13, 17, 21, 25, 31)  # up to longer than a spoken digit
Strings = list[list[int]]


@dataclass(frozen=True)
class Recognised:
    """What an arm makes of some data.

    Args:
        frames: (N, T), the label of each frame.
        strings: the label string of each sequence.
        log_prob: (N,), log p(frame labels | frames) in nats.
    """

    frames: Int[Tensor, "N T"]
    strings: Strings
    log_prob: Float[Tensor, " N"]


class Recogniser(ABC):
    """Makes something of data."""

    @abstractmethod
    def strings(self, data: SequenceData) -> Strings:
        """The label strings alone, which take less work than all."""

    @abstractmethod
    def __call__(self, data: SequenceData) -> Recognised:
        """Labels of frames, strings and log-probabilities."""


@dataclass(frozen=True)
class ByNetwork(Recogniser):
    """What the network alone says.

    Args:
        classifier: the network with its softmax.
        valid: data on which the width of the vote is chosen, the least of the best.
    """

    classifier: Classifier
    valid: SequenceData

    def strings(self, data: SequenceData) -> Strings:
        """The best label of each frame, smoothed and collapsed."""
        width = self.width()
        return [collapsed(voted(row, width)) for row in self._rows(data)]

    @torch.no_grad()
    def __call__(self, data: SequenceData) -> Recognised:
        log_probs = self.classifier(data.frames)
        of_truth = log_probs.gather(-1, data.labels.clamp_min(0).unsqueeze(-1)).squeeze(-1)
        return Recognised(log_probs.argmax(-1), self.strings(data), (of_truth * data.mask).sum(-1))

    def width(self) -> int:
        """Of the vote."""
        rows = self._rows(self.valid)

        def accuracy(width: int) -> float:
            return score(self.valid.strings, [collapsed(voted(row, width)) for row in rows]).accuracy

        return max(WIDTHS, key=accuracy)

    @torch.no_grad()
    def _rows(self, data: SequenceData) -> Strings:
        best = self.classifier(data.frames).argmax(-1).tolist()
        return [row[:length] for row, length in zip(best, data.lengths.tolist(), strict=True)]


@dataclass(frozen=True)
class ByModel(Recogniser):
    """What the hybrid says.

    Args:
        model: the hybrid.
        states: how labels are made of states.
    """

    model: Model
    states: States

    def strings(self, data: SequenceData) -> Strings:
        """Those of the most probable path."""
        return self._strings(self._posterior(data), data)

    @torch.no_grad()
    def __call__(self, data: SequenceData) -> Recognised:
        posterior = self._posterior(data)
        frames = self.states.pooled(posterior.marginals["s"].probs).argmax(-1)
        log_prob = posterior.log_prob(s=self.states.frame_evidence(data))
        return Recognised(frames, self._strings(posterior, data), log_prob)

    def _posterior(self, data: SequenceData) -> Posterior:
        return self.model.given(frames=data.frames, lengths=data.lengths)

    @torch.no_grad()
    def _strings(self, posterior: Posterior, data: SequenceData) -> Strings:
        return self.states.strings(posterior.mode()["s"], data.lengths)


def string_figures(strings: Strings, data: SequenceData) -> dict[str, float]:
    """Rates in percent of the labels of the data, or of its strings."""
    counts = score(data.strings, strings)
    errors = {"sub": counts.substitutions, "del": counts.deletions, "ins": counts.insertions}
    return {
        "recognised %": counts.recognised,
        "accuracy %": counts.accuracy,
        **{f"{kind} %": 100 * count / counts.labels for kind, count in errors.items()},
        "exact %": counts.exact_rate,
    }


def figures(found: Recognised, data: SequenceData) -> dict[str, float]:
    """The columns of the table: rates in percent of frames, labels or strings, and nats a frame."""
    right = (found.frames == data.labels)[data.mask]
    return {
        "frames %": 100 * right.double().mean().item(),
        **string_figures(found.strings, data),
        "log p per frame": found.log_prob.double().sum().item() / int(data.lengths.sum()),
    }


def voted(row: list[int], width: int) -> list[int]:
    """Each label replaced by the most frequent in a window around it; on a tie it stays if it is among them.

    Example:
        >>> voted([1, 1, 2, 1, 3, 3], 3)
        [1, 1, 1, 1, 3, 3]
    """
    half = width // 2
    windows = [row[max(0, t - half) : t + half + 1] for t in range(len(row))]
    return [
        max(dict.fromkeys(window), key=lambda v: (window.count(v), v == own))
        for own, window in zip(row, windows, strict=True)
    ]


def collapsed(labels: list[int]) -> list[int]:
    """Neighbours that are equal become one.

    Example:
        >>> collapsed([3, 3, 1, 1, 1, 3])
        [3, 1, 3]
    """
    return [label for label, _ in itertools.groupby(labels)]

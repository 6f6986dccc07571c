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
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graft.data.batches import SequenceData
from graft.evaluation.edit_distance import score
from graft.model import Model
from graft.zoo.nn_hmm.network import Classifier
from graft.zoo.nn_hmm.states import States

WIDTHS = (1, 3, 5, 7)
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


Recogniser = Callable[[SequenceData], Recognised]


def figures(found: Recognised, data: SequenceData) -> dict[str, float]:
    """The columns of the table: rates in percent of frames, of labels or of strings, and nats a frame."""
    counts = score(data.strings, found.strings)
    errors = {"sub": counts.substitutions, "del": counts.deletions, "ins": counts.insertions}
    right = (found.frames == data.labels)[data.mask]
    return {
        "frames %": 100 * right.double().mean().item(),
        "recognised %": counts.recognised,
        "accuracy %": counts.accuracy,
        **{f"{kind} %": 100 * count / counts.labels for kind, count in errors.items()},
        "exact %": counts.exact_rate,
        "log p per frame": found.log_prob.double().sum().item() / int(data.lengths.sum()),
    }


@torch.no_grad()
def by_network(classifier: Classifier, data: SequenceData, width: int) -> Recognised:
    """What the network alone says: the best label of each frame, smoothed and collapsed for the strings."""
    log_probs = classifier(data.frames)
    frames = log_probs.argmax(-1)
    of_truth = log_probs.gather(-1, data.labels.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    rows = [row[:length] for row, length in zip(frames, data.lengths.tolist(), strict=True)]
    strings = [collapsed(voted(row, width)) for row in rows]
    return Recognised(frames, strings, (of_truth * data.mask).sum(-1))


@torch.no_grad()
def by_model(model: Model, states: States, data: SequenceData) -> Recognised:
    """What the hybrid says: by marginals for frames, by the most probable path for strings."""
    posterior = model.given(frames=data.frames, lengths=data.lengths)
    frames = states.pooled(posterior.marginals["s"].probs).argmax(-1)
    log_prob = posterior.log_prob(s=states.frame_evidence(data))
    return Recognised(frames, states.strings(posterior.mode()["s"], data.lengths), log_prob)


def best_width(classifier: Classifier, data: SequenceData) -> int:
    """The width of the vote that makes the strings of the network alone most accurate; the least such."""
    return max(WIDTHS, key=lambda width: score(data.strings, by_network(classifier, data, width).strings).accuracy)


def voted(labels: Int[Tensor, " T"], width: int) -> list[int]:
    """Each label replaced by the most frequent in a window around it; on a tie it stays if it is among them.

    Example:
        >>> voted(torch.tensor([1, 1, 2, 1, 3, 3]), 3)
        [1, 1, 1, 1, 3, 3]
    """
    row, half = labels.tolist(), width // 2
    windows = [row[max(0, t - half) : t + half + 1] for t in range(len(row))]
    return [max(window, key=lambda v: (window.count(v), v == own)) for own, window in zip(row, windows, strict=True)]


def collapsed(labels: list[int]) -> list[int]:
    """Neighbours that are equal become one.

    Example:
        >>> collapsed([3, 3, 1, 1, 1, 3])
        [3, 1, 3]
    """
    return [label for label, _ in itertools.groupby(labels)]

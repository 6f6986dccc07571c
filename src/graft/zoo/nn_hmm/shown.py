"""One test sequence and what the hybrid makes of it, as arrays for a picture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from graft.data.batches import SequenceData
from graft.model import Model
from graft.zoo.nn_hmm.states import States

Segments = list[tuple[int, int, int]]  # first frame, frame after the last, label


@dataclass(frozen=True)
class Shown:
    """A sequence of T frames.

    Args:
        image: the frames side by side, (height, width), the width a multiple of T.
        marginals: (T, labels), the posterior probability of each label.
        decoded: segments of the most probable path of states.
        truth: segments as they are.
        names: what the labels are called.
    """

    image: np.ndarray
    marginals: np.ndarray
    decoded: Segments
    truth: Segments
    names: tuple[str, ...]


def repeated(data: SequenceData) -> int:
    """The first sequence in which a label follows itself, which no network alone can tell; else the first."""
    for row, string in enumerate(data.strings):
        if any(a == b for a, b in pairwise(string)):
            return row
    return 0


@torch.no_grad()
def shown(model: Model, states: States, data: SequenceData, row: int, width: int) -> Shown:
    """What the model makes of a sequence.

    Args:
        model: the hybrid.
        states: how labels are made of states.
        data: where the sequence is.
        row: which it is.
        width: columns of a frame in the picture; a frame is stored column by column if it is of speech, row by row if
            it is an image, and is square then.
    """
    one = data.batch([row])
    posterior = model.given(frames=one.frames, lengths=one.lengths)
    path = posterior.mode()["s"][0]
    return Shown(
        image=side_by_side(one.frames[0], width),
        marginals=states.pooled(posterior.marginals["s"].probs)[0].numpy(),
        decoded=segments(states.label[path], states.first[path]),
        truth=segments(one.labels[0], one.starts[0]),
        names=data.names,
    )


def side_by_side(frames: Tensor, width: int) -> np.ndarray:
    """Frames (T, D) as one picture (D / width, T width): images row by row if square, else column by column."""
    height = frames.shape[-1] // width
    if height == width:
        return frames.unflatten(-1, (height, width)).transpose(0, 1).flatten(1).numpy()
    return frames.unflatten(-1, (width, height)).flatten(0, 1).T.numpy()


def segments(labels: Tensor, starts: Tensor) -> Segments:
    """Where each segment begins and ends, and its label.

    Example:
        >>> segments(torch.tensor([3, 3, 3, 1]), torch.tensor([True, False, True, True]))
        [(0, 2, 3), (2, 3, 3), (3, 4, 1)]
    """
    begins = starts.nonzero().flatten().tolist()
    return [(a, b, int(labels[a])) for a, b in zip(begins, [*begins[1:], len(labels)], strict=True)]

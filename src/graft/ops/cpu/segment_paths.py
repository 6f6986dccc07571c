"""The best segmentations of semi-Markov chains, compiled."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
import torch
from torch import Tensor

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.paths import origin
from graft.ops.cpu.segment_sweeps import Layout
from graft.ops.cpu.segments import place, window
from graft.ops.cpu.share import share
from graft.ops.cpu.vectors import fill, lanes, load, load_some, maximum, store
from graft.ops.semi_markov import Segments


@inlined
@no_type_check
def best(lines: Any, count: int, width: int, out: Any, at: int) -> None:
    """The maxima of lines."""
    for j in range(0, width, lanes(out)):
        high = fill(out, -np.inf)
        for d in range(count):
            high = maximum(high, load(lines, d * width + j))
        store(out, at + j, high)


@inlined
@no_type_check
def enter(w: Any, w_at: int, size: int, ended: Any, at: int, entry: Any, to: int, width: int) -> None:
    """The best scores before segments that start after those that `ended`."""
    for j in range(0, width, lanes(entry)):
        high = fill(entry, -np.inf)
        for i in range(size):
            high = maximum(high, fill(entry, ended[at + i]) + load_some(w, w_at + i * size + j, size - j, -np.inf))
        store(entry, to + j, high)


@compiled
@no_type_check
def viterbi(
    u: Any, o: Any, g: Any, last: Any, w: Any, lengths: Any, v: Any, ended: Any, entry: Any, lines: Any, labels: Any,
    durations: Any, scores: Any, strides: Any, sizes: Any, first: int, beyond: int,
) -> None:  # fmt: skip
    """Fills `labels` and `durations` (b, T), zeros on entry, and `scores` (b), of rows from `first` up to `beyond`.

    Arguments are those of `graft.ops.cpu.segments.forward`; `v`, `ended` and `entry` are flat (T, width), scratch.
    """
    steps, limit, size, width = sizes
    for row in range(first, beyond):
        length = lengths[row]
        entry[:width] = 0.0
        scores[row] = 0.0
        for t in range(1, length + 1):
            at, u_at, count = (t - 1) * width, (row * steps + t - 1) * size, min(limit, t)
            for j in range(0, width, lanes(v)):
                store(v, at + j, load_some(u, u_at + j, size - j, -np.inf))
            where = place(row, t, t == length, strides)
            window(v, entry, at, o, u_at, last if t == length else g, where, count, sizes, lines)
            best(lines, count, width, ended, at)
            if t < length:
                enter(w, row * strides[4] + (t - 1) * strides[5], size, ended, at, entry, at + width, width)
        label = 0
        if length > 0:
            final = ended[(length - 1) * width : (length - 1) * width + size]
            label, scores[row] = final.argmax(), final.max()
        t = length if scores[row] > -np.inf else 0
        while t > 0:
            at, u_at, count = (t - 1) * width, (row * steps + t - 1) * size, min(limit, t)
            where = place(row, t, t == length, strides)
            window(v, entry, at, o, u_at, last if t == length else g, where, count, sizes, lines)
            duration = 1
            for d in range(count):
                if lines[d * width + label] > lines[(duration - 1) * width + label]:
                    duration = d + 1
            t -= duration
            durations[row, t] = duration
            labels[row, t : t + duration] = label
            if t > 0:
                label = origin(w, row * strides[4] + (t - 1) * strides[5], size, ended, (t - 1) * width, label)


def best_segments(p: Segments) -> tuple[Tensor, Tensor, Tensor]:
    """Labels (b, T), durations (b, T; 0 where no segment starts) and score (b) of a best segmentation of each row."""
    at = Layout(p)
    labels, durations = (np.zeros((at.rows, at.sizes[0]), np.int64) for _ in range(2))
    scores = np.empty(at.rows)

    def run(worker: int, first: int, last: int) -> None:
        messages = [np.empty(at.sizes[0] * at.sizes[3]) for _ in range(3)]
        lines = np.empty(at.sizes[1] * at.sizes[3])
        viterbi(
            *at.arrays, at.lengths, *messages, lines, labels, durations, scores, at.strides, at.sizes, first, last
        )  # fmt: skip

    share(at.rows, at.work, run)
    return torch.from_numpy(labels), torch.from_numpy(durations), torch.from_numpy(scores)

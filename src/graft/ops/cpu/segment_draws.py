"""Exact draws of segmentations, compiled: from the end of a row to its start."""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np
import torch
from torch import Tensor

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.segment_sweeps import Swept
from graft.ops.cpu.share import share


@inlined
@no_type_check
def pick(x: Any, count: int, uniform: float) -> int:
    """One of `count` entries, with probability proportional to its exponential; never one that is `-inf`."""
    high, norm = x[:count].max(), 0.0
    for k in range(count):
        x[k] = math.exp(x[k] - high)
        norm += x[k]
    # an entry that adds nothing to the sum can neither pass the bound nor be the last that counts
    bound, found, reached, last = uniform * norm, -1, 0.0, 0
    for k in range(count):
        if x[k] > 0.0:
            last = k
        if found < 0:
            reached += x[k]
            if reached > bound:
                found = k
    return found if found >= 0 else last


@compiled
@no_type_check
def draws(
    o: Any, g: Any, last: Any, w: Any, lengths: Any, v: Any, ended: Any, entry: Any, uniform: Any, line: Any,
    labels: Any, durations: Any, strides: Any, sizes: Any, first: int, beyond: int,
) -> None:  # fmt: skip
    """Fills labels and durations (n, T), zeros on entry, of draws from `first` up to `beyond`.

    Other arguments are those of `graft.ops.cpu.segments.forward`, which left the messages.

    Args:
        uniform: (n, 2 T), independent numbers in [0, 1).
        line: scratch of this thread, (max(K, S)).
    """
    steps, limit, size, width = sizes
    for draw in range(first, beyond):
        row, used = draw % lengths.size, 0
        t, base, label = lengths[row], row * strides[6], 0
        while t > 0:
            at, u_at = base + (t - 1) * width, (row * steps + t - 1) * size
            for i in range(size):
                line[i] = ended[at + i]
                if t < lengths[row]:
                    line[i] += w[row * strides[4] + (t - 1) * strides[5] + i * size + label]
            label = pick(line, size, uniform[draw, used])
            count, score = min(limit, t), 0.0
            for d in range(count):
                score += v[at - d * width + label]
                if t < lengths[row]:
                    table = g[row * strides[0] + (t - 1 - d) * strides[1] + d * size + label]
                else:
                    table = last[row * strides[2] + (t - 1 - d) * strides[3] + d * size + label]
                line[d] = score + entry[at - d * width + label] + o[u_at - d * size + label] + table
            duration = pick(line, count, uniform[draw, used + 1]) + 1
            used += 2
            t -= duration
            durations[draw, t] = duration
            labels[draw, t : t + duration] = label


def sample(swept: Swept, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Labels and durations (count, b, T) of independent exact draws.

    Args:
        swept: a sweep that kept its messages, of rows that are all possible.
        count: how many draws of each row.
        generator: the source of randomness; torch's global one if none is given.
    """
    layout = swept.at
    items, (steps, limit, size, _) = count * layout.rows, layout.sizes
    uniform = torch.rand(items, 2 * steps, generator=generator, dtype=torch.float64).numpy()
    labels, durations = (np.zeros((items, steps), np.int64) for _ in range(2))

    def run(worker: int, first: int, last: int) -> None:
        line = np.empty(max(limit, size))
        draws(
            *layout.arrays[1:], layout.lengths, *swept.messages[0], uniform, line, labels, durations, swept.strides,
            layout.sizes, first, last,
        )  # fmt: skip

    share(items, float(items) * steps * (limit + size), run)
    found = (torch.from_numpy(x).reshape(count, layout.rows, steps) for x in (labels, durations))
    return next(found), next(found)

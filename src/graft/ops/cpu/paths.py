"""The best sequences of chains, compiled."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
import torch
from torch import Tensor

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.logspace import centre
from graft.ops.cpu.share import give, share, take, workers_for
from graft.ops.cpu.vectors import fill, lanes, load_some, maximum, store_some


@inlined
@no_type_check
def advance(u: Any, u_at: int, w: Any, w_at: int, size: int, best: Any, at: int) -> None:
    """The best scores of beginnings one step on, from those at `at - size`."""
    wide = lanes(best)
    for j in range(0, size, wide):
        high = fill(best, -np.inf)
        for i in range(size):
            line = load_some(w, w_at + i * size + j, size - j, -np.inf)
            high = maximum(high, fill(best, best[at - size + i]) + line)
        store_some(best, at + j, size - j, high + load_some(u, u_at + j, size - j, -np.inf))


@inlined
@no_type_check
def origin(w: Any, w_at: int, size: int, best: Any, at: int, state: int) -> int:
    """The state that the best beginning before `state` ends in."""
    found, high = 0, -np.inf
    for i in range(size):
        score = best[at + i] + w[w_at + i * size + state]
        if score > high:
            found, high = i, score
    return found


@compiled
@no_type_check
def viterbi(
    u: Any, w: Any, strides: Any, lengths: Any, best: Any, states: Any, scores: Any, sizes: Any, first: int, last: int
) -> None:
    """Fills `states` (b, T), 0 beyond the length, and `scores` (b) of rows `first` to `last`.

    Args:
        u: flat (b, T, S).
        w: flat (b or 1, T-1 or 1, S, S); `strides` are the distances of two rows and of two steps, 0 if shared.
        lengths: (b).
        best: scratch of this thread, flat (T, S).
        sizes: T, S.
    """
    steps, size = sizes
    for row in range(first, last):
        length, score = lengths[row], 0.0
        for t in range(length):
            u_at, at = (row * steps + t) * size, t * size
            if t == 0:
                best[:size] = u[u_at : u_at + size]
            else:
                advance(u, u_at, w, row * strides[0] + (t - 1) * strides[1], size, best, at)
            score += centre(best, at, size)
        states[row, length:] = 0
        if length > 0:
            end = best[(length - 1) * size : length * size]
            states[row, length - 1] = end.argmax()
            score += end.max()
        scores[row] = score
        for t in range(length - 2, -1, -1):
            w_at = row * strides[0] + t * strides[1]
            states[row, t] = origin(w, w_at, size, best, t * size, states[row, t + 1])


def best_paths(unary: Tensor, pairwise: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """A best sequence (b, T) of each row and its score (b).

    Args:
        unary: (b, T, S).
        pairwise: (b or 1, T-1 or 1, S, S).
        lengths: (b).
    """
    rows, steps, size = unary.shape
    own, pairs = pairwise.shape[:2]
    strides = (pairs * size * size if own > 1 else 0, size * size if pairs > 1 else 0)
    u, w = (np.ascontiguousarray(x.numpy()).reshape(-1) for x in (unary, pairwise))
    states, scores = np.empty((rows, steps), np.int64), np.empty(rows)
    work = float(rows) * steps * size * size
    scratch = [take(steps * size, u.dtype) for _ in range(workers_for(rows, work))]
    ends = np.ascontiguousarray(lengths.numpy(), np.int64)

    def run(worker: int, first: int, last: int) -> None:
        viterbi(u, w, strides, ends, scratch[worker], states, scores, (steps, size), first, last)

    share(rows, work, run)
    give(*scratch)
    return torch.from_numpy(states), torch.from_numpy(scores).to(unary.dtype)

"""The k best sequences of chains, compiled."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
import torch
from torch import Tensor

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.logspace import centre
from graft.ops.cpu.share import give, share, take, workers_for


@inlined
@no_type_check
def insert(value: float, slot: int, best: Any, back: Any) -> None:
    """Puts a score into a list, the greatest first, whose last one is less; `back` tells where each came from."""
    place = best.size - 1
    while place > 0 and best[place - 1] < value:
        best[place] = best[place - 1]
        back[place] = back[place - 1]
        place -= 1
    best[place] = value
    back[place] = slot


@inlined
@no_type_check
def advance(u: Any, u_at: int, w: Any, w_at: int, size: int, k: int, best: Any, old: int, new: int, back: Any) -> None:
    """The k best beginnings that end in each state, one step on."""
    for j in range(size):
        mine, origins = best[new + j * k : new + (j + 1) * k], back[j * k : (j + 1) * k]
        mine[:] = -np.inf
        for i in range(size):
            weight = w[w_at + i * size + j]
            for r in range(k):
                value = best[old + i * k + r] + weight
                if not value > mine[k - 1]:
                    break  # all further ones of this state are less
                insert(value, i * k + r, mine, origins)
        for r in range(k):
            mine[r] += u[u_at + j]


@compiled
@no_type_check
def lists(
    u: Any, w: Any, strides: Any, lengths: Any, best: Any, back: Any, states: Any, scores: Any,
    sizes: Any, first: int, last: int,
) -> None:  # fmt: skip
    """Fills `states` and `scores` of rows `first` to `last`; a missing sequence has the score `-inf` and states 0.

    Every state keeps its k best beginnings, the greatest first.

    Args:
        u: flat (b, T, S).
        w: flat (b or 1, T-1 or 1, S, S); `strides` are the distances of two rows and of two steps, 0 if shared.
        lengths: (b).
        best: scratch of this thread, flat (2, S, k).
        back: scratch of this thread (T + 1, S k): which beginning each goes on with, and at T which end.
        states: (k, b, T), zero on entry.
        scores: (k, b), `-inf` on entry.
        sizes: T, S, k.
    """
    steps, size, k = sizes
    for row in range(first, last):
        length, score = lengths[row], 0.0
        if length == 0:
            scores[0, row] = 0.0
            continue
        for t in range(length):
            u_at, new = (row * steps + t) * size, t % 2 * size * k
            if t == 0:
                best[: size * k] = -np.inf
                best[: size * k : k] = u[u_at : u_at + size]
            else:
                w_at = row * strides[0] + (t - 1) * strides[1]
                advance(u, u_at, w, w_at, size, k, best, size * k - new, new, back[t])
            score += centre(best, new, size * k)
        end, other = (length - 1) % 2 * size * k, length % 2 * size * k
        final = best[other : other + k]
        final[:] = -np.inf
        for slot in range(size * k):
            if best[end + slot] > final[k - 1]:
                insert(best[end + slot], slot, final, back[steps, :k])
        for n in range(k):
            if final[n] == -np.inf:
                break
            scores[n, row] = score + final[n]
            slot = back[steps, n]
            for t in range(length - 1, -1, -1):
                states[n, row, t] = slot // k
                if t > 0:
                    slot = back[t, slot]


def best_lists(unary: Tensor, pairwise: Tensor, lengths: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best sequences (k, b, T) of each row and their scores (k, b).

    Args:
        unary: (b, T, S).
        pairwise: (b or 1, T-1 or 1, S, S).
        lengths: (b).
        k: how many.
    """
    rows, steps, size = unary.shape
    own, pairs = pairwise.shape[:2]
    strides = (pairs * size * size if own > 1 else 0, size * size if pairs > 1 else 0)
    u, w = (np.ascontiguousarray(x.numpy()).reshape(-1) for x in (unary, pairwise))
    ends = lengths.contiguous().numpy()
    states, scores = np.zeros((k, rows, steps), np.int64), np.full((k, rows), -np.inf)
    work = 2.0 * rows * steps * size * (size + 4 * k)
    workers = workers_for(rows, work)
    best = [take(2 * size * k, u.dtype) for _ in range(workers)]
    back = [take((steps + 1) * size * k, np.dtype(np.int32)) for _ in range(workers)]

    def run(worker: int, first: int, last: int) -> None:
        own = back[worker].reshape(steps + 1, size * k)
        lists(u, w, strides, ends, best[worker], own, states, scores, (steps, size, k), first, last)

    share(rows, work, run)
    give(*best, *back)
    return torch.from_numpy(states), torch.from_numpy(scores).to(unary.dtype)

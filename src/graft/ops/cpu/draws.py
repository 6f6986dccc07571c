r"""Draws of whole sequences of chains, compiled: filtering forward, sampling backward.

$$ y_{L-1} \sim e^{\alpha_{L-1}}, \qquad y_t \sim e^{\alpha_t(\cdot) + w_t(\cdot, y_{t+1})}. $$

A state is found where a uniform point falls among running sums in double precision. All draws of a row share an
element's messages, and its running sums are made once for each next state that any of them has.

Source: Scott, *Bayesian methods for hidden Markov models* (2002), section 2.1.
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np
import torch
from torch import Tensor

from graft.ops.cpu.choose import DOUBLE, Part, Swept
from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.logspace import advance, centre, log_sum
from graft.ops.cpu.share import give, share, take, workers_for
from graft.ops.cpu.sweeps import Sweep


@inlined
@no_type_check
def pick(line: Any, at: int, size: int, point: float) -> int:
    """The state whose share of running sums holds a point of [0, 1); never one whose share is empty."""
    shares = line[at : at + size]  # a part of its own, whose entries are counted many at a time
    x, found = point * shares[size - 1], 0
    for i in range(size):
        found += shares[i] <= x
    if found == size:  # the product was rounded up to the whole
        found = size - 1
        while found > 0 and shares[found - 1] == shares[size - 1]:
            found -= 1
    return found


@inlined
@no_type_check
def running(alpha: Any, at: int, table: Any, w_at: int, size: int, line: Any, line_at: int, last: bool) -> None:
    """Running sums of messages, times a line of the table unless the element is the last."""
    total, messages, weights, sums = 0.0, alpha[at : at + size], table[w_at : w_at + size], line[line_at:]
    for i in range(size):
        total += float(messages[i]) if last else float(messages[i]) * float(weights[i])
        sums[i] = total


@compiled
@no_type_check
def from_table(
    alpha: Any, turned: Any, stride: int, lengths: Any, places: Any, within: Any, points: Any, states: Any,
    line: Any, known: Any, now: Any, sizes: Any, first: int, last: int,
) -> None:  # fmt: skip
    """Draws from messages in linear space, of one table for all steps.

    Args:
        alpha, turned, stride: as `table.forward` and `table.prepare` left them.
        lengths: of all rows.
        places, within: (n), rows to draw, among all and among those that were swept.
        points: (b, T, draws), uniform in [0, 1).
        states: (draws, b, T), overwritten where elements exist.
        line: scratch, flat (S + 1, S), float64.
        known: scratch (S + 1): of which element the running sums of each next state are there.
        now: scratch (draws), the states of the element after.
        sizes: T, S, width, height.
    """
    steps, size, width, height = sizes
    for k in range(first, last):
        row, block, r = places[k], within[k] // height, within[k] % height
        known[:] = -1
        for t in range(lengths[row] - 1, -1, -1):
            at, final = ((block * steps + t) * height + r) * width, t == lengths[row] - 1
            for n in range(now.size):
                after = size if final else now[n]
                if known[after] != t:
                    known[after] = t
                    w_at = block * stride + after * width
                    running(alpha, at, turned, 0 if final else w_at, size, line, after * size, final)
                now[n] = pick(line, after * size, size, points[row, t, n])
                states[n, row, t] = now[n]


@inlined
@no_type_check
def running_logs(alpha: Any, at: int, w: Any, w_at: int, size: int, line: Any, line_at: int, last: bool) -> None:
    """Running sums of exponentials; `w_at` is where the column of the next state begins."""
    high = -np.inf
    for i in range(size):
        line[line_at + i] = alpha[at + i] if last else alpha[at + i] + w[w_at + i * size]
        high = max(high, line[line_at + i])
    total = 0.0
    for i in range(size):
        total += math.exp(line[line_at + i] - high) if high > -np.inf else 0.0
        line[line_at + i] = total


@compiled
@no_type_check
def in_log_space(
    u: Any, w: Any, strides: Any, lengths: Any, places: Any, points: Any, states: Any, alpha: Any, log_z: Any,
    line: Any, known: Any, now: Any, sizes: Any, first: int, last: int,
) -> None:  # fmt: skip
    """As `from_table`, with its own forward sweep: right for potentials of any size, and for tables that vary.

    Args:
        u: flat (b, T, S), float64.
        w: flat (b or 1, T-1 or 1, S, S), float64; `strides` are the distances of two rows and of two steps.
        alpha: scratch, flat (T, S), float64.
        log_z: (b), overwritten for the rows that are drawn.
        sizes: T, S.
    """
    steps, size = sizes
    for k in range(first, last):
        row = places[k]
        length, scale = lengths[row], 0.0
        for t in range(length):
            u_at = (row * steps + t) * size
            if t == 0:
                alpha[:size] = u[u_at : u_at + size]
            else:
                advance(u, u_at, w, row * strides[0] + (t - 1) * strides[1], size, alpha, t * size)
            scale += centre(alpha, t * size, size)
        log_z[row] = scale + log_sum(alpha, (length - 1) * size, size) if length > 0 else 0.0
        known[:] = -1
        for t in range(length - 1, -1, -1):
            final, w_at = t == length - 1, row * strides[0] + t * strides[1]
            for n in range(now.size):
                after = size if final else now[n]
                if known[after] != t:
                    known[after] = t
                    running_logs(alpha, t * size, w, 0 if final else w_at + after, size, line, after * size, final)
                now[n] = pick(line, after * size, size, points[row, t, n])
                states[n, row, t] = now[n]


class Draws:
    """Independent draws of all rows.

    Args:
        unary: (b, T, S).
        pairwise: (b or 1, T-1 or 1, S, S).
        lengths: (b).
        count: how many.
        generator: the source of randomness.

    Attributes:
        states: (count, b, T), 0 beyond a row's length; they mean nothing in rows of probability zero.
        log_z: (b), float64.
    """

    def __init__(
        self, unary: Tensor, pairwise: Tensor, lengths: Tensor, count: int, generator: torch.Generator | None
    ) -> None:
        rows, steps, size = unary.shape
        self.points = torch.rand(rows, steps, count, dtype=torch.float64, generator=generator).numpy()
        self.found, self.count = np.zeros((count, rows, steps), np.int64), count
        self.unary, self.pairwise, self.lengths = unary, pairwise, lengths.contiguous().numpy()
        self.sizes = (steps, size)
        self.work = float(count * steps * size + 4 * steps * size * min(count, size))
        self.log_z = np.empty(rows)
        if pairwise.shape[1] != 1:
            self._in_log_space(np.arange(rows))
            return
        swept = Swept(unary, pairwise, lengths)
        assert swept.log_z is not None
        self.log_z = swept.log_z
        for part in swept.parts:
            if isinstance(part.sweep, Sweep):
                self._from_table(part, part.sweep)
            else:
                self._in_log_space(part.places(rows))
        swept.release()

    @property
    def states(self) -> Tensor:
        """What was drawn."""
        return torch.from_numpy(self.found)

    def _scratch(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Running sums for each next state, for which element they are there, and the states of the element after."""
        size = self.sizes[1]
        return np.empty((size + 1) * size), np.empty(size + 1, np.int64), np.empty(self.count, np.int64)

    def _from_table(self, part: Part, sweep: Sweep) -> None:
        places, within = part.places(len(self.points)), part.of_kept(np.arange(len(sweep.unary)))
        sizes = (*self.sizes, sweep.layout.width, sweep.layout.height)

        def run(worker: int, first: int, last: int) -> None:
            from_table(
                sweep.alpha, sweep.turned, sweep.layout.stride, self.lengths, places, within, self.points, self.found,
                *self._scratch(), sizes, first, last,
            )  # fmt: skip

        share(len(places), self.work * len(places), run)

    def _in_log_space(self, places: np.ndarray) -> None:
        steps, size = self.sizes
        own, pairs = self.pairwise.shape[:2]
        strides = (pairs * size * size if own > 1 else 0, size * size if pairs > 1 else 0)
        u, w = (np.ascontiguousarray(x.numpy(), DOUBLE).reshape(-1) for x in (self.unary, self.pairwise))
        work = len(places) * (self.work + 20.0 * steps * size * size)
        scratch = [take(steps * size, DOUBLE) for _ in range(workers_for(len(places), work))]

        def run(worker: int, first: int, last: int) -> None:
            in_log_space(
                u, w, strides, self.lengths, places, self.points, self.found, scratch[worker], self.log_z,
                *self._scratch(), self.sizes, first, last,
            )  # fmt: skip

        share(len(places), work, run)
        give(*scratch)

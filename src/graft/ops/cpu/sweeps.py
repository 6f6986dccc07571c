r"""Sweeps of one table in the arithmetic of one type, and whether it is wide enough for the numbers at hand.

Nothing is lost in linear space, see `docs/speed.md`, if

* *dense*: no transition is forbidden and $D = \max(\max w - \min w, \log S)$ is so small that $e^{-(2 k + 1) D}$, the
  least overlap of messages that are scaled every $k$ steps, stays far above the least number of the type; or
* *watched*: the finite spread of each line of potentials, and every positive message, stay within a third of the range
  of the type, so that no product of a message, a transition and an emission leaves it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from graft.ops.cpu import table as kernel
from graft.ops.cpu.share import aligned, give, share, take, workers_for
from graft.ops.cpu.vectors import REGISTER

#: How far, as a logarithm, messages may fall below 1 in each type.
RANGE = {np.dtype(np.float32): 60.0, np.dtype(np.float64): 600.0}
#: Rows that share the loads of a table, and the most steps between two scalings.
HEIGHT, RUN = 8, 8


@dataclass
class Tables:
    """Exponentials of log-tables.

    Attributes:
        states, width: S, and S in whole registers.
        count: 1, or one table for each row.
        straight, turned: flat (count, width, width).
        peaks: (count), the maximum of each log-table.
        run: steps between two scalings; 0 if the type is too narrow.
        floor: the least positive number that is safe, 0 if that need not be watched.
    """

    states: int
    width: int
    count: int
    straight: np.ndarray
    turned: np.ndarray
    peaks: np.ndarray
    run: int
    floor: float


def tables(pairwise: np.ndarray, dtype: np.dtype) -> Tables:
    """Prepares log-tables (count, S, S) for sweeps in `dtype`."""
    count, states = pairwise.shape[:2]
    step = max(8, REGISTER // dtype.itemsize)
    width = -(-states // step) * step
    straight, turned = (aligned(count * width * width, dtype) for _ in range(2))
    peaks, line = np.empty(count), np.zeros(width)
    w = np.ascontiguousarray(pairwise).reshape(-1)
    spread, zeros = kernel.prepare(w, states, width, straight, turned, line, peaks)
    reach, deepest = RANGE[dtype], max(spread, math.log(states), 1e-3)
    run = max(0, min(RUN, int((reach / deepest - 1) / 2)))
    floor = 0.0
    if zeros:
        floor, run = math.exp(-reach / 3), int(spread <= reach / 3)
    return Tables(states, width, count, straight, turned, peaks, run, floor)


class Sweep:
    """A forward sweep, which waits for its backward one.

    Args:
        unary: (b, T, S), contiguous.
        tables: prepared in the type of `unary`.
        lengths: (b).

    Attributes:
        log_z: (b), float64.
        lost: (b), bool: rows whose result may be wrong.
    """

    def __init__(self, unary: np.ndarray, tables: Tables, lengths: np.ndarray) -> None:
        self.unary, self.tables, self.lengths = unary, tables, lengths
        rows, steps, states = unary.shape
        most = 1 if tables.count > 1 else HEIGHT
        self.work = float(rows) * steps * states * states
        blocks = max(-(-rows // most), min(rows, workers_for(rows, self.work)))
        self.height = -(-rows // blocks)
        self.blocks = -(-rows // self.height)
        self.sizes = (steps, states, tables.width, self.height, tables.run)
        self.stride = tables.width * tables.width if tables.count > 1 else 0
        size = self.blocks * steps * self.height * tables.width
        self.alpha, self.onward = take(size, unary.dtype), take(size, unary.dtype)
        self.log_z, self.lost = np.empty(rows), np.zeros(rows, bool)
        self._forward()

    def _forward(self) -> None:
        u, alpha, onward = self.unary.reshape(-1), self.alpha, self.onward
        table, t = self.tables.straight, self.tables

        def run(worker: int, first: int, last: int) -> None:
            kernel.forward(
                u, table, self.stride, t.peaks, self.lengths, alpha, onward, self.log_z, self.lost,
                self.sizes, t.floor, first, last,
            )  # fmt: skip

        share(self.blocks, self.work, run)

    def backward(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Marginals (b, T, S) and expected counts (tables, S, S) with weights (b) on the rows; once only."""
        t, width = self.tables, self.tables.width
        by_unary = np.empty_like(self.unary)
        workers = 1 if self.stride else workers_for(self.blocks, self.work)
        sums = np.zeros((t.count if self.stride else workers, width * width), self.unary.dtype)
        beta = take(self.blocks * self.height * width, self.unary.dtype)
        arrays, out = (self.alpha, self.onward, beta), by_unary.reshape(-1)

        def run(worker: int, first: int, last: int) -> None:
            into = sums.reshape(-1) if self.stride else sums[worker]
            kernel.backward(
                t.turned, self.stride, self.lengths, *arrays, weight, out, into, self.lost,
                self.sizes, t.floor, first, last,
            )  # fmt: skip

        share(self.blocks, self.work, run)
        self.release()
        give(beta)
        found = sums if self.stride else sums.sum(0, keepdims=True)
        found = (found * t.straight.reshape(t.count, -1)).reshape(-1, width, width)
        return by_unary, found[:, : t.states, : t.states]

    def release(self) -> None:
        """Gives the messages back."""
        give(self.alpha, self.onward)
        del self.alpha, self.onward

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
from functools import lru_cache

import numpy as np
import torch

from graft.ops.cpu import table as kernel
from graft.ops.cpu.share import give, share, take, workers_for
from graft.ops.cpu.table_back import backward, gathered
from graft.ops.cpu.vectors import REGISTER

#: How far, as a logarithm, messages may fall below 1 in each type.
RANGE = {np.dtype(np.float32): 60.0, np.dtype(np.float64): 600.0}
#: Rows that share the loads of a table, and the most steps between two scalings.
HEIGHT, RUN = 8, 8


@dataclass(frozen=True)
class Layout:
    """How rows are dealt out, and where what they need stands in one piece of scratch memory.

    Attributes:
        work: multiplications.
        width: S in whole registers.
        height, blocks: rows of a block, and how many blocks there are.
        chunk: numbers that a thread needs for itself.
        stride: distance of the tables of two blocks.
        ends: where the tables, their transposes, messages, maxima, sums, and what threads need for themselves end.
    """

    work: float
    width: int
    height: int
    blocks: int
    chunk: int
    stride: int
    ends: tuple[int, ...]


@lru_cache(256)
def layout(rows: int, steps: int, states: int, count: int, dtype: np.dtype, threads: int) -> Layout:
    """The layout for `count` tables, which is 1 or the number of rows; `threads` is what torch may use."""
    step = max(8, REGISTER // dtype.itemsize)
    width = -(-states // step) * step
    work = float(rows) * steps * states * states
    most = 1 if count > 1 else HEIGHT
    blocks = max(-(-rows // most), min(rows, workers_for(rows, work)))
    height = -(-rows // blocks)
    blocks = -(-rows // height)
    workers = workers_for(blocks, work)
    tables, chunk = count * width * width, 2 * (kernel.STEPS + 1) * height * width
    sums = tables if count > 1 else workers * width * width
    # whole registers each
    maxima = -(-rows * steps // step) * step
    sizes = (tables, tables, blocks * height * width * steps, maxima, sums, workers * chunk)
    ends = tuple(sum(sizes[: k + 1]) for k in range(len(sizes)))
    return Layout(work, width, height, blocks, chunk, width * width if count > 1 else 0, ends)


def arithmetic(spread: float, zeros: bool, states: int, dtype: np.dtype) -> tuple[int, float]:
    """Steps between two scalings, 0 if the type is too narrow, and the least positive number that is safe.

    Args:
        spread: the widest finite spread of a log-table.
        zeros: whether transitions are forbidden. Only then numbers have to be watched; otherwise the least is 0.
    """
    reach = RANGE[dtype]
    if zeros:
        return int(spread <= reach / 3), math.exp(-reach / 3)
    deepest = max(spread, math.log(states), 1e-3)
    return max(0, min(RUN, int((reach / deepest - 1) / 2))), 0.0


class Sweep:
    """A forward sweep, which waits for its backward one.

    Args:
        unary: (b, T, S), contiguous.
        pairwise: (b or 1, S, S), contiguous, in any type.
        lengths: (b).

    Attributes:
        log_z: (b), float64.
        lost: (b), bool: rows whose result may be wrong.
        safe: whether there can be none.
    """

    def __init__(self, unary: np.ndarray, pairwise: np.ndarray, lengths: np.ndarray) -> None:
        self.unary, self.lengths, self.states, self.count = unary, lengths, unary.shape[2], len(pairwise)
        rows, steps, states = unary.shape
        self.layout = at = layout(rows, steps, states, self.count, unary.dtype, torch.get_num_threads())
        self.scratch = take(at.ends[-1], unary.dtype)
        self.held = [self.scratch]
        self.straight, self.turned = self.scratch[: at.ends[0]], self.scratch[at.ends[0] : at.ends[1]]
        self.alpha, self.maxima = self.scratch[at.ends[1] : at.ends[2]], self.scratch[at.ends[2] : at.ends[3]]
        self.peaks, self.log_z = np.empty(self.count), np.empty(rows)
        flat = pairwise.reshape(-1)
        spread, zeros = kernel.prepare(flat, states, at.width, self.straight, self.turned, self.peaks)
        run, self.floor = arithmetic(spread, zeros, states, unary.dtype)
        self.safe = run > 0 and self.floor == 0.0
        self.lost = np.full(rows, run == 0)
        self.sizes = (steps, states, at.width, at.height, run)
        if run > 0:
            self._forward()

    def _forward(self) -> None:
        at, u = self.layout, self.unary.reshape(-1)

        def run(worker: int, first: int, last: int) -> None:
            kernel.forward(
                u, self.straight, at.stride, self.peaks, self.lengths, self.alpha, self.maxima, self._own(worker),
                self.log_z, self.lost, self.sizes, self.floor, first, last,
            )  # fmt: skip

        share(at.blocks, at.work, run)

    def backward(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Marginals (b, T, S) and expected counts (tables, S, S) with weights (b) on the rows; once only."""
        at = self.layout
        by_unary, sums = self._backward(weight, self.peaks[:0].astype(self.unary.dtype))
        by_table = np.empty((self.count, self.states, self.states), self.unary.dtype)
        gathered(sums, self.straight, self.states, at.width, by_table)
        self.release()
        return by_unary, by_table

    def pair_marginals(self) -> np.ndarray:
        """Marginals of pairs (b, T-1, S, S); in place of `backward`, and once only."""
        rows, steps, states = self.unary.shape
        found = np.zeros((rows, steps - 1, states, states), self.unary.dtype)
        self._backward(np.ones(rows), found.reshape(-1))
        self.release()
        return found

    def _own(self, worker: int) -> np.ndarray:
        """The scratch memory of one thread."""
        start = self.layout.ends[4] + worker * self.layout.chunk
        return self.scratch[start : start + self.layout.chunk]

    def _backward(self, weight: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted marginals, and the sums of each thread or table that counts are made of."""
        at, u = self.layout, self.unary.reshape(-1)
        by_unary = np.empty_like(self.unary)
        sums = self.scratch[at.ends[3] : at.ends[4]]
        sums[:] = 0.0
        out, square = by_unary.reshape(-1), at.width * at.width

        def run(worker: int, first: int, last: int) -> None:
            into = sums if at.stride else sums[worker * square : (worker + 1) * square]
            backward(
                u, self.maxima, self.turned, self.straight, at.stride, self.lengths, self.alpha, self._own(worker),
                weight, out, into, pairs, self.lost, self.sizes, self.floor, first, last,
            )  # fmt: skip

        share(at.blocks, at.work, run)
        return by_unary, sums

    def release(self) -> None:
        """Gives the scratch memory back, if that was not done yet."""
        give(*self.held)
        self.held.clear()

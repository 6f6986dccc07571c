"""Sweeps row by row: of transitions that vary in time, and in log space."""

from __future__ import annotations

import numpy as np

from graft.ops.cpu import logspace, varying
from graft.ops.cpu.share import give, share, take, workers_for
from graft.ops.cpu.sweeps import RANGE
from graft.ops.cpu.vectors import REGISTER

#: An exponential costs as much as so many multiplications.
EXPONENTIAL = 20.0


class Varying:
    """A forward sweep in linear space over tables that differ from step to step, which waits for its backward one.

    Args:
        unary: (b, T, S), contiguous.
        pairwise: (b or 1, T-1, S, S), contiguous.
        lengths: (b).

    Attributes:
        log_z: (b), float64.
        lost: (b), bool: rows whose result may be wrong.
        safe: whether there can be none.
    """

    safe = False

    def __init__(self, unary: np.ndarray, pairwise: np.ndarray, lengths: np.ndarray) -> None:
        self.unary, self.pairwise, self.lengths = unary, pairwise, lengths
        self.rows, steps, states = unary.shape
        step = REGISTER // unary.dtype.itemsize
        self.width = -(-states // step) * step
        self.work = EXPONENTIAL * self.rows * steps * states * states
        self.sizes, self.reach = (steps, states, self.width), RANGE[unary.dtype] / 3
        self.stride = (steps - 1) * states * states if pairwise.shape[0] > 1 else 0
        size = self.rows * steps * self.width
        self.alpha, self.onward = take(size, unary.dtype), take(size, unary.dtype)
        self.log_z, self.lost = np.empty(self.rows), np.zeros(self.rows, bool)
        u, w = unary.reshape(-1), pairwise.reshape(-1)
        alpha, onward = self.alpha, self.onward

        def run(worker: int, first: int, last: int) -> None:
            varying.forward(
                u, w, self.stride, lengths, alpha, onward, self.log_z, self.lost, self.sizes, self.reach, first, last
            )

        share(self.rows, self.work, run)

    def backward(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Marginals (b, T, S) and pair marginals, as `pairwise`, with weights (b) on the rows; once only."""
        by_unary, by_pairwise = np.empty_like(self.unary), np.zeros_like(self.pairwise)
        w, out, sums = self.pairwise.reshape(-1), by_unary.reshape(-1), by_pairwise.reshape(-1)
        # rows that share tables add to one place
        work = 0.0 if self.stride == 0 else self.work
        size = (self.sizes[1] + 1) * self.width
        scratch = [take(size, self.unary.dtype) for _ in range(workers_for(self.rows, work))]
        arrays = self.alpha, self.onward

        def run(worker: int, first: int, last: int) -> None:
            varying.backward(
                w, self.stride, self.lengths, *arrays, scratch[worker], weight, out, sums, self.lost,
                self.sizes, self.reach, first, last,
            )  # fmt: skip

        share(self.rows, work, run)
        give(*scratch)
        self.release()
        return by_unary, by_pairwise

    def release(self) -> None:
        """Gives the messages back."""
        give(self.alpha, self.onward)
        del self.alpha, self.onward


class LogSpace:
    """Sweeps in log space; nothing is ever lost.

    Args:
        unary: (b, T, S), contiguous, float64.
        pairwise: (b or 1, T-1 or 1, S, S), contiguous, float64.
        lengths: (b).

    Attributes:
        log_z: (b).
        lost, safe: as in `Varying`; there are never any.
    """

    safe = True

    def __init__(self, unary: np.ndarray, pairwise: np.ndarray, lengths: np.ndarray) -> None:
        self.unary, self.pairwise, self.lengths = unary, pairwise, lengths
        self.log_z, self.lost = np.empty(unary.shape[0]), np.zeros(unary.shape[0], bool)
        self._sweep(np.empty(0), np.empty(0), np.empty(0), True)

    def backward(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As in `Varying`; the gradient by a table that all steps share is summed over them."""
        by_unary, by_pairwise = np.empty_like(self.unary), np.zeros_like(self.pairwise)
        apart = self.pairwise.shape[0] > 1
        self._sweep(weight, by_unary.reshape(-1), by_pairwise.reshape(-1), apart)
        return by_unary, by_pairwise

    def _sweep(self, weight: np.ndarray, by_unary: np.ndarray, by_pairwise: np.ndarray, apart: bool) -> None:
        rows, steps, states = self.unary.shape
        own, pairs = self.pairwise.shape[:2]
        between = states * states if pairs > 1 else 0
        strides = (pairs * states * states if own > 1 else 0, between)
        u, w = self.unary.reshape(-1), self.pairwise.reshape(-1)
        work = EXPONENTIAL * rows * steps * states * states if apart else 0.0
        scratch = [take((steps + 2) * states, np.dtype(np.float64)) for _ in range(workers_for(rows, work))]

        def run(worker: int, first: int, last: int) -> None:
            logspace.sweep(
                u, w, strides, self.lengths, scratch[worker], self.log_z, weight, by_unary, by_pairwise,
                (steps, states), first, last,
            )  # fmt: skip

        share(rows, work, run)
        give(*scratch)

    def release(self) -> None:
        """Holds no scratch between sweeps."""

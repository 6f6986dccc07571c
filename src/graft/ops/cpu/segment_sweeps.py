"""Compiled sweeps of semi-Markov chains over a batch: where everything lies, and what is kept for gradients."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from graft.ops.cpu.segments import backward, forward
from graft.ops.cpu.share import share, workers_for
from graft.ops.cpu.vectors import REGISTER
from graft.ops.semi_markov import Segments

DOUBLE = np.dtype(np.float64)


def flat(x: Tensor) -> np.ndarray:
    """The numbers of a tensor, one after the other."""
    return np.ascontiguousarray(x.detach().numpy()).reshape(-1)


class Layout:
    """Where everything lies in flat arrays.

    Args:
        p: the potentials, double precision.

    Attributes:
        arrays: unary, starts, table, last and pairwise, flat.
        lengths: (b).
        sizes: T, K, S, and S in whole registers.
        strides: the distances of two rows and of two steps in table, last and pairwise, 0 if shared.
        work: operations, roughly.
    """

    def __init__(self, p: Segments) -> None:
        self.rows, steps, size = p.unary.shape
        limit = p.table.shape[2]
        wide = REGISTER // DOUBLE.itemsize
        self.sizes = (steps, limit, size, -(-size // wide) * wide)
        tables = (p.table, p.table if p.last is None else p.last, p.pairwise)
        self.arrays = [flat(x) for x in (p.unary, p.starts, *tables)]
        self.lengths = np.ascontiguousarray(p.lengths.numpy(), np.int64)
        self.strides = tuple(stride for x in tables for stride in _strides(x))
        self.work = float(self.rows) * steps * size * (limit + size) * 4


def _strides(x: Tensor) -> tuple[int, int]:
    """The distances of two rows and of two steps, 0 if shared."""
    own, steps, lines, size = x.shape
    return (steps * lines * size if own > 1 else 0, lines * size if steps > 1 else 0)


class Swept:
    """The forward half of `log_z`.

    Args:
        p: the potentials, double precision.
        keep: whether messages are kept for gradients; else each thread uses its own again.

    Attributes:
        log_z: (b).
    """

    def __init__(self, p: Segments, keep: bool) -> None:
        self.potentials, self.at = p, Layout(p)
        rows, sizes = self.at.rows, self.at.sizes
        line = sizes[0] * sizes[3]
        self.log_z = np.zeros(rows)
        self.strides = (*self.at.strides, line if keep else 0)
        sets = 1 if keep else workers_for(rows, self.at.work)
        self.messages = [[np.empty((rows if keep else 1) * line) for _ in range(3)] for _ in range(sets)]

        def run(worker: int, first: int, last: int) -> None:
            messages = self.messages[0 if keep else worker]
            scratch = np.empty(sizes[1] * sizes[3])
            forward(
                *self.at.arrays, self.at.lengths, *messages, self.log_z, scratch, self.strides, sizes, first, last
            )  # fmt: skip

        share(rows, self.at.work, run)

    def gradients(self, weight: Tensor) -> list[Tensor | None]:
        """Gradients by all potentials, each row's times its weight."""
        p, sizes = self.potentials, self.at.sizes
        like = [p.unary, p.starts, p.table, p.table if p.last is None else p.last, p.pairwise]
        workers = workers_for(self.at.rows, self.at.work)
        own = [x.shape[0] == self.at.rows and self.at.rows > 1 for x in like]
        found = [np.zeros((1 if mine else workers, x.numel())) for x, mine in zip(like, own, strict=True)]
        if p.last is None:
            found[3] = found[2]
        weights = np.ascontiguousarray(weight.detach().numpy(), DOUBLE)

        def run(worker: int, first: int, last: int) -> None:
            into = [x[0 if len(x) == 1 else worker] for x in found]
            scratch = np.empty((sizes[1] + 3) * sizes[3])
            backward(
                *self.at.arrays[1:], self.at.lengths, *self.messages[0], self.log_z, scratch, weights, *into,
                self.strides, sizes, first, last,
            )  # fmt: skip

        share(self.at.rows, self.at.work, run)
        out: list[Tensor | None] = [
            torch.from_numpy(x[0] if len(x) == 1 else x.sum(0)).reshape(y.shape)
            for x, y in zip(found, like, strict=True)
        ]
        if p.last is None:
            out[3] = None
        return out

"""The E-step of many chains at once, rows side by side in the lanes of registers."""

from __future__ import annotations

import numpy as np

from graft.ops.cpu import chain_lanes as kernel
from graft.ops.cpu.chain_sums import Parameters, Sums
from graft.ops.cpu.choose import DOUBLE
from graft.ops.cpu.share import aligned, give, share, take, workers_for
from graft.ops.cpu.sweeps import arithmetic
from graft.ops.cpu.vectors import REGISTER

#: Rows of a block: two registers of doubles, so that a load of the table serves both.
HEIGHT = 2 * (REGISTER // DOUBLE.itemsize)
#: Numbers between two arrays that are read and written together, so that no two lines of theirs share low addresses.
APART = 136


def whole(count: int) -> int:
    """The next multiple of 4, the least block of a matrix product."""
    return -(-count // 4) * 4


class SideBySide:
    """Rows of features, dealt out to the lanes of blocks; what an E-step needs of the data.

    Args:
        features: (B, T, F), or symbols (B, T), whole numbers; what lies beyond a row's length is not read.
        lengths: (B,).
    """

    def __init__(self, features: np.ndarray, lengths: np.ndarray) -> None:
        self.count, self.symbols = len(lengths), features.ndim == 2
        order = np.argsort(-lengths, kind="stable")
        #: of the rows that have elements, the longest first
        self.order = order[: np.count_nonzero(lengths)]
        self.blocks = -(-len(self.order) // HEIGHT)
        self.lengths = np.zeros(self.blocks * HEIGHT, np.int64)
        self.lengths[: len(self.order)] = lengths[self.order]
        self.begins = np.concatenate([[0], np.cumsum(self.lengths[::HEIGHT])])
        self.features = 0 if self.symbols else whole(features.shape[2])
        self.data = self._dealt(features)

    def _dealt(self, features: np.ndarray) -> np.ndarray:
        """(steps of all blocks, F, height), or (steps, height)."""
        steps = int(self.begins[-1])
        kind, lines = (np.dtype(np.int64), 1) if self.symbols else (DOUBLE, self.features)
        into, flat = aligned(steps * lines * HEIGHT, kind), np.ascontiguousarray(features).reshape(-1)
        into[:] = 0
        width = 1 if self.symbols else features.shape[2]
        kernel.deal(flat, into, self.order, self.lengths, self.begins, features.shape[1], width, self.features, HEIGHT)
        return into

    def expect(self, now: Parameters) -> Sums | None:
        """The E-step; `None` where linear space is too narrow for parameters and data, or a row is impossible."""
        finite = now.move[now.move > -np.inf]
        if not finite.size:
            return None
        peak, zeros = float(finite.max()), finite.size < now.move.size
        run, floor = arithmetic(peak - float(finite.min()), zeros, len(now.start), DOUBLE)
        return _Round(self, now, peak, floor).sums() if run > 0 else None


class _Round:
    """One E-step: parameters in whole blocks, and sums of each thread."""

    def __init__(self, data: SideBySide, now: Parameters, peak: float, floor: float) -> None:
        self.data, self.now, self.peak, self.floor = data, now, peak, floor
        size, count = len(now.start), len(now.constants)
        width, rows = whole(size), whole(count)
        self.sizes = (size, width, count // size, rows, data.features, HEIGHT)
        self.table = _padded(np.exp(now.move - peak), (width, width))
        turned = now.natural.T if data.symbols else now.natural
        self.natural = _padded(turned, (len(turned), width) if data.symbols else (rows, data.features))
        self.constants = now.constants
        alone = now.constants if count == size else np.zeros(size)
        self.offsets = np.stack([alone + now.start, alone])
        self.work = float(data.begins[-1]) * HEIGHT * (3.0 * width * width + 2.0 * rows * data.features)
        self.workers = workers_for(data.blocks, self.work)
        self.log_z = np.zeros(len(data.lengths))
        shapes = ((width, width), (width, HEIGHT), (rows, HEIGHT), self.natural.shape)
        self.own = [[np.zeros(shape) for shape in shapes] for _ in range(self.workers)]

    def _scratch(self) -> tuple[int, ...]:
        """Where messages, emissions, shares of components and posteriors end in one piece of memory."""
        _, width, groups, rows, _, _ = self.sizes
        longest = int(self.data.lengths.max(initial=0))
        parts = rows * longest if groups > 1 else 0
        lines = (width * longest, width * longest, parts, rows * kernel.STEPS)
        ends = np.cumsum([line * HEIGHT + APART for line in lines])
        return tuple(ends.tolist())

    def sums(self) -> Sums | None:
        """What the sweeps find; `None` if numbers were lost."""
        data, ends = self.data, self._scratch()
        scratch = [take(ends[-1], DOUBLE) for _ in range(self.workers)]
        lost, nothing = np.zeros(self.workers, bool), np.empty(0)
        x, symbols = (nothing, data.data) if data.symbols else (data.data, nothing.astype(np.int64))

        def run(worker: int, first: int, last: int) -> None:
            lost[worker] = kernel.sweep(
                x, symbols, data.begins, self.natural.reshape(-1), self.constants, self.offsets, self.table.reshape(-1),
                data.lengths, scratch[worker], ends, self.log_z, *(one.reshape(-1) for one in self.own[worker]),
                self.peak, self.floor, self.sizes, first, last,
            )  # fmt: skip

        share(data.blocks, self.work, run)
        give(*scratch)
        return None if lost.any() or not np.isfinite(self.log_z).all() else self._gathered()

    def _gathered(self) -> Sums:
        """In the shapes and the order of the user."""
        data, size, count = self.data, self.sizes[0], len(self.now.constants)
        # most often one thread has done it all
        alone = len(self.own) == 1
        counts, starts, mass, moments = self.own[0] if alone else (sum(parts) for parts in zip(*self.own, strict=True))
        log_z = np.zeros(data.count)
        log_z[data.order] = self.log_z[: len(data.order)]
        moments = moments[:, :size].T if data.symbols else moments[:count, : self.now.natural.shape[1]]
        counts, starts = counts[:size, :size] * self.table[:size, :size], starts[:size].sum(1)
        # every element is the first of its row, or follows another
        mass = mass[:count].sum(1) if count > size else starts + counts.sum(0)
        return Sums(log_z, starts, counts, mass, moments)


def _padded(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array at the beginning of zeros."""
    if array.shape == shape:
        return np.ascontiguousarray(array)
    found = np.zeros(shape)
    found[tuple(slice(n) for n in array.shape)] = array
    return found

"""The E-step of many chains at once, rows side by side in the lanes of registers."""

from __future__ import annotations

import numpy as np

from graft.ops.cpu import chain_round as kernel
from graft.ops.cpu.chain_back import STEPS
from graft.ops.cpu.chain_lanes import sweep
from graft.ops.cpu.chain_sums import Parameters, Squares, Sums
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

    def __init__(self, features: np.ndarray | Squares, lengths: np.ndarray) -> None:
        self.count = len(lengths)
        self.symbols = isinstance(features, np.ndarray) and features.ndim == 2
        order = np.argsort(-lengths, kind="stable")
        #: of the rows that have elements, the longest first
        self.order = order[: np.count_nonzero(lengths)]
        self.blocks = -(-len(self.order) // HEIGHT)
        self.lengths = np.zeros(self.blocks * HEIGHT, np.int64)
        self.lengths[: len(self.order)] = lengths[self.order]
        self.begins = np.concatenate([[0], np.cumsum(self.lengths[::HEIGHT])])
        self.longest = int(self.lengths[0]) if self.blocks else 0
        #: what is kept of an element, and what an E-step sees of it
        self.lines = self.features = 0
        self.data = self._dealt(features)
        self._round: _Round | None = None

    def _dealt(self, features: np.ndarray | Squares) -> np.ndarray:
        """(steps of all blocks, lines, height), or (steps, height)."""
        steps = int(self.begins[-1])
        if isinstance(features, Squares):
            self.lines = len(features.centre)
            self.features = whole(2 * self.lines)
            into, x = aligned(steps * self.lines * HEIGHT, DOUBLE), np.ascontiguousarray(features.x)
            kernel.deal_about(
                x.reshape(-1), features.centre, into, self.order, self.lengths, self.begins, x.shape[1], HEIGHT
            )  # fmt: skip
            return into
        width = 1 if self.symbols else features.shape[2]
        self.lines = self.features = 0 if self.symbols else whole(width)
        kind, lines = (np.dtype(np.int64), 1) if self.symbols else (DOUBLE, self.features)
        into, flat = aligned(steps * lines * HEIGHT, kind), np.ascontiguousarray(features).reshape(-1)
        kernel.deal(flat, into, self.order, self.lengths, self.begins, features.shape[1], width, lines, HEIGHT)
        return into

    def expect(self, now: Parameters) -> Sums | None:
        """The E-step; `None` where linear space is too narrow for parameters and data, or a row is impossible."""
        width, rows = whole(len(now.start)), whole(len(now.constants))
        work = float(self.begins[-1]) * HEIGHT * (3.0 * width * width + 2.0 * rows * self.features)
        workers = workers_for(self.blocks, work)
        if self._round is None or not self._round.fits(now, workers):
            self._round = _Round(self, now, work, workers)
        return self._round.expect(self, now)


class _Round:
    """E-steps with parameters of the same shapes: room for these in whole blocks, and for the sums of each thread."""

    def __init__(self, data: SideBySide, now: Parameters, work: float, workers: int) -> None:
        self.work, self.workers = work, workers
        self.shapes = (now.move.shape, now.natural.shape)
        size, (count, columns) = len(now.start), now.natural.shape
        width, rows = whole(size), whole(count)
        self.sizes = (size, width, count // size, rows, data.features, HEIGHT)
        self.table = np.zeros(width * width)
        self.natural = np.zeros(columns * width if data.symbols else rows * data.features)
        self.offsets, self.log_z = np.empty(2 * size), np.zeros(len(data.lengths))
        ends = np.cumsum([len(self.table), width * HEIGHT, rows * HEIGHT, len(self.natural)]).tolist()
        self.sums, self.ends = np.empty((workers, ends[-1])), tuple(ends)
        self.parts = [np.split(own, ends[:-1]) for own in self.sums]
        nothing = np.empty(0)
        symbols = data.data if data.symbols else nothing.astype(np.int64)
        self.seen = (nothing if data.symbols else data.data, data.lines, symbols)
        self.room = self._scratch(data.longest)

    def fits(self, now: Parameters, workers: int) -> bool:
        """Whether it is for such parameters."""
        return self.shapes == (now.move.shape, now.natural.shape) and self.workers == workers

    def _scratch(self, longest: int) -> tuple[int, ...]:
        """Where messages, emissions, shares of components and posteriors end in one piece of memory."""
        _, width, groups, rows, _, _ = self.sizes
        parts = rows * longest if groups > 1 else 0
        lines = (width * longest, width * longest, parts, rows * STEPS)
        ends = np.cumsum([line * HEIGHT + APART for line in lines])
        return tuple(ends.tolist())

    def expect(self, data: SideBySide, now: Parameters) -> Sums | None:
        """What `SideBySide.expect` says."""
        high, low, zeros = kernel.enter(
            now.start, now.move.reshape(-1), now.natural.reshape(-1), now.constants, data.symbols, self.table,
            self.natural, self.offsets, self.sizes,
        )  # fmt: skip
        if high == -np.inf:
            return None
        run, floor = arithmetic(high - low, zeros, self.sizes[0], DOUBLE)
        return self._gathered(data, now) if run > 0 and self._swept(data, now, high, floor) else None

    def _swept(self, data: SideBySide, now: Parameters, peak: float, floor: float) -> bool:
        """Whether the sweeps lost no number."""
        ends = self.room
        scratch = [take(ends[-1], DOUBLE) for _ in range(self.workers)]
        lost = [False] * self.workers
        self.sums.fill(0.0)

        def run(worker: int, first: int, last: int) -> None:
            lost[worker] = sweep(
                *self.seen, data.begins, self.natural, now.constants, self.offsets, self.table, data.lengths,
                scratch[worker], ends, self.log_z, *self.parts[worker], peak, floor, self.sizes, first, last,
            )  # fmt: skip

        share(data.blocks, self.work, run)
        give(*scratch)
        return not any(lost) and bool(np.isfinite(self.log_z).all())

    def _gathered(self, data: SideBySide, now: Parameters) -> Sums:
        """In the shapes and the order of the user."""
        size = self.sizes[0]
        log_z = np.zeros(data.count)
        log_z[data.order] = self.log_z[: len(data.order)]
        starts, counts = np.zeros(size), np.zeros((size, size))
        mass, moments = np.zeros(len(now.constants)), np.zeros(now.natural.shape)
        kernel.leave(
            self.sums, self.ends, self.table, data.symbols, starts, counts, mass, moments, self.sizes
        )  # fmt: skip
        return Sums(log_z, starts, counts, mass, moments)

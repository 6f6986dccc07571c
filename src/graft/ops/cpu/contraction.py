"""Rows of a sum of products given to compiled kernels: memory, threads, and what is not proven."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from graft.ops.contraction.layout import COPIED, SHARED, Layout
from graft.ops.cpu import abreast, contract
from graft.ops.cpu.bounds import PROVEN, TINY
from graft.ops.cpu.share import give, share, take, workers_for

#: Entries beyond the last table that a register may reach.
SPARE = 32
#: Entries below which fresh memory costs less than finding used one.
FRESH = 2000
#: Rows from which they are swept abreast, and entries of all their tables up to which they are.
FEW, SMALL = 6, 30_000


class Contraction:
    """One sum of products over all rows.

    Args:
        layout: of its tree.
        data: the inputs that each row has of its own, side by side, (rows, entries), none of which is above 1.
        shared_data: those that all rows share, (1, entries).
        shift: the logs of what the sums are to be multiplied by, (rows).

    Attributes:
        values: log of the sum, (rows); NaN where it is not proven.
        answers: the marginals that the layout asks for, (rows, answer); meaningless in rows that are not proven.
    """

    def __init__(self, layout: Layout, data: np.ndarray, shared_data: np.ndarray, shift: np.ndarray) -> None:
        self.layout, self.rows = layout, len(data)
        self.data, self.shared_data, self.shift = data, shared_data, shift
        self.values = np.empty(self.rows)
        self.answers = np.zeros((self.rows, layout.answer))
        #: memory of each worker: tables, derivatives, bounds
        self.made: list[tuple[np.ndarray, ...]] = []

    def run(self, weights: np.ndarray | None = None, gradients: np.ndarray | None = None) -> None:
        """Sum every row; with weights also the derivatives of their weighted sum."""
        if gradients is None and self._small():
            self._abreast(weights is not None)
            return
        layout, back = self.layout, weights is not None
        rows_gradients = np.zeros((self.rows, 0)) if gradients is None else gradients
        w = _ones(self.rows) if weights is None else weights
        self.made = [self._memory(back) for _ in range(workers_for(self.rows, self._work()))]
        logs = [self._shared(memory) for memory in self.made]

        def part(worker: int, first: int, last: int) -> None:
            x, g, scratch, *bounds = self.made[worker]
            contract.sweep_rows(
                first, last, back, x, g, w, self.data, self.shared_data[0], layout.inputs, layout.row_pairs,
                layout.index, layout.tables, layout.roots, layout.wanted, layout.shared_size, *bounds, scratch,
                self.values, self.answers, rows_gradients,
            )  # fmt: skip

        share(self.rows, self._work(), part)
        self.values += self.shift + logs[0] if logs[0] else self.shift

    def marginals(self) -> None:
        """Sum every row, and answer."""
        self.run(_ones(self.rows))

    def _work(self) -> float:
        return self.rows * (self.layout.work + 4.0 * self.layout.size)

    def _small(self) -> bool:
        """Whether rows go abreast: many, of tables that fill no registers of their own."""
        return self.rows >= FEW and self.layout.size <= SMALL and not self.layout.row_pairs[:, -1].any()

    def _abreast(self, back: bool) -> None:
        layout, memory = self.layout, self._memory(False)
        log = self._shared(memory)
        together = abreast.abreast(memory[0])
        wide = [self._widened(memory, together, back) for _ in range(workers_for(self.rows, self._work() / together))]

        def part(worker: int, first: int, last: int) -> None:
            x, g, bounds = wide[worker]
            abreast.sweep_abreast(
                first, last, back, x, g, self.data, layout.inputs, layout.row_pairs, layout.index, layout.tables,
                layout.roots, layout.wanted, layout.shared_size, bounds, self.values, self.answers,
            )  # fmt: skip

        share(self.rows, self._work() / together, part)
        self.values += self.shift + log
        self._give(*memory[:2], memory[2].reshape(-1), *(array for x, g, _ in wide for array in (x, g)))

    def _widened(
        self, memory: tuple[np.ndarray, ...], together: int, back: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tables, derivatives and bounds of rows abreast, with what all rows share in each of them."""
        narrow, size, shared = memory[0], self.layout.size, self.layout.shared_size
        x = self._take(size * together)
        g = self._take(size * together if back else 1)
        lines = x.reshape(size, together)
        lines[:shared] = narrow[:shared, None]
        for come, to, entries, at in self.layout.inputs.tolist():
            if come == COPIED:
                lines[to : to + entries] = self.shared_data[0, at : at + entries, None]
        return x, g, np.repeat(np.stack(memory[3:])[..., None], together, 2)

    def _memory(self, backwards: bool) -> tuple[np.ndarray, ...]:
        count, size = len(self.layout.tables), self.layout.size
        # whole registers are read, also where the last table ends
        x = self._take(size + SPARE)
        g = self._take(size + SPARE if backwards else 1)
        scratch = self._take(3 * self.layout.scratch).reshape(3, self.layout.scratch)
        g[: self.layout.shared_size] = 0.0
        bounds = np.zeros((5, count))
        bounds[0, -1], x[0] = 1.0, 1.0
        return x, g, scratch, *bounds

    def _take(self, count: int) -> np.ndarray:
        return np.empty(count) if self.layout.size < FRESH else take(count, np.dtype(np.float64))

    def _give(self, *arrays: np.ndarray) -> None:
        if self.layout.size >= FRESH:
            give(*arrays)

    def _shared(self, memory: tuple[np.ndarray, ...]) -> float:
        """The tables that all rows share."""
        if self.layout.shared_size == 1:
            return 0.0
        x, _, scratch, peaks, lost, factors, _, _ = memory
        for k, (come, to, size, at) in enumerate(self.layout.inputs.tolist()):
            if come == SHARED:
                x[to : to + size] = self.shared_data[0, at : at + size]
                peaks[k], lost[k] = 1.0, TINY
        layout = self.layout
        return contract.forward(x, layout.shared_pairs, layout.index, layout.tables, peaks, lost, factors, scratch)

    def shared_gradients(self, weights: np.ndarray) -> np.ndarray | None:
        """The derivatives by the logs of shared inputs, side by side; None if they are not proven."""
        layout = self.layout
        x, g, scratch, peaks, lost, factors, steep, missing = self.made[0]
        for _, other, _, *_, other_steep, other_missing in self.made[1:]:
            g[: layout.shared_size] += other[: layout.shared_size]
            own = layout.tables[:, 0] == 0
            steep[own] += other_steep[own]
            missing[own] += other_missing[own]
        contract.backward(
            x, g, 1.0, layout.shared_pairs, layout.index, layout.tables, peaks, lost, factors, steep, missing, scratch
        )
        worst = contract.unproven(True, layout.tables, peaks, lost, steep, missing)
        if not worst <= PROVEN * max(1.0, float(np.abs(weights).sum())):
            return None
        found = np.empty(self.shared_data.shape[1])
        for come, to, size, at in layout.inputs.tolist():
            if come == SHARED:
                found[at : at + size] = x[to : to + size] * g[to : to + size]
        return found

    def release(self) -> None:
        """Hand the memory back."""
        for x, g, scratch, *_ in self.made:
            self._give(x, g, scratch.reshape(-1))
        self.made = []


def _ones(rows: int) -> np.ndarray:
    found = np.empty(rows)
    found.fill(1.0)
    return found


def entered(tables: Sequence[Tensor], rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-tables, (states of the scope, rows or 1), as `Contraction` wants them."""
    own = [table for table in tables if rows == 1 or table.shape[-1] != 1]
    shared = [table for table in tables if rows != 1 and table.shape[-1] == 1]
    data, highs = _side_by_side(own, rows)
    shared_data, shared_highs = _side_by_side(shared, 1)
    return data, shared_data, highs.sum(1) + shared_highs.sum()


def _side_by_side(tables: Sequence[Tensor], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Tables in linear space, (rows, entries), their maxima 1, and the logs of those."""
    sizes = np.array([table[..., 0].numel() for table in tables], np.int64)
    parts = [table.detach().reshape(-1, rows).mT.double() for table in tables]
    logs = torch.cat([torch.empty(rows, 0, dtype=torch.float64), *parts], 1)
    highs = np.zeros((rows, len(tables)))
    contract.shift(logs.numpy(), sizes.cumsum() - sizes, sizes, highs)
    return logs.exp_().numpy(), highs

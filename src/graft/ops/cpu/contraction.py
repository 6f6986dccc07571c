"""Rows of a sum of products given to compiled kernels: memory, threads, and what is not proven."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from graft.ops.contraction.layout import ROW, SHARED, Layout
from graft.ops.cpu import contract
from graft.ops.cpu.large import LargeSweep
from graft.ops.cpu.share import give, share, take, workers_for


class Contraction:
    """One sum of products over all rows.

    Args:
        layout: of its tree.
        tables: log-tables, (states of the scope, rows or 1), double precision or less.
        rows: how many.

    Attributes:
        values: log of the sum, (rows); NaN where it is not proven.
        answers: the marginals that the layout asks for, (rows, answer); meaningless in rows that are not proven.
    """

    def __init__(self, layout: Layout, tables: Sequence[Tensor], rows: int) -> None:
        self.layout, self.rows = layout, rows
        self.shared_data, shared_highs = self._entered(tables, SHARED, 1)
        self.data, highs = self._entered(tables, ROW, rows)
        self.shift = highs.sum(1) + shared_highs.sum()
        self.values = np.empty(rows)
        self.answers = np.zeros((rows, layout.answer))
        #: memory of each worker: tables, derivatives, bounds
        self.made: list[tuple[np.ndarray, ...]] = []

    def _entered(self, tables: Sequence[Tensor], come: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """The inputs that come alike side by side, (rows, entries), maxima 1, and the logs of those."""
        inputs = self.layout.inputs
        mine = [k for k in range(len(inputs)) if (inputs[k, 0] == ROW) == (come == ROW)]
        parts = [tables[k].detach().reshape(-1, rows).mT.double() for k in mine]
        logs = torch.cat([torch.empty(rows, 0, dtype=torch.float64), *parts], 1)
        highs = np.zeros((rows, len(mine)))
        contract.shift(logs.numpy(), inputs[mine, 3], inputs[mine, 2], highs)
        return logs.exp_().numpy(), highs

    def run(self, weights: np.ndarray | None = None, gradients: np.ndarray | None = None) -> None:
        """Sum every row; with weights also the derivatives of their weighted sum."""
        layout = self.layout
        rows_gradients = np.zeros((self.rows, 0)) if gradients is None else gradients
        w = np.ones(self.rows) if weights is None else weights
        work = self.rows * (layout.work + 4.0 * layout.size)
        self.made = [self._memory(weights is not None) for _ in range(workers_for(self.rows, work))]
        logs = [self._shared(memory) for memory in self.made]

        def part(worker: int, first: int, last: int) -> None:
            x, g, *bounds = self.made[worker]
            if layout.large:
                self._rows(self.made[worker], first, last, w, rows_gradients, weights is not None)
                return
            back = weights is not None
            contract.sweep_rows(
                first, last, back, x, g, w, self.data, self.shared_data[0], layout.inputs, layout.row_pairs,
                layout.index, layout.tables, layout.roots, layout.wanted, layout.shared_size, *bounds, self.values,
                self.answers, rows_gradients,
            )  # fmt: skip

        share(self.rows, work, part)
        self.values += self.shift + logs[0]

    def _rows(
        self, memory: tuple[np.ndarray, ...], first: int, last: int, w: np.ndarray, out: np.ndarray, backwards: bool
    ) -> None:
        """As `contract.sweep_rows`, large pairs by matrix products."""
        layout, sweep = self.layout, LargeSweep(self.layout, memory)
        x, g, peaks, lost, factors, steep, missing = memory
        tables, roots = layout.tables, layout.roots
        for row in range(first, last):
            contract.enter(row, x, self.data, self.shared_data[0], layout.inputs, peaks, lost, factors)
            value = sweep.forward()
            self.values[row] = value = value + contract.product(x, tables, roots, lost)
            if not backwards or value != value or w[row] == 0.0:
                continue
            contract.turn(x, g, w[row], tables, roots, layout.shared_size, lost, steep, missing)
            sweep.backward(w[row])
            if not contract.unproven(False, tables, peaks, lost, steep, missing) <= contract.PROVEN:
                self.values[row] = np.nan
            contract.leave(
                row, w[row], x, g, layout.inputs, layout.index, tables, factors, layout.wanted, self.answers, out
            )

    def _memory(self, backwards: bool) -> tuple[np.ndarray, ...]:
        count, size = len(self.layout.tables), self.layout.size
        x = take(size, np.dtype(np.float64))
        g = take(size if backwards else 1, np.dtype(np.float64))
        g[: self.layout.shared_size] = 0.0
        bounds = [np.zeros(count) for _ in range(5)]
        bounds[0][-1], x[0] = 1.0, 1.0
        return x, g, *bounds

    def _shared(self, memory: tuple[np.ndarray, ...]) -> float:
        """The tables that all rows share."""
        x, _, peaks, lost, factors, _, _ = memory
        for k, (come, to, size, at) in enumerate(self.layout.inputs.tolist()):
            if come == SHARED:
                x[to : to + size] = self.shared_data[0, at : at + size]
                peaks[k], lost[k] = 1.0, contract.TINY
        layout = self.layout
        return contract.forward(x, layout.shared_pairs, layout.index, layout.tables, peaks, lost, factors)

    def shared_gradients(self, weights: np.ndarray) -> np.ndarray | None:
        """The derivatives by the logs of shared inputs, side by side; None if they are not proven."""
        layout = self.layout
        x, g, peaks, lost, factors, steep, missing = self.made[0]
        for _, other, *_, other_steep, other_missing in self.made[1:]:
            g[: layout.shared_size] += other[: layout.shared_size]
            own = layout.tables[:, 0] == 0
            steep[own] += other_steep[own]
            missing[own] += other_missing[own]
        contract.backward(
            x, g, 1.0, layout.shared_pairs, layout.index, layout.tables, peaks, lost, factors, steep, missing
        )
        worst = contract.unproven(True, layout.tables, peaks, lost, steep, missing)
        if not worst <= contract.PROVEN * max(1.0, float(np.abs(weights).sum())):
            return None
        found = np.empty(self.shared_data.shape[1])
        for come, to, size, at in layout.inputs.tolist():
            if come == SHARED:
                found[at : at + size] = x[to : to + size] * g[to : to + size]
        return found

    def release(self) -> None:
        """Hand the memory back."""
        for x, g, *_ in self.made:
            give(x, g)
        self.made = []

"""The narrowest arithmetic that loses nothing, for each row of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from graft.ops.cpu.rows import LogSpace, Varying
from graft.ops.cpu.sweeps import Sweep, tables

DOUBLE = np.dtype(np.float64)
Gradients = tuple[np.ndarray, np.ndarray]


@dataclass
class Part:
    """Rows that were swept in one way.

    Attributes:
        rows: which, (n).
        kept: of which of these the result counts, (n); the others were swept again.
        sweep: what was found.
        dtype: the arithmetic; `None` for log space.
    """

    rows: np.ndarray
    kept: np.ndarray
    sweep: Sweep | Varying | LogSpace
    dtype: np.dtype | None

    @property
    def way(self) -> str:
        """The arithmetic, in words."""
        return "log space" if self.dtype is None else f"linear space, {self.dtype.name}"


class Swept:
    """The forward half of `log_z`: every row swept in the first way that loses nothing.

    The ways are linear space in the type of the potentials, linear space in double precision, and log space.

    Args:
        unary: (b, T, S), with b and T at least 1.
        pairwise: (b or 1, T-1 or 1, S, S).
        lengths: (b).

    Attributes:
        log_z: (b), float64.
        parts: what was swept.
    """

    def __init__(self, unary: Tensor, pairwise: Tensor, lengths: Tensor) -> None:
        self.unary, self.pairwise = np.ascontiguousarray(unary.numpy()), pairwise.numpy()
        self.lengths = np.ascontiguousarray(lengths.numpy(), np.int64)
        self.log_z = np.zeros(len(self.unary))
        self.parts: list[Part] = []
        left = np.arange(len(self.unary))
        for dtype in dict.fromkeys((self.unary.dtype, DOUBLE)):
            left = self._linear(left, dtype)
            if len(left) == 0:
                return
        self._log_space(left)

    def _take(self, rows: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The potentials and lengths of some rows."""
        unary, pairwise, lengths = self.unary, self.pairwise, self.lengths
        if len(rows) < len(lengths):
            unary, lengths = unary[rows], lengths[rows]
            pairwise = pairwise[rows] if len(pairwise) > 1 else pairwise
        return unary.astype(dtype, copy=False), pairwise, lengths

    def _linear(self, rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Sweeps rows in linear space; returns those that were lost."""
        unary, pairwise, lengths = self._take(rows, dtype)
        sweep: Sweep | Varying
        if pairwise.shape[1] == 1:
            ready = tables(pairwise[:, 0], dtype)
            if ready.run == 0:
                return rows
            sweep = Sweep(unary, ready, lengths)
        else:
            sweep = Varying(unary, np.ascontiguousarray(pairwise, dtype), lengths)
        kept = ~sweep.lost
        self.log_z[rows] = sweep.log_z
        if kept.any():
            self.parts.append(Part(rows, kept, sweep, dtype))
        else:
            sweep.release()
        return rows[~kept]

    def _log_space(self, rows: np.ndarray) -> None:
        unary, pairwise, lengths = self._take(rows, DOUBLE)
        sweep = LogSpace(unary, np.ascontiguousarray(pairwise, DOUBLE), lengths)
        self.log_z[rows] = sweep.log_z
        self.parts.append(Part(rows, np.ones(len(rows), bool), sweep, None))

    def release(self) -> None:
        """Gives scratch back where no gradient will be asked for."""
        for part in self.parts:
            part.sweep.release()

    def gradients(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Marginals (b, T, S) times weights (b), and the weighted sum of pair marginals, as `pairwise`; once only."""
        weights = weight.numpy().astype(DOUBLE)
        found = [self._of(part, weights) for part in self.parts]
        if len(found) == 1 and found[0] is not None:
            by_unary, by_pairwise = found[0]
        else:
            by_unary, by_pairwise = self._joined(found, weights)
        by_unary, by_pairwise = (x.astype(self.unary.dtype, copy=False) for x in (by_unary, by_pairwise))
        return torch.from_numpy(by_unary), torch.from_numpy(by_pairwise)

    def _joined(self, found: list[Gradients | None], weights: np.ndarray) -> Gradients:
        """The gradients of all rows from those of the parts."""
        by_unary, by_pairwise = np.zeros_like(self.unary), np.zeros(self.pairwise.shape)
        for part, both in zip(self.parts, found, strict=True):
            single, pairs = both or self._again(part, weights)
            by_unary[part.rows[part.kept]] = single[part.kept]
            if len(by_pairwise) == 1:
                by_pairwise += pairs
            else:
                by_pairwise[part.rows[part.kept]] = pairs[part.kept]
        return by_unary, by_pairwise

    def _of(self, part: Part, weights: np.ndarray) -> Gradients | None:
        """The gradients of a part; `None` if the way back lost rows that the way there did not."""
        single, pairs = part.sweep.backward(np.where(part.kept, weights[part.rows], 0.0))
        if part.dtype is not None and (part.sweep.lost & part.kept).any():  # type: ignore[union-attr]
            return None
        return single, pairs.reshape(-1, *self.pairwise.shape[1:])

    def _again(self, part: Part, weights: np.ndarray) -> Gradients:
        """As `_of` where rows were lost: in log space."""
        unary, pairwise, lengths = self._take(part.rows, DOUBLE)
        sweep = LogSpace(unary, np.ascontiguousarray(pairwise, DOUBLE), lengths)
        return sweep.backward(np.where(part.kept, weights[part.rows], 0.0))

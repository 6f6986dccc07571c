"""The narrowest arithmetic that loses nothing, for each row of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from graft.ops.cpu.rows import LogSpace, Varying
from graft.ops.cpu.sweeps import Sweep

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
#: The types of linear space, the narrowest first, by the type of the potentials.
TYPES = {SINGLE: (SINGLE, DOUBLE), DOUBLE: (DOUBLE,)}
NONE = np.empty(0, np.int64)
Gradients = tuple[np.ndarray, np.ndarray]


@dataclass
class Part:
    """Rows that were swept in one way.

    Attributes:
        rows: which, (n); `None` if all.
        kept: of which of these the result counts, (n), `None` if all; the others were swept again.
        sweep: what was found.
        dtype: the arithmetic; `None` for log space.
    """

    rows: np.ndarray | None
    kept: np.ndarray | None
    sweep: Sweep | Varying | LogSpace
    dtype: np.dtype | None

    @property
    def way(self) -> str:
        """The arithmetic, in words."""
        return "log space" if self.dtype is None else f"linear space, {self.dtype.name}"

    def weights(self, weights: np.ndarray) -> np.ndarray:
        """Those of its rows, 0 for rows that do not count."""
        own = weights if self.rows is None else weights[self.rows]
        return own if self.kept is None else np.where(self.kept, own, 0.0)

    def places(self, count: int) -> np.ndarray:
        """The rows that count, among all."""
        rows = np.arange(count) if self.rows is None else self.rows
        return rows if self.kept is None else rows[self.kept]

    def of_kept(self, found: np.ndarray) -> np.ndarray:
        """What was found of the rows that count."""
        return found if self.kept is None else found[self.kept]


class Swept:
    """The forward half of `log_z`: every row swept in the first way that loses nothing.

    The ways are linear space in the type of the potentials, linear space in double precision, and log space.

    Args:
        unary: (b, T, S), with b and T at least 1.
        pairwise: (b or 1, T-1 or 1, S, S), or (S, S).
        lengths: (b).

    Attributes:
        log_z: (b), float64.
        parts: what was swept.
    """

    def __init__(self, unary: Tensor, pairwise: Tensor, lengths: Tensor) -> None:
        self.unary, tables = unary.contiguous().numpy(), pairwise.numpy()
        self.shape = tables.shape
        self.pairwise = tables if tables.ndim == 4 else tables[None, None]
        self.lengths = lengths.contiguous().numpy()
        self.parts: list[Part] = []
        self.log_z: np.ndarray | None = None
        left: np.ndarray | None = None
        for dtype in TYPES[self.unary.dtype]:
            left = self._linear(left, dtype)
            if left is not None and len(left) == 0:
                return
        self._log_space(left)

    def _take(self, rows: np.ndarray | None, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The potentials and lengths of some rows."""
        unary, pairwise, lengths = self.unary, self.pairwise, self.lengths
        if rows is not None:
            unary, lengths = unary[rows], lengths[rows]
            pairwise = pairwise[rows] if len(pairwise) > 1 else pairwise
        return unary.astype(dtype, copy=False), pairwise, lengths

    def _record(self, rows: np.ndarray | None, log_z: np.ndarray) -> None:
        """Keeps the results of some rows; they are all of them at first."""
        if rows is None:
            self.log_z = log_z
        else:
            assert self.log_z is not None
            self.log_z[rows] = log_z

    def _linear(self, rows: np.ndarray | None, dtype: np.dtype) -> np.ndarray | None:
        """Sweeps rows in linear space; returns those that were lost, `None` if all were."""
        unary, pairwise, lengths = self._take(rows, dtype)
        sweep: Sweep | Varying
        if pairwise.shape[1] == 1:
            sweep = Sweep(unary, np.ascontiguousarray(pairwise[:, 0]), lengths)
        else:
            sweep = Varying(unary, np.ascontiguousarray(pairwise, dtype), lengths)
        self._record(rows, sweep.log_z)
        if sweep.safe or not sweep.lost.any():
            self.parts.append(Part(rows, None, sweep, dtype))
            return NONE
        if sweep.lost.all():
            sweep.release()
            return rows
        self.parts.append(Part(rows, ~sweep.lost, sweep, dtype))
        return np.flatnonzero(sweep.lost) if rows is None else rows[sweep.lost]

    def _log_space(self, rows: np.ndarray | None) -> None:
        unary, pairwise, lengths = self._take(rows, DOUBLE)
        sweep = LogSpace(unary, np.ascontiguousarray(pairwise, DOUBLE), lengths)
        self._record(rows, sweep.log_z)
        self.parts.append(Part(rows, None, sweep, None))

    def release(self) -> None:
        """Gives scratch back where no gradient will be asked for."""
        for part in self.parts:
            part.sweep.release()

    def value(self) -> Tensor:
        """log Z (b) in the type of the potentials."""
        assert self.log_z is not None
        return torch.from_numpy(self.log_z.astype(self.unary.dtype, copy=False))

    def gradients(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Marginals (b, T, S) times weights (b), and the weighted sum of pair marginals, as `pairwise`; once only."""
        weights, dtype = weight.numpy().astype(DOUBLE), self.unary.dtype
        found = [self._of(part, weights) for part in self.parts]
        if len(found) == 1 and found[0] is not None:
            by_unary, by_pairwise = found[0]
        else:
            by_unary, by_pairwise = self._joined(found, weights)
        single, pairs = by_unary.astype(dtype, copy=False), by_pairwise.astype(dtype, copy=False)
        return torch.from_numpy(single), torch.from_numpy(pairs.reshape(self.shape))

    def pair_marginals(self) -> Tensor | None:
        """Marginals of pairs (b, T-1, S, S), if one sweep of one table serves all rows; in place of `gradients`."""
        part = self.parts[0]
        if part.rows is None and part.kept is None and isinstance(part.sweep, Sweep):
            found = part.sweep.pair_marginals()
            if part.sweep.safe or not part.sweep.lost.any():
                return torch.from_numpy(found.astype(self.unary.dtype, copy=False))
        self.release()
        return None

    def _joined(self, found: list[Gradients | None], weights: np.ndarray) -> Gradients:
        """The gradients of all rows from those of the parts."""
        by_unary, by_pairwise = np.zeros_like(self.unary), np.zeros(self.pairwise.shape)
        for part, both in zip(self.parts, found, strict=True):
            single, pairs = both or self._again(part, weights)
            places = part.places(len(self.unary))
            by_unary[places] = part.of_kept(single)
            if len(by_pairwise) == 1:
                by_pairwise += pairs
            else:
                by_pairwise[places] = part.of_kept(pairs)
        return by_unary, by_pairwise

    def _of(self, part: Part, weights: np.ndarray) -> Gradients | None:
        """The gradients of a part; `None` if the way back lost rows that the way there did not."""
        sweep = part.sweep
        single, pairs = sweep.backward(part.weights(weights))
        if not sweep.safe and part.of_kept(sweep.lost).any():
            return None
        return single, pairs.reshape(-1, *self.pairwise.shape[1:])

    def _again(self, part: Part, weights: np.ndarray) -> Gradients:
        """As `_of` where rows were lost: in log space."""
        unary, pairwise, lengths = self._take(part.rows, DOUBLE)
        sweep = LogSpace(unary, np.ascontiguousarray(pairwise, DOUBLE), lengths)
        return sweep.backward(part.weights(weights))

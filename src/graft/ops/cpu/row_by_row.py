"""The E-step of few or difficult chains: each row on its own."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from graft.ops.cpu.chain_sums import Parameters, Squares, Sums
from graft.ops.cpu.choose import Swept


class RowByRow:
    """Rows of features; right for parameters of any size.

    Args:
        features: (B, T, F), or symbols (B, T), whole numbers; finite beyond a row's length.
        lengths: (B,).
    """

    def __init__(self, features: np.ndarray | Squares, lengths: np.ndarray) -> None:
        features = features.whole() if isinstance(features, Squares) else features
        self.symbols = features.ndim == 2
        self.features, self.lengths = torch.from_numpy(features), torch.from_numpy(lengths)

    def _flat(self) -> Tensor:
        """(B T, F)."""
        return self.features.flatten(0, 1)

    def _unary(self, now: Parameters) -> tuple[Tensor, Tensor | None]:
        """Log-potentials (B, T, S), and the shares (B, T, S, components) if there are several."""
        constants, natural = torch.from_numpy(now.constants), torch.from_numpy(now.natural)
        if self.symbols:
            each = natural.T.contiguous()[self._flat()]
        else:
            each = torch.addmm(constants, self._flat(), natural.T)
        each = each.reshape(*self.features.shape[:2], len(now.start), -1)
        several = each.shape[3] > 1
        unary = each.logsumexp(3) if several else each[..., 0]
        shares = (each - torch.where(unary > -torch.inf, unary, 0.0)[..., None]).exp_() if several else None
        unary[:, 0] += torch.from_numpy(now.start)
        return unary, shares

    def _move(self, now: Parameters) -> Tensor:
        return torch.from_numpy(now.move)[None, None]

    def expect(self, now: Parameters) -> Sums | None:
        """The E-step; `None` if a row is impossible."""
        unary, shares = self._unary(now)
        swept = Swept(unary, self._move(now), self.lengths)
        log_z = swept.value().numpy()
        if not np.isfinite(log_z).all():
            swept.release()
            return None
        states, counts = swept.gradients(torch.ones(len(log_z), dtype=torch.float64))
        each = (states if shares is None else states[..., None] * shares).reshape(-1, len(now.constants))
        moments = self._tally(each, now.natural.shape[1]) if self.symbols else each.T @ self._flat()
        starts = states[:, 0].sum(0).numpy()
        return Sums(log_z, starts, counts[0, 0].numpy(), each.sum(0).numpy(), moments.numpy())

    def _tally(self, each: Tensor, symbols: int) -> Tensor:
        """(S, V)."""
        return each.new_zeros(symbols, each.shape[1]).index_add_(0, self._flat(), each).T

"""The E-step of hidden Markov models whose emissions are linear in features of the data, by compiled kernels."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, Shaped

from graft.ops.cpu.chain_sums import Parameters, Squares, Sums

if TYPE_CHECKING:
    from graft.ops.cpu.row_by_row import RowByRow
    from graft.ops.cpu.side_by_side import SideBySide

#: Rows below which lanes stay empty, and each row is swept on its own.
ROWS = 6


class BaumWelch:
    r"""Sequences as an E-step needs them, again and again.

    The posterior $\gamma_t(k) = p(s_t = k \mid x)$ and the expected counts of transitions come from one sweep forward
    and one back, and the moments $\sum_t \gamma_t(k) \, \phi(x_t)$ from the second of these; nothing of the size of
    elements times states is written but messages.

    Args:
        features: the $\phi$, (B, T, F), float64; symbols (B, T), whole numbers; or vectors with their squares. Finite
            beyond a row's length.
        lengths: (B,).

    Source: Baum, Petrie, Soules & Weiss 1970; Rabiner 1989, equations 37 to 40.

    Example:
        >>> chain = BaumWelch(np.array([[0, 0, 1]]), np.array([3]))
        >>> half = np.log(np.full((2, 2), 0.5))
        >>> found = chain.expect(Parameters(half[0], half, half, np.zeros(2)))
        >>> found.log_z.round(4), found.moments
        (array([-2.0794]), array([[1. , 0.5],
               [1. , 0.5]]))
    """

    def __init__(self, features: Shaped[np.ndarray, "b t *f"] | Squares, lengths: Int[np.ndarray, " b"]) -> None:
        self.features, self.lengths = features, lengths
        self.narrow = len(lengths) < ROWS

    @cached_property
    def rows(self) -> RowByRow:
        """Each row on its own."""
        from graft.ops.cpu.row_by_row import RowByRow

        return RowByRow(self.features, self.lengths)

    @cached_property
    def _blocks(self) -> SideBySide:
        from graft.ops.cpu.side_by_side import SideBySide

        return SideBySide(self.features, self.lengths)

    def expect(self, now: Parameters) -> Sums | None:
        """The E-step; `None` if a row is impossible."""
        if not self.narrow:
            found = self._blocks.expect(now)
            if found is not None:
                return found
            # what is too wide for linear space once is so at the next parameters, too
            self.narrow = True
        return self.rows.expect(now)

"""A figure of every row of a batch, with its kind and its Monte-Carlo standard error."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor

from graft.evaluation.kinds import Kind


@dataclass(frozen=True, eq=False)
class Figure:
    r"""A quantity of every row, in nats, and its mean over rows.

    The standard error is that of the draws alone: the rows are what they are. What other rows would have given is told
    by `spread`, the standard deviation over rows; the standard error of a mean over a population of rows is
    `spread` / $\sqrt{N}$.

    Args:
        name: of the quantity.
        kind: what the numbers are of it.
        rows: shape batch.
        row_errors: the Monte-Carlo standard error of each row; 0 where nothing was drawn.

    Example:
        >>> import torch
        >>> rows, errors = torch.tensor([1.0, 2.0]).double(), torch.tensor([0.03, 0.04]).double()
        >>> found = Figure("KL(z)", Kind.ESTIMATE, rows, errors)
        >>> print(found)
        KL(z): 1.500 ± 0.025 nats (estimate, 2 rows)
        >>> found.spread
        0.70...
    """

    name: str
    kind: Kind
    rows: Float64[Tensor, "*batch"]
    row_errors: Float64[Tensor, "*batch"]

    @property
    def mean(self) -> float:
        """Over all rows."""
        return float(self.rows.mean())

    @property
    def error(self) -> float:
        """The Monte-Carlo standard error of the mean; the draws of different rows are independent."""
        return float(self.row_errors.square().sum().sqrt()) / self.rows.numel()

    @property
    def spread(self) -> float | None:
        """The standard deviation over rows; None with a single one, infinite where a row is."""
        if self.rows.numel() < 2:
            return None
        return float(self.rows.std()) if math.isfinite(self.mean) else math.inf

    def __str__(self) -> str:
        return f"{self.name}: {self._number()} nats ({', '.join(self._notes())})"

    def _notes(self) -> list[str]:
        count = self.rows.numel()
        return [self.kind.value, f"{count} row{'s' if count != 1 else ''}"]

    def _number(self) -> str:
        error = self.error
        if not error > 0 or not math.isfinite(error):
            return f"{self.mean:.6g}" + (" ± infinity" if error > 0 else "")
        # two digits of the error, and the mean to the same place
        digits = min(9, max(0, 1 - math.floor(math.log10(error))))
        return f"{self.mean:.{digits}f} ± {error:.{digits}f}"

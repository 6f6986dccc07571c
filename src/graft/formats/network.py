"""What BIF and UAI files say, as plain data: what readers give and writers take."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["BAYES", "MARKOV"]

#: Entries of one table; more would not fit beside anything else (512 MiB).
CELLS = 2**26
#: Variables of one table: tensors have no more axes.
AXES = 64
#: How far from one the sum of a row of probabilities may be; nearer, it is renormalised.
NEAR = 1e-4
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Variable:
    """A discrete variable.

    Attributes:
        name: any text.
        states: how many.
        labels: their names, if they have any.
    """

    name: str
    states: int
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """A factor: probabilities of the last variable given the others (BAYES), or a potential (MARKOV).

    Attributes:
        scope: places of its variables.
        values: float64, not negative, one axis per variable in order.
    """

    scope: tuple[int, ...]
    values: Tensor


@dataclass(frozen=True, eq=False)
class Network:
    """A network of tables.

    Attributes:
        kind: directed (BAYES: one conditional for each variable) or not (MARKOV).
        variables: in the order of the file.
        tables: likewise.
    """

    kind: Kind
    variables: tuple[Variable, ...]
    tables: tuple[Table, ...]


def cells(sizes: tuple[int, ...]) -> str | None:
    """Why a table of these sizes cannot be held, or None.

    Example:
        >>> cells((2, 3))
        >>> cells((2,) * 40)
        'a table of 1,099,511,627,776 entries; 67,108,864 are the most'
    """
    if len(sizes) > AXES:
        return f"a table over {len(sizes)} variables; {AXES} are the most"
    if prod(sizes) > CELLS:
        return f"a table of {prod(sizes):,} entries; {CELLS:,} are the most"
    return None


def log_rows(probs: Tensor) -> Tensor:
    r"""The logarithms of rows of probabilities, each divided by its sum: what a conditional made of them holds.

    A sum that differs from one by no more than rounding is left, so that what was normalised once stays as it is.

    Readers and writers share this function, so that a writer can tell which decimals give a model back to the bit.

    Args:
        probs: float64, (rows, states).

    Example:
        >>> log_rows(torch.tensor([[0.5, 0.5], [0.0, 1.0]], dtype=torch.float64))
        tensor([[-0.6931, -0.6931],
                [   -inf,  0.0000]], dtype=torch.float64)
    """
    probs = probs.contiguous()
    total = probs.sum(-1, keepdim=True)
    return (probs / torch.where((total - 1).abs() <= _ROUNDING, 1.0, total)).log()


def far(probs: Tensor) -> Tensor:
    """Which rows (rows, states) do not sum to one.

    Example:
        >>> far(torch.tensor([[0.5, 0.50001], [0.5, 0.6]]))
        tensor([False,  True])
    """
    return ~((probs.sum(-1) - 1).abs() <= NEAR)

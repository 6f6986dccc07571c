"""Numbers as files have them: what may be read, and the shortest decimals that give a table back."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor

from graft.formats.network import log_rows

#: A decimal number; neither nan nor inf, no underscores.
NUMBER = r"(?>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"

_NUMBER = re.compile(NUMBER)
_ZERO = re.compile(r"[+-]?[0.]+(?:[eE].*)?")
#: Digits tried in turn: what people write; what any float64 keeps; what survives a logarithm of a tiny number.
_DIGITS = (6, 15, 12, 9)
_LONG = 12
_TOLERANCE = 1e-12


def wrong(word: str) -> str | None:
    """Why a word is no number that a table may hold, or None.

    Example:
        >>> wrong("1e-3"), wrong("-1"), wrong("nan")
        (None, "'-1' is negative", "a number is expected, not 'nan'")
        >>> wrong("1e-999")
        "'1e-999' is not zero, but too small for a float64"
    """
    if not _NUMBER.fullmatch(word):
        return f"a number is expected, not {shown(word)}"
    value = float(word)
    if value < 0:
        return f"{shown(word)} is negative"
    if value == float("inf"):
        return f"{shown(word)} is too large for a float64"
    if value == 0 and not _ZERO.fullmatch(word):
        return f"{shown(word)} is not zero, but too small for a float64"
    return None


def shown(word: str) -> str:
    """A word of a file in a message, cut if it is long.

    Example:
        >>> shown("a" * 99)
        "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...'"
    """
    return repr(word) if len(word) <= 40 else repr(word[:40] + "...")


def normalised(logits: Tensor) -> Tensor:
    """Logits less the logarithm of their rows' sums, where that is more than rounding.

    Args:
        logits: float64, states last.

    Example:
        >>> normalised(torch.tensor([0.0, 0.0], dtype=torch.float64))
        tensor([-0.6931, -0.6931], dtype=torch.float64)
    """
    total = logits.logsumexp(-1, keepdim=True)
    return torch.where(total.abs() <= _TOLERANCE, logits, logits - total)


def probabilities(logits: Tensor) -> Tensor | None:
    r"""Probabilities that, read again, give a conditional table of these logits.

    Where decimals of few digits give the logits back to the bit, these; else the nearest float64.

    Args:
        logits: (rows, states), of the type that the table has; `-inf` for zero.

    Returns:
        float64 (rows, states); None if a probability is too small for a float64.

    Example:
        >>> probabilities(torch.tensor([[0.1, 0.9]], dtype=torch.float64).log()).tolist()
        [[0.1, 0.9]]
    """
    normal = normalised(logits.double())

    def again(candidate: Tensor) -> Tensor:
        return (log_rows(candidate).to(logits.dtype) == logits).all(-1)

    found = _shortest(_exponential(normal, logits), again)
    good = again(found) | _near(log_rows(found), normal).all(-1)
    return found if bool(good.all()) else None


def potentials(logs: Tensor) -> Tensor | None:
    r"""Numbers whose logarithms are these.

    Args:
        logs: log-potentials of any shape and type; `-inf` for zero.

    Returns:
        float64, the same shape; None if one is too large or too small for a float64.

    Example:
        >>> potentials(torch.tensor([12.5, 0.1], dtype=torch.float64).log()).tolist()
        [12.5, 0.1]
    """
    flat = logs.reshape(-1)

    def again(candidate: Tensor) -> Tensor:
        return (candidate.log().to(flat.dtype) == flat) & candidate.isfinite()

    found = _shortest(_exponential(flat.double(), flat), again)
    good = again(found) | (_near(found.log(), flat.double()) & found.isfinite())
    return found.reshape(logs.shape) if bool(good.all()) else None


def _exponential(logs: Tensor, wanted: Tensor) -> Tensor:
    """The exponentials of logarithms, moved by a float64 or two where that gives the logarithm wanted to the bit."""
    values = logs.exp()
    found = values.clone()
    for toward in (0.0, torch.inf):
        moved = values
        for _ in range(2):
            moved = moved.nextafter(torch.full_like(values, toward))
            better = (found.log().to(wanted.dtype) != wanted) & (moved.log().to(wanted.dtype) == wanted)
            found = torch.where(better, moved, found)
    return found


def _shortest(values: Tensor, again: Callable[[Tensor], Tensor]) -> Tensor:
    """Values (rows, ...) with as few digits as pass, row by row; those that none does stay."""
    found, left = values.clone(), torch.ones(len(values), dtype=torch.bool)
    for digits in _DIGITS:
        if digits == _LONG:
            # whose own float64 does is not worth more tries
            left &= ~again(found)
        rows = left.nonzero().squeeze(-1)
        if not len(rows):
            break
        rounded = torch.tensor([float(f"{x:.{digits}g}") for x in values[rows].flatten().tolist()], dtype=torch.float64)
        rounded = rounded.reshape(values[rows].shape)
        # the whole table, so that sums and logarithms run as they will when the file is read
        candidate = found.index_copy(0, rows, rounded)
        good = again(candidate)[rows]
        found[rows[good]] = rounded[good]
        left[rows[good]] = False
    return found


def _near(logs: Tensor, wanted: Tensor) -> Tensor:
    """Which logarithms are those wanted, up to the rounding of a float64."""
    # infinities are equal or not: their difference is NaN
    return (logs == wanted) | ((logs - wanted).abs() <= _TOLERANCE * wanted.abs().clamp_min(1))

"""What a structured distribution refuses, before it computes anything."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from graft.errors import GraftError, ImpossibleEvidence, ShapeError
from graft.ops.logspace import NEG_INF

#: The types that numpy has too.
_PLAIN = {torch.float32, torch.float64}


def chain_batch(unary: Shaped[Tensor, " ..."], pairwise: Shaped[Tensor, " ..."]) -> torch.Size:
    """The batch shape of the potentials of a chain.

    Raises:
        ShapeError: the shapes do not fit.
        GraftError: the potentials are not real floating-point numbers.
    """
    if not (unary.is_floating_point() and pairwise.is_floating_point()):
        raise GraftError(f"potentials must be real floating-point, not {unary.dtype} and {pairwise.dtype}")
    if unary.dim() < 2 or unary.shape[-1] == 0 or pairwise.dim() < 2:
        raise ShapeError(_misfit(unary, pairwise))
    length, states = unary.shape[-2:]
    core = (states, states) if pairwise.dim() == 2 else (max(length - 1, 0), states, states)
    if tuple(pairwise.shape[-3:]) not in (core, (1, states, states)):
        raise ShapeError(_misfit(unary, pairwise))
    if pairwise.dim() <= 3:
        return unary.shape[:-2]
    try:
        return torch.broadcast_shapes(unary.shape[:-2], pairwise.shape[:-3])
    except RuntimeError as error:
        raise ShapeError(f"{_misfit(unary, pairwise)}, with batch dimensions that broadcast") from error


def _misfit(unary: Tensor, pairwise: Tensor) -> str:
    return (
        f"unary {tuple(unary.shape)} and pairwise {tuple(pairwise.shape)} do not fit:"
        " unary is (..., T, S) with S >= 1, pairwise is (S, S) or (..., T-1, S, S) or (..., 1, S, S)"
    )


def usable(x: Tensor) -> bool:
    """Whether all entries are finite or `-inf`; one reduction, since a maximum keeps NaN."""
    x = x.detach()
    if x.numel() == 0:
        return True
    if x.dtype in _PLAIN and x.device.type == "cpu" and x.is_contiguous() and not torch.compiler.is_compiling():
        return bool(np.maximum.reduce(x.numpy(), axis=None) < -NEG_INF)  # numpy's reads twice as fast
    return x.amax().item() < -NEG_INF


def refuse_unusable(x: Tensor, name: str) -> None:
    """Raises if potentials are NaN or `+inf`, and names the first place."""
    if not usable(x):
        first = (x.isnan() | (x == -NEG_INF)).nonzero()[0].tolist()
        raise GraftError(
            f"{name} is NaN or +inf at existing elements, first at {first} (batch flattened);"
            " potentials are finite or -inf"
        )


def refuse_impossible(score: Float[Tensor, " b"], batch_shape: tuple[int, ...]) -> None:
    """Raises if rows have the log-score `-inf`, and names them."""
    dead = (score == NEG_INF).reshape(batch_shape)
    if bool(dead.any()):
        rows = [tuple(row) for row in dead.nonzero().tolist()]
        shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
        raise ImpossibleEvidence(f"every sequence has probability zero in batch rows {shown}", rows)


def expand(x: Tensor, shape: tuple[int, ...], name: str, rule: str) -> Tensor:
    """Broadcasts, or says what does not fit."""
    try:
        return x.expand(shape)
    except RuntimeError as error:
        message = f"{name} {tuple(x.shape)} does not fit: it is {rule}, here {tuple(shape)}"
        raise ShapeError(message) from error


def expand_states(states: Tensor, batch: tuple[int, ...], length: int) -> Tensor:
    """States (..., T) broadcast against a batch; more dimensions may lead."""
    rule = f"states {tuple(states.shape)} do not fit: they are (..., T) over a batch, here {(*batch, length)}"
    if states.dim() == 0 or states.shape[-1] != length:
        raise ShapeError(rule)
    try:
        return states.expand(*torch.broadcast_shapes(states.shape[:-1], batch), length)
    except RuntimeError as error:
        raise ShapeError(rule) from error


def positive(k: Any, name: str) -> int:
    """A positive whole number of Python or numpy.

    Raises:
        GraftError: it is none; True is no number.
    """
    if not _whole(k) or k < 1:
        raise GraftError(f"{name} takes a positive integer, not {k!r}")
    return int(k)


def draws_shape(shape: Any) -> tuple[int, ...]:
    """The shape of draws, from a whole number or a tuple of them.

    Raises:
        GraftError: it is none, or a number is negative.
    """
    found = shape if isinstance(shape, tuple | list) else (shape,)
    if not all(_whole(n) and n >= 0 for n in found):
        raise GraftError(f"the shape of draws is a whole number of at least 0, or a tuple of them, not {shape!r}")
    return tuple(int(n) for n in found)


def _whole(n: Any) -> bool:
    return isinstance(n, Integral) and not isinstance(n, bool)


def integers_only(x: Tensor, name: str) -> None:
    """Raises unless a tensor has an integer type."""
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise GraftError(f"{name} must be integers, not {x.dtype}")


def spread(x: Tensor) -> str:
    """The range of the entries, for messages."""
    return f"{int(x.min())}..{int(x.max())}"

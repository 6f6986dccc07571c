"""Checks that factors share: the event shape a user told, and whether a network keeps to it."""

from __future__ import annotations

from torch import Tensor

from graft.errors import GraftError, ShapeError
from graft.factors.base import Call


def told_event(dim: int | None, shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The event shape from `dim=` or `shape=`, or None if neither is told.

    Raises:
        GraftError: if both are told.
    """
    if dim is not None and shape is not None:
        raise GraftError(f"dim={dim} and shape={shape} say the same thing: give one of them")
    return (dim,) if dim is not None else shape


def check_event(out: Tensor, event: tuple[int, ...] | None, call: Call, who: str) -> None:
    """Whether a network's output is leading (+ axes if `call.as_given`), then this event shape.

    An event that nobody told is a vector of any length.

    Raises:
        ShapeError: naming the factor, the inputs and both shapes.
    """
    rank = out.dim() - (1 if event is None else len(event))
    # a network without inputs returns one event for all
    least = (call.leading or 0) if call.arguments else 0
    good = rank >= least if call.as_given or call.leading is None else rank == least
    if not good or (event is not None and tuple(out.shape[rank:]) != event):
        leading = "any" if call.leading is None else call.leading
        raise ShapeError(
            f"{who} needs {leading} leading dimensions, then {event or 'those of its event'}; its network "
            f"returned {tuple(out.shape)} from ({names(call)})"
        )


def refuse_inputs(inputs: tuple[Tensor, ...], call: Call, who: str) -> None:
    """Complain of inputs where a factor reads none.

    Raises:
        ShapeError: naming the inputs.
    """
    if inputs:
        raise ShapeError(f"{who} takes no inputs, but stands before ({names(call)})")


def validation(parameter: Tensor) -> bool | None:
    """`validate_args` for a torch distribution: its default; off on an empty batch, where its checks fail."""
    return None if parameter.numel() else False


def names(call: Call) -> str:
    """The arguments of a call as the formula wrote them."""
    return ", ".join(argument.name for argument in call.arguments)

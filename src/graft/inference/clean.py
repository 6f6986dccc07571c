"""Values as they enter: what does not exist is replaced, what exists is checked, holes are closed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from graft.distributions.supports import Binary, Finite
from graft.errors import GraftError, ShapeError
from graft.graph.nodes import Variable
from graft.inference.evidence import Missing, Partial, Soft
from graft.inference.frame import Frame
from graft.inference.shapes_of import raw


@dataclass(frozen=True, eq=False)
class Given:
    """What a call knows of one variable, compact.

    Attributes:
        value: (batch, axes, event); None if the variable is not fully observed.
        log_mask: (batch, axes, states): evidence on the states of a discrete unknown.
        cells: (batch, axes, event): True where a cell of the value is missing.
        dead: (batch): rows in which a later value contradicts the known cells of an earlier one.
    """

    value: Tensor | None = None
    log_mask: Tensor | None = None
    cells: Tensor | None = None
    dead: Tensor | None = None


def clean(variable: Variable, given: Any, frame: Frame) -> Given:
    """Check one value or evidence and bring it into compact order.

    Args:
        variable: what it is of.
        given: a tensor, `Partial`, `Soft` or `Missing`.
        frame: of the call.

    Raises:
        GraftError: NaN or infinity, a state out of range, evidence of the wrong kind; named by variable and place.
    """
    tensor = raw(given)
    if tensor.is_complex():
        raise GraftError(f"{variable.name} is complex ({tensor.dtype}): values and weights are real numbers")
    tensor = _without_padding(tensor, variable, frame)
    if isinstance(given, Partial):
        return Given(log_mask=frame.compact(_log(tensor), variable.axes))
    if isinstance(given, Soft):
        _refuse(tensor.isnan() | (tensor == torch.inf), variable, "is NaN or +inf", frame)
        return Given(log_mask=frame.compact(tensor, variable.axes))
    if isinstance(given, Missing):
        return _with_missing(variable, tensor, given.where, frame)
    if variable.is_discrete and not variable.is_input and not variable.is_computed:
        return _states(variable, tensor, frame)
    _check(variable, tensor, frame)
    return Given(value=frame.compact(_typed(variable, tensor, frame), variable.axes))


def _without_padding(tensor: Tensor, variable: Variable, frame: Frame) -> Tensor:
    """Zeros where no element exists, whatever stood there; no gradient flows from there."""
    mask = _existing(variable, frame)
    if mask is None:
        return tensor
    mask = mask.reshape((*mask.shape, *(1,) * (tensor.dim() - mask.dim())))
    return torch.where(mask, tensor, torch.zeros((), dtype=tensor.dtype, device=tensor.device))


def _existing(variable: Variable, frame: Frame) -> Tensor | None:
    """(batch, axes): which elements exist, in the user's order; None if all."""
    result = None
    for letter in variable.axes:
        found = frame.existence.get(letter)
        if found is None:
            continue
        mask = frame.spread(found.given, (*found.left, letter), variable.axes)
        result = mask if result is None else result & mask
    return result


def _log(allowed: Tensor) -> Tensor:
    if allowed.dtype != torch.bool:
        raise GraftError(f"Partial takes a boolean tensor of allowed states, not {allowed.dtype}")
    return torch.where(allowed, 0.0, -torch.inf)


def _states(variable: Variable, value: Tensor, frame: Frame) -> Given:
    """A discrete random variable: -1 stands for an unknown state."""
    support = variable.support
    assert support is not None
    if support.event_rank:
        _check(variable, value, frame)
        return Given(value=frame.compact(_typed(variable, value, frame), variable.axes))
    if _all_known(variable, value):
        whole = value if value.dtype == torch.int64 else value.long()
        return Given(value=frame.compact(whole, variable.axes))
    unknown = value == -1
    known = torch.where(unknown, torch.zeros_like(value), value)
    _check(variable, known, frame)
    typed = frame.compact(_typed(variable, known, frame), variable.axes)
    if not bool(unknown.any()):
        return Given(value=typed)
    assert support.states is not None
    states = torch.arange(support.states, device=value.device)
    fits = (support.encode(typed).unsqueeze(-1) == states) | frame.compact(unknown, variable.axes).unsqueeze(-1)
    return Given(log_mask=_log(fits))


def _all_known(variable: Variable, value: Tensor) -> bool:
    """Whether every value is one of finitely many states, by looking once."""
    states = variable.support.states if isinstance(variable.support, Finite) else None
    if states is None or value.dtype not in (torch.int64, torch.int32) or not value.numel():
        return False
    if not value.dim():
        return 0 <= int(value) < states
    low, high = value.aminmax()
    return int(low) >= 0 and int(high) < states


def _typed(variable: Variable, value: Tensor, frame: Frame) -> Tensor:
    if isinstance(variable.support, Finite):
        return value.long()
    if isinstance(variable.support, Binary) and not value.is_floating_point():
        return value.to(frame.dtype)
    return value


def _check(variable: Variable, value: Tensor, frame: Frame) -> None:
    """Every existing element must be finite and in the support."""
    support = variable.support
    # a finite sum has no other terms, and is found in one look
    if value.is_floating_point() and not isfinite(value.detach().sum()):
        _refuse(~torch.isfinite(value), variable, "is NaN or infinite", frame)
    if support is None or support.states is None:
        return
    if isinstance(support, Finite) and value.is_floating_point():
        raise GraftError(f"{variable.name} has {support.states} states: give integers, not {value.dtype}")
    names = f" ({', '.join(variable.labels)})" if variable.labels else ""
    what = f"0 to {support.states - 1}{names}" if isinstance(support, Finite) else "0 and 1"
    _refuse(~support.check(value), variable, f"is out of range: its values are {what}", frame)


def _refuse(bad: Tensor, variable: Variable, what: str, frame: Frame) -> None:
    if not bool(bad.any()):
        return
    place = tuple(int(i) for i in bad.nonzero()[0])
    raise GraftError(f"{variable.name} at {place} {what} (shape {tuple(bad.shape)}: batch {frame.batch} first)")


def _with_missing(variable: Variable, value: Tensor, where: Tensor, frame: Frame) -> Given:
    if where.dtype != torch.bool:
        raise GraftError(f"Missing of {variable.name}: `where` is boolean, not {where.dtype}")
    lead = frame.rank + len(variable.axes)
    if where.shape not in (value.shape, value.shape[:lead]):
        shapes = f"{tuple(where.shape)}, not {tuple(value.shape)} or {tuple(value.shape[:lead])}"
        raise ShapeError(f"Missing of {variable.name}: `where` has shape {shapes}")
    cells = where.reshape((*where.shape, *(1,) * (value.dim() - where.dim()))).expand(value.shape)
    known = torch.where(cells, torch.zeros((), dtype=value.dtype, device=value.device), value)
    if variable.is_discrete and variable.support is not None and not variable.support.event_rank:
        return clean(variable, torch.where(cells, -torch.ones_like(known), known), frame)
    _check(variable, known, frame)
    known, cells = (frame.compact(x, variable.axes) for x in (_typed(variable, known, frame), cells))
    return Given(value=known, cells=cells if bool(cells.any()) else None)


def as_weights(given: Given, variable: Variable) -> Given:
    """A known value as evidence on states."""
    assert given.value is not None and variable.support is not None and variable.support.states is not None
    states = torch.arange(variable.support.states, device=given.value.device)
    return Given(log_mask=_log(variable.support.encode(given.value).unsqueeze(-1) == states))


def both(now: Given, before: Given | None, variable: Variable, rank: int) -> Given:
    """Later evidence on a variable together with what was known before of its states or cells."""
    if before is None or (before.log_mask is None and before.cells is None):
        return now
    assert variable.support is not None or before.cells is not None
    if before.log_mask is None:
        return _fitting(now, before, variable, rank)
    if now.log_mask is not None:
        return Given(log_mask=now.log_mask + before.log_mask)
    assert now.value is not None and variable.support is not None and variable.support.states is not None
    states = torch.arange(variable.support.states, device=now.value.device)
    one = variable.support.encode(now.value).unsqueeze(-1) == states
    return Given(log_mask=torch.where(one, before.log_mask, -torch.inf))


def _fitting(now: Given, before: Given, variable: Variable, rank: int) -> Given:
    """A value that fills missing cells, with the rows in which it does not repeat the known ones."""
    assert before.value is not None and before.cells is not None
    if now.value is None or now.cells is not None:
        raise GraftError(f"{variable.name} has missing cells: give it in full, or not at all")
    wrong = (now.value != before.value) & ~before.cells
    return replace(now, dead=wrong.flatten(rank).any(-1) if wrong.dim() > rank else wrong)

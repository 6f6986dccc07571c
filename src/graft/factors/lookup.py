"""Rows of a table, picked by the integer states of parents: what every `given=` form shares."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from graft.distributions.supports import Finite
from graft.errors import GraftError, ShapeError
from graft.factors.base import Argument, Call


def parent_sizes(given: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """The numbers of states of the parents, from what the user wrote as `given=`.

    Raises:
        GraftError: if a parent has no state.
    """
    sizes = () if given is None else (given,) if isinstance(given, int) else given
    if any(size < 1 for size in sizes):
        raise GraftError(f"every parent needs at least one state, not given={sizes}")
    return sizes


def look_up(table: Tensor, given: tuple[int, ...], inputs: tuple[Tensor, ...], call: Call) -> Tensor:
    """The rows of a table (*given, *rest) at the parents' states: leading, then rest.

    Raises:
        ShapeError: if the inputs are not as many discrete parents, of as many states, as the table has, or if
            a state lies outside the table.
    """
    _check_parents(given, inputs, call)
    if not given:
        return table
    rest = table.shape[len(given) :]
    rows = table.reshape(-1, *rest)
    index = _row_index(given, inputs, call)
    flat = index.reshape(-1)
    # parents that enumerate their states in order ask for the table itself: no copy
    if flat.numel() == len(rows) and torch.equal(flat, torch.arange(len(rows), device=flat.device)):
        return rows.reshape(index.shape + rest)
    # index_select, not rows[index]: its gradient is several times faster on a CPU
    return rows.index_select(0, flat).reshape(index.shape + rest)


def check_states(index: Tensor, size: int, name: str) -> None:
    """Refuse states outside 0 ... size - 1, among them -1, which means *no state*.

    Raises:
        ShapeError: naming the input, the states found and the states there are.
    """
    if index.numel() == 0:
        return
    low, high = (int(bound) for bound in index.aminmax())
    if low < 0 or high >= size:
        hint = "; -1 is *no state*, which no row stands for" if low == -1 else ""
        raise ShapeError(f"{name} has states from {low} to {high}, the table rows 0 to {size - 1}{hint}")


def state_index(value: Tensor, argument: Argument) -> Tensor:
    """Integer states of a discrete value; one that nobody described is taken for a scalar."""
    if argument.support is None:
        return value.long()
    if isinstance(argument.support, Finite) and value.is_floating_point():
        raise GraftError(f"{argument.name} is relaxed to weights over its states, which a table cannot look up")
    return argument.support.encode(value)


def _check_parents(given: tuple[int, ...], inputs: tuple[Tensor, ...], call: Call) -> None:
    names = ", ".join(a.name for a in call.arguments)
    if len(inputs) != len(given):
        table = f"a table with given={given}" if given else "a factor without parents"
        raise ShapeError(f"{table} received {len(inputs)} inputs ({names}), one per parent is meant")
    for size, argument in zip(given, call.arguments, strict=True):
        support = argument.support
        if support is not None and support.states != size:
            raise ShapeError(
                f"{argument.name} is {support}, where the table over ({names}) with given={given} has {size} states"
            )
        if argument.whole and not call.as_given:
            raise ShapeError(f"{argument.name} is read whole, a table needs one element of it")


def _row_index(given: tuple[int, ...], inputs: tuple[Tensor, ...], call: Call) -> Tensor:
    """The number of the row, parents counted as digits: the last one moves fastest."""
    states = [state_index(v, a) for v, a in zip(inputs, call.arguments, strict=True)]
    for state, size, argument in zip(states, given, call.arguments, strict=True):
        check_states(state, size, argument.name)
    strides = [prod(given[place + 1 :]) for place in range(len(given))]
    index, *rest = [s * stride for s, stride in zip(_aligned(states, call), strides, strict=True)]
    try:
        for other in rest:
            index = index + other
    except RuntimeError as error:
        shapes = ", ".join(f"{a.name} {tuple(s.shape)}" for a, s in zip(call.arguments, states, strict=True))
        raise ShapeError(f"parents do not broadcast against each other: {shapes}") from error
    return index


def _aligned(states: list[Tensor], call: Call) -> list[Tensor]:
    """Equal ranks: a parent given without an axis gets size 1 there, after the batch."""
    lead, rank = call.leading or 0, max(s.dim() for s in states)
    return [s.reshape(s.shape[:lead] + (1,) * (rank - s.dim()) + s.shape[lead:]) for s in states]

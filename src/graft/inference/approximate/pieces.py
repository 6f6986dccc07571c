"""Log-tables cut into pieces whose tables all have the same slots, and pieces of one shape put side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Int
from torch import Tensor

from graft.inference.approximate.columns import OUTSIDE, Columns, columns
from graft.inference.problem import Problem
from graft.inference.tables import LogTable

#: A table that this many elements share stays shared; one of fewer is copied beside others of its shape.
SHARED = 64


@dataclass(frozen=True, eq=False)
class Piece:
    """Tables with the same slots.

    Attributes:
        names: of the variable of each slot; for pieces put together, of the first table's.
        numbers: per slot, the element of that variable.
        table: (states of each slot, batch or 1, tables or 1).
        count: how many tables.
    """

    names: tuple[str, ...]
    numbers: tuple[Int[Tensor, " tables"], ...]
    table: Tensor
    count: int

    @property
    def states(self) -> tuple[int, ...]:
        return tuple(self.table.shape[:-2])


def cut(problem: Problem, table: LogTable) -> Iterator[Piece]:
    """The pieces of one log-table.

    A slot outside the sequence is dropped (the factor does not vary with it); where two slots stand for one element,
    only their equal states are kept.
    """
    found = columns(problem, table.slots, table.letters, _window(problem, table))
    if not len(found.of):
        return
    tensor = _flat(problem, table, found)
    names = tuple(slot.name for slot in table.slots)
    for pattern, mine in _patterns(names, found):
        kept = [i for i, first in enumerate(pattern) if first == i]
        numbers = found.numbers if mine is None else tuple(n[mine] for n in found.numbers)
        part = tensor if mine is None or tensor.shape[-1] == 1 else tensor[..., mine]
        part = _reduced(part, pattern)
        count = len(found.of) if mine is None else len(mine)
        yield _ordered(Piece(tuple(names[i] for i in kept), tuple(numbers[i] for i in kept), part, count))


def _window(problem: Problem, table: LogTable) -> dict[str, tuple[int, int]]:
    return {x: table.window.get(x, (0, problem.sizes[x])) for x in table.letters}


def _flat(problem: Problem, table: LogTable, found: Columns) -> Tensor:
    """(slots, batch or 1, columns or 1): the log-values of a table, 0 where it does not stand."""
    frame, lead = problem.frame, len(table.slots)
    states, window = table.tensor.shape[:lead], _window(problem, table)
    shape = [high - low for low, high in window.values()]
    tensor, rank = table.tensor, frame.rank
    tensor = tensor.reshape((*states, *(1,) * (lead + rank + len(shape) - tensor.dim()), *tensor.shape[lead:]))
    batch, places = tensor.shape[lead : lead + rank], tensor.shape[lead + rank :]
    rows = prod(frame.batch) if any(n != 1 for n in batch) else 1
    if any(n != 1 for n in places):
        tensor = tensor.expand((*states, *batch, *shape))
        places = torch.Size(shape)
    tensor = tensor.expand((*states, *(frame.batch if rows != 1 else batch), *places))
    tensor = tensor.reshape((*states, rows, prod(places)))
    if tensor.shape[-1] != 1 and found.rows is not None:
        tensor = tensor[..., found.of]
    stands = _stands(problem, table, found)
    if stands is None:
        return tensor
    return torch.where(stands, tensor, torch.zeros((), dtype=tensor.dtype, device=tensor.device))


def _stands(problem: Problem, table: LogTable, found: Columns) -> Tensor | None:
    """(batch, columns): where a table really stands."""
    if table.valid is None:
        return found.rows
    frame, window = problem.frame, _window(problem, table)
    whole = table.valid.expand((*frame.batch, *(problem.sizes[x] for x in table.letters)))
    for place, (low, high) in enumerate(window.values()):
        whole = whole.narrow(frame.rank + place, low, high - low)
    here = whole.reshape(prod(frame.batch), prod(high - low for low, high in window.values()))[:, found.of]
    return here if found.rows is None else here & found.rows


def _patterns(names: tuple[str, ...], found: Columns) -> Iterator[tuple[tuple[int, ...], Tensor | None]]:
    """Columns by which slots are outside or repeat an earlier one; None stands for all columns."""
    plain = tuple(range(len(names)))
    firsts = []
    for i, (name, number) in enumerate(zip(names, found.numbers, strict=True)):
        first = torch.full_like(number, i)
        for j in reversed(range(i)):
            if names[j] == name:
                first = torch.where(number == found.numbers[j], j, first)
        firsts.append(torch.where(number == OUTSIDE, OUTSIDE, first))
    if all(bool((first == i).all()) for i, first in enumerate(firsts)):
        yield plain, None
        return
    kinds, which = torch.stack(firsts).unique(dim=1, return_inverse=True)
    for k in range(kinds.shape[1]):
        yield tuple(kinds[:, k].tolist()), (which == k).nonzero().squeeze(-1)


def _reduced(tensor: Tensor, pattern: tuple[int, ...]) -> Tensor:
    for i in reversed(range(len(pattern))):
        if pattern[i] == OUTSIDE:
            tensor = tensor.select(i, 0)
        elif pattern[i] != i:
            tensor = tensor.diagonal(dim1=pattern[i], dim2=i).movedim(-1, pattern[i])
    return tensor


def _ordered(piece: Piece) -> Piece:
    """Slots by their number of states, so that more pieces have one shape."""
    order = sorted(range(len(piece.names)), key=lambda i: piece.states[i])
    if order == list(range(len(order))):
        return piece
    count = len(order)
    table = piece.table.permute((*order, count, count + 1))  # fmt: skip
    return Piece(tuple(piece.names[i] for i in order), tuple(piece.numbers[i] for i in order), table, piece.count)


def merged(pieces: Iterable[Piece]) -> Iterator[tuple[Piece, ...]]:
    """Pieces of one shape, to be put side by side; those that many elements share stay alone."""
    shapes: dict[tuple[int, ...], list[Piece]] = {}
    for piece in pieces:
        if piece.table.shape[-1] == 1 and piece.count >= SHARED:
            yield (piece,)
        else:
            shapes.setdefault(piece.states, []).append(piece)
    yield from (tuple(mine) for mine in shapes.values())

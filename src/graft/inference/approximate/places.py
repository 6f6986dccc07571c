"""Which element each table of a slot touches: looked up by index, or by strides where they lie regularly."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

#: Rows of one layer up to which elements are looked up in one flat vector, which is faster but keeps longer indices.
FLAT_ROWS = 64
#: Nested strides that are looked for.
MOST_STRIDES = 5


class Places:
    """Gathers from, and adds to, the elements of a layer, (states, batch, elements).

    The tables of a grid touch a box of its elements: a strided view of the layer, which needs no index.

    Args:
        place: the element of each table.
        rows: states times batch.
        count: elements of the layer.
    """

    def __init__(self, place: Int[Tensor, " tables"], rows: int, count: int) -> None:
        self.tables, self.flat = len(place), rows <= FLAT_ROWS
        self.box = _box(place)
        self.index = place
        if self.box is None and self.flat:
            lead = torch.arange(rows, device=place.device).unsqueeze(-1) * count
            self.index = (lead + place).reshape(-1)

    def _view(self, tensor: Tensor) -> Tensor:
        """(states, batch, box)."""
        assert self.box is not None
        base, shape, strides = self.box
        return tensor.as_strided(
            (*tensor.shape[:2], *shape), (*tensor.stride()[:2], *strides), tensor.storage_offset() + base
        )

    def gathered(self, tensor: Tensor) -> Tensor:
        """The elements at the tables: (states, batch, tables)."""
        if self.box is not None:
            return self._view(tensor).flatten(2)
        if self.flat:
            return tensor.reshape(-1).index_select(0, self.index).reshape(*tensor.shape[:2], self.tables)
        return tensor[..., self.index]

    def less(self, tensor: Tensor, what: Tensor) -> Tensor:
        """The elements at the tables, less something of each table."""
        if self.box is not None:
            view = self._view(tensor)
            return (view - what.reshape(view.shape)).flatten(2)
        return self.gathered(tensor) - what

    def add(self, into: Tensor, what: Tensor) -> None:
        """Add something of each table to its element, in place."""
        if self.box is not None:
            view = self._view(into)
            view.add_(what.reshape(view.shape))
        elif self.flat:
            into.view(-1).index_add_(0, self.index, what.reshape(-1))
        else:
            into.index_add_(-1, self.index, what)


def _box(place: Tensor) -> tuple[int, list[int], list[int]] | None:
    """The first element, shape and strides of places that form a box of different elements; None if they do not."""
    if len(place) < 2 or not bool((place.diff() > 0).all()):
        return None
    base, shape, strides = int(place[0]), list[int](), list[int]()
    while len(place) > 1:
        steps = place.diff()
        step = int(steps[0])
        other = (steps != step).nonzero()
        count = int(other[0]) + 1 if len(other) else len(place)
        if len(place) % count or len(shape) == MOST_STRIDES:
            return None
        rows = place.reshape(-1, count)
        if bool((rows != rows[:, :1] + step * torch.arange(count, device=place.device)).any()):
            return None
        shape.insert(0, count)
        strides.insert(0, step)
        place = rows[:, 0]
    return base, shape, strides

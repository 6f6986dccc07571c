"""Dense log-tables with named leading dimensions: multiply, sum out one name, look entries up."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Dense:
    """A log-table.

    Attributes:
        keys: one per leading dimension.
        tensor: (keys, rest); the rest is shared by all tables of one contraction, up to broadcasting.
    """

    keys: tuple[Hashable, ...]
    tensor: Tensor

    def aligned(self, keys: Sequence[Hashable]) -> Tensor:
        """The tensor with its leading dimensions in the order of `keys`, size 1 for those it lacks."""
        mine = [self.keys.index(key) for key in keys if key in self.keys]
        tensor = self.tensor.permute(
            (
                *mine,
                *range(len(self.keys), self.tensor.dim()),
            )
        )
        for place, key in enumerate(keys):
            if key not in self.keys:
                tensor = tensor.unsqueeze(place)
        return tensor


def multiply(tables: Sequence[Dense], first: Hashable) -> Dense:
    """The product of tables (a sum of logs), the key `first` leading."""
    others = dict.fromkeys(key for table in tables for key in table.keys if key != first)
    keys = (first, *others)
    total = tables[0].aligned(keys)
    for table in tables[1:]:
        total = total + table.aligned(keys)
    return Dense(keys, total)


def diagonal(table: Dense) -> Dense:
    """A table whose keys repeat, restricted to equal states of equal keys."""
    keys, tensor = list(table.keys), table.tensor
    for key in dict.fromkeys(table.keys):
        while keys.count(key) > 1:
            one = keys.index(key)
            two = keys.index(key, one + 1)
            tensor = tensor.diagonal(dim1=one, dim2=two).movedim(-1, one)
            del keys[two]
    return Dense(tuple(keys), tensor)


def entries(table: Tensor, index: Sequence[Tensor]) -> Tensor:
    """The rows of a table at given states of all keys but the first.

    Args:
        table: (states, other keys, rest).
        index: states of the other keys in order, each (draws, rest) up to broadcasting.

    Returns:
        (draws, rest, states).
    """
    count = len(index)
    rest = table.shape[1 + count :]
    flat = table.permute(
        (
            *range(1 + count, table.dim()),
            0,
            *range(1, 1 + count),
        )
    )
    flat = flat.reshape(*rest, table.shape[0], prod(table.shape[1 : 1 + count]))
    place = torch.zeros((1,), dtype=torch.long, device=table.device)
    for states, size in zip(index, table.shape[1 : 1 + count], strict=True):
        place = place * size + states
    draws = place.shape[0]
    place = place.reshape(*place.shape, *(1,) * (len(rest) + 1 - place.dim())) if count else place
    shape = torch.broadcast_shapes(tuple(place.shape[1:]), tuple(rest)) if count else tuple(rest)
    place = place.expand(draws, *shape) if count else place.reshape(1, *(1,) * len(rest)).expand(1, *shape)
    flat = flat.expand(place.shape[0], *shape, *flat.shape[-2:])
    where = place.reshape(*place.shape, 1, 1).expand(*place.shape, flat.shape[-2], 1)
    return torch.take_along_dim(flat, where, -1).squeeze(-1)


def sum_from(tensor: Tensor, dim: int) -> Tensor:
    """The sum over all dimensions from `dim` on."""
    return tensor.sum(tuple(range(dim, tensor.dim()))) if tensor.dim() > dim else tensor

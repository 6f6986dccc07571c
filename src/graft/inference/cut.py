"""One index of a term applied to one dimension of a value: an element, or a shifted window."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: What stands outside the sequence, given whether the dimension at hand is to be kept with size 1.
Fill = Callable[[bool], Tensor]


def element(tensor: Tensor, dim: int, place: int, size: int, lengths: Tensor | None, fill: Fill) -> Tensor:
    """The element at a place (from the end if negative, per row), without the dimension.

    Args:
        tensor: any value.
        dim: the dimension of the axis.
        place: which element.
        size: of the axis; the dimension itself may have size 1 where nothing varies.
        lengths: broadcastable to the dimensions left of `dim`; None if all elements exist.
        fill: what stands where no such element exists.
    """
    if place >= size or place < -size:
        return fill(False).expand(_without(tensor, dim))
    if tensor.shape[dim] == 1 != size:
        found = tensor.select(dim, 0)
    elif lengths is None or place >= 0:
        found = tensor.select(dim, place)
    else:
        index = (lengths + place).clamp_min(0)
        index = index.reshape((*index.shape, *(1,) * (tensor.dim() - index.dim())))
        found = torch.take_along_dim(tensor, index, dim).squeeze(dim)
    if lengths is None:
        return found
    exists = (lengths > place) if place >= 0 else (lengths >= -place)
    return torch.where(_spread(exists, found), found, fill(False))


def shifted(
    tensor: Tensor, dim: int, offset: int, window: tuple[int, int], size: int, lengths: Tensor | None, fill: Fill
) -> Tensor:
    """The elements `offset` away from those of a window; size 1 is kept where nothing varies.

    Args:
        tensor: any value.
        dim: the dimension of the axis.
        offset: how far to look.
        window: half-open range of elements at which the factor is called.
        size: of the axis.
        lengths: as in `element`; None if what exists here exists there.
        fill: as in `element`.
    """
    start, stop = window[0] + offset, window[1] + offset
    if start >= 0 and stop <= size and lengths is None:
        return tensor if tensor.shape[dim] == 1 != size else tensor.narrow(dim, start, stop - start)
    if tensor.shape[dim] != size:
        tensor = tensor.expand((*tensor.shape[:dim], size, *tensor.shape[dim + 1 :]))
    steps = torch.arange(start, stop, device=tensor.device)
    found = tensor.index_select(dim, steps.clamp(0, max(size - 1, 0))) if size else fill(True)
    exists = (steps >= 0) & (steps < size)
    if lengths is not None:
        exists = exists & (steps < lengths.unsqueeze(-1))
    else:
        exists = exists.reshape((1,) * dim + (-1,))
    return torch.where(_spread(exists, found), found, fill(True))


def _spread(mask: Tensor, tensor: Tensor) -> Tensor:
    return mask.reshape((*mask.shape, *(1,) * (tensor.dim() - mask.dim())))


def _without(tensor: Tensor, dim: int) -> tuple[int, ...]:
    return tuple(tensor.shape[:dim]) + tuple(tensor.shape[dim + 1 :])

"""A variable put together from its general factor and those of single elements."""

from __future__ import annotations

import torch
from torch import Tensor

from graft.distributions.supports import Finite
from graft.graph.nodes import Node, Variable, element_of
from graft.inference.domain import Windows, at_element
from graft.inference.frame import Frame
from graft.inference.values import Value, union

#: One factor's part of a variable; None where it stands nowhere.
Piece = tuple[Node, Value | None]


def padded(value: Value, letters: tuple[str, ...], where: Windows, frame: Frame) -> Value:
    """A value of a window as one of whole axes, zeros elsewhere."""
    tensor = value.tensor
    for place, letter in enumerate(letters):
        dim = len(value.slots) + frame.rank + place
        low, high = where.get(letter, (0, frame.sizes[letter]))
        size = frame.sizes[letter]
        if (low, high) == (0, size):
            continue
        if tensor.shape[dim] == 1 != high - low:
            tensor = tensor.expand((*tensor.shape[:dim], high - low, *tensor.shape[dim + 1 :]))
        shape = list(tensor.shape)
        before, after = list(shape), list(shape)
        before[dim], after[dim] = low, size - high
        tensor = torch.cat([tensor.new_zeros(before), tensor, tensor.new_zeros(after)], dim)
    return Value(tensor, value.slots)


def narrowed(tensor: Tensor, letters: tuple[str, ...], where: Windows, start: int) -> Tensor:
    """The window of a tensor whose axes, from dimension `start` on, are whole (or of size 1)."""
    for place, letter in enumerate(letters):
        low, high = where.get(letter, (0, tensor.shape[start + place]))
        if tensor.shape[start + place] != 1 or (low, high) == (0, 1):
            tensor = tensor.narrow(start + place, low, high - low)
    return tensor


def assemble(variable: Variable, pieces: list[Piece], frame: Frame) -> Value:
    """The whole variable: the general part, then single elements in their places (the first ones win).

    Args:
        variable: whose value it is.
        pieces: whole along the axes that their factors run over.
        frame: of the call.
    """
    letters = tuple(x for x in variable.axes if x in frame.sizes)
    present = [(node, value) for node, value in pieces if value is not None]
    if not present:
        return nothing(variable, frame)
    if len(present) == 1 and _element(present[0][0], variable, letters) is None:
        return present[0][1]
    slots = union([value for _, value in present])
    order = sorted(present, key=lambda piece: _rank(_element(piece[0], variable, letters)))
    whole: Tensor | None = None
    for node, value in order:
        tensor, found = value.aligned(slots), _element(node, variable, letters)
        if found is None:
            whole = tensor
            continue
        dim = len(slots) + frame.rank + letters.index(found[0])
        tensor = tensor.unsqueeze(dim)
        mask = _mask(node, variable, found[0], letters, frame)
        mask = mask.reshape((*mask.shape, *(1,) * (tensor.dim() - len(slots) - mask.dim())))
        whole = torch.where(mask, tensor, torch.zeros_like(tensor) if whole is None else whole)
    assert whole is not None
    return Value(whole, slots)


def nothing(variable: Variable, frame: Frame) -> Value:
    """The value of a variable none of whose factors stands anywhere: an axis has size 0."""
    letters = tuple(x for x in variable.axes if x in frame.sizes)
    event = variable.support.event_shape if variable.support is not None else (1,)
    dtype = torch.long if isinstance(variable.support, Finite) else frame.dtype
    return Value(torch.zeros(*frame.shape(letters), *event, dtype=dtype, device=frame.device))


def _element(node: Node, variable: Variable, letters: tuple[str, ...]) -> tuple[str, int] | None:
    """The axis and place of a single-element factor."""
    found = ((x, element_of(node.head, variable, x)) for x in letters)
    return next(((x, place) for x, place in found if place is not None), None)


def _rank(found: tuple[str, int] | None) -> int:
    return 0 if found is None else 1 if found[1] < 0 else 2


def _mask(node: Node, variable: Variable, letter: str, letters: tuple[str, ...], frame: Frame) -> Tensor:
    """(batch, letters) or less: where the element stands."""
    shape = [1] * len(letters)
    shape[letters.index(letter)] = frame.sizes[letter]
    steps = torch.arange(frame.sizes[letter], device=frame.device).reshape(shape)
    position = element_of(node.head, variable, letter)
    assert position is not None
    mask = at_element(position, letters, frame, steps, letter)
    return mask.reshape((*(1,) * (frame.rank + len(letters) - mask.dim()), *mask.shape))

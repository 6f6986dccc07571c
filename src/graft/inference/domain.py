"""Where a factor stands: the elements of its axes at which it is called, and the rows in which those exist."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from graft.graph.nodes import Node, Variable, element_of, index_of
from graft.graph.terms import Axis, Element, Term
from graft.inference.frame import Frame

Windows = Mapping[str, tuple[int, int]]


def window(node: Node, variables: Mapping[str, Variable], frame: Frame) -> Windows | None:
    """The half-open range of elements along each axis of a factor; None if it stands nowhere.

    A general conditional or function begins after the first elements that have factors of their own and (where all
    rows are equally long) ends before the last ones; a potential needs all its left terms in range.
    """
    found: dict[str, tuple[int, int]] = {}
    for letter in node.letters:
        if letter not in frame.sizes:
            continue
        size = frame.sizes[letter]
        low, high = _ends(node, variables, letter)
        if node.kind != "potential" and letter in frame.existence:
            high = 0
        found[letter] = (low, size - high)
        if size - high <= low:
            return None
    return found if _stands(node, variables, frame) else None


def _ends(node: Node, variables: Mapping[str, Variable], letter: str) -> tuple[int, int]:
    """How many elements are left out at the start and at the end."""
    if node.kind == "potential":
        offsets = [i.offset for t in node.formula.left for i in t.indices if isinstance(i, Axis) and i.letter == letter]
        return max(0, -min(offsets)), max(0, *offsets)
    if node.head.elements:
        return 0, 0
    variable = variables[node.head.name]
    return variable.firsts(letter, node.kind), variable.lasts(letter, node.kind)


def _stands(node: Node, variables: Mapping[str, Variable], frame: Frame) -> bool:
    """Whether the single elements on the left exist in the longest row."""
    for term in node.formula.left:
        for letter, index in zip(variables[term.name].axes, term.indices, strict=True):
            if isinstance(index, Element) and letter in frame.sizes:
                size = frame.sizes[letter]
                place = index.position if index.position >= 0 else size + index.position
                if not _least(node, variables[term.name], letter, index.position) <= place < size:
                    return False
    return True


def _least(node: Node, variable: Variable, letter: str, position: int) -> int:
    """The first place that an element counted from the end may take: first elements win over last ones."""
    return variable.firsts(letter, node.kind) if position < 0 and node.kind != "potential" else 0


def valid(node: Node, variables: Mapping[str, Variable], frame: Frame) -> Tensor | None:
    """Which elements of (batch, letters) a factor really has, ragged rows considered; None if all of its window."""
    masks = [_own(node, frame)]
    for term in node.formula.left:
        variable = variables[term.name]
        masks += reaches(term, variable, node.letters, frame)
        for letter, index in zip(variable.axes, term.indices, strict=True):
            if letter in frame.existence and isinstance(index, Element):
                lengths, _ = lengths_at(term, variable, letter, node.letters, frame)
                masks.append(_element_exists(node, variable, letter, index.position, lengths))
    if node.kind != "potential" and not node.head.elements:
        masks += [_not_last(node, variables[node.head.name], x, frame) for x in node.letters]
    result = None
    for mask in masks:
        if mask is not None:
            result = mask if result is None else result & mask
    return result


def natural(node: Node, variables: Mapping[str, Variable]) -> bool:
    """Whether a factor stands wherever its terms exist: no single elements, nothing that gives way to them."""
    if any(term.elements for term in node.formula.left):
        return False
    head = variables[node.head.name]
    return node.kind == "potential" or not any(head.lasts(x, node.kind) for x in node.letters)


def reaches(term: Term, variable: Variable, letters: tuple[str, ...], frame: Frame) -> list[Tensor | None]:
    """(batch, letters) each: where a shifted term is within the lengths of its axes."""
    found: list[Tensor | None] = []
    for letter, index in zip(variable.axes, term.indices, strict=False):
        if letter in frame.existence and isinstance(index, Axis):
            lengths, moved = lengths_at(term, variable, letter, letters, frame)
            if index.offset > 0 or moved:
                found.append(_steps(letter, letters, frame) + index.offset < lengths)
    return found


def _own(node: Node, frame: Frame) -> Tensor | None:
    """Which elements of a factor's axes exist, as far as these axes alone can tell."""
    found = (frame.existence.get(x) for x in node.letters)
    return frame.exists(node.letters) if all(set(e.left) <= set(node.letters) for e in found if e) else None


def lengths_at(
    term: Term, variable: Variable, letter: str, letters: tuple[str, ...], frame: Frame
) -> tuple[Tensor, bool]:
    """The lengths of an axis where a term stands, (batch, letters), and whether that is beside the factor's place."""
    found, moved = frame.existence[letter], False
    tensor, have = found.lengths, list(found.left)
    for place in range(len(have) - 1, -1, -1):
        index, dim, size = index_of(term, variable, have[place]), frame.rank + place, frame.sizes[have[place]]
        if isinstance(index, Element):
            tensor = tensor.select(dim, index.position) if -size <= index.position < size else tensor.sum(dim) * 0
            have.pop(place)
        elif isinstance(index, Axis) and index.offset:
            tensor = _moved(tensor, dim, index.offset)
        else:
            continue
        moved = True
    return frame.spread(tensor, tuple(have), letters), moved


def _moved(lengths: Tensor, dim: int, offset: int) -> Tensor:
    """Entry i becomes that of i + offset, 0 outside."""
    steps = torch.arange(lengths.shape[dim], device=lengths.device) + offset
    inside = (steps >= 0) & (steps < lengths.shape[dim])
    found = lengths.index_select(dim, steps.clamp(0, max(lengths.shape[dim] - 1, 0)))
    return torch.where(inside.reshape(-1, *(1,) * (lengths.dim() - dim - 1)), found, 0)


def _element_exists(node: Node, variable: Variable, letter: str, position: int, lengths: Tensor) -> Tensor:
    if position >= 0:
        return lengths > position
    return lengths + position >= _least(node, variable, letter, position)


def _steps(letter: str, letters: tuple[str, ...], frame: Frame) -> Tensor:
    shape = [1] * len(letters)
    shape[letters.index(letter)] = frame.sizes[letter]
    return torch.arange(frame.sizes[letter], device=frame.device).reshape(shape)


def _not_last(node: Node, variable: Variable, letter: str, frame: Frame) -> Tensor | None:
    """A general factor gives way to those of the last elements, wherever a row ends."""
    lengths = frame.lengths(letter, node.letters)
    places = [element_of(n.head, variable, letter) for n in variable.producers(node.kind)]
    places = [place for place in places if place is not None and place < 0]
    if lengths is None or not places:
        return None
    steps = _steps(letter, node.letters, frame)
    least = variable.firsts(letter, node.kind)
    mask = torch.ones_like(steps, dtype=torch.bool)
    for place in places:
        mask = mask & ~((steps == lengths + place) & (steps >= least))
    return mask


def at_element(position: int, letters: tuple[str, ...], frame: Frame, steps: Tensor, letter: str) -> Tensor:
    """Which of these steps along an axis are the element at a position, per row of (batch, letters)."""
    if position >= 0:
        return steps == position
    lengths = frame.lengths(letter, letters)
    return steps == (frame.sizes[letter] + position if lengths is None else lengths + position)

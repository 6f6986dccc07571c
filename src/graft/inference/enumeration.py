"""A discrete unknown as a factor reads it: all its states at once, one leading dimension per term."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor

from graft.distributions.supports import Finite
from graft.graph.nodes import Variable
from graft.graph.terms import Axis, Element, Index, Term, Whole
from graft.inference.domain import lengths_at
from graft.inference.frame import Frame
from graft.inference.pieces import narrowed
from graft.inference.values import Value


def slots_of(term: Term, variable: Variable, sizes: Mapping[str, int]) -> tuple[Term, ...]:
    """The terms that a read of a discrete unknown runs over: itself, or every element of what it reads whole."""
    choices = [
        [Element(i) for i in range(sizes[letter])] if isinstance(index, Whole) else [index]
        for letter, index in zip(variable.axes, term.indices, strict=True)
    ]
    return tuple(Term(term.name, indices) for indices in product(*choices))


def enumerated(
    variable: Variable, term: Term, letters: tuple[str, ...], window: Mapping[str, tuple[int, int]], frame: Frame
) -> Value:
    """All states of a term, shaped as `Store.read` shapes values.

    Args:
        variable: the unknown.
        term: how it is read.
        letters: the axes of the factor.
        window: where the factor is called.
        frame: of the call.

    Returns:
        (slots, batch, letters, whole axes, event), size 1 where nothing varies; *no state* outside the sequence.
    """
    support = variable.support
    assert support is not None and support.states is not None
    slots = slots_of(term, variable, frame.sizes)
    states = torch.arange(support.states, device=frame.device)
    lead = (1,) * (frame.rank + len(letters))
    columns = []
    for place in range(len(slots)):
        shape = [1] * len(slots)
        shape[place] = support.states
        columns.append(states.reshape((*shape, *lead)).expand((*(support.states,) * len(slots), *lead)))
    whole = [frame.sizes[x] for x, i in zip(variable.axes, term.indices, strict=True) if isinstance(i, Whole)]
    index = torch.stack(columns, -1).reshape((*columns[0].shape, *whole)) if whole else columns[0]
    exists = _exists(variable, term, letters, window, frame)
    if exists is not None and not whole:
        index = torch.where(exists, index, -1 if isinstance(support, Finite) else 0)
    return Value(support.decode(index), slots)


def _exists(
    variable: Variable, term: Term, letters: tuple[str, ...], window: Mapping[str, tuple[int, int]], frame: Frame
) -> Tensor | None:
    """(batch, letters): where a shifted or single element exists; None if wherever the factor does."""
    result = None
    for letter, index in zip(variable.axes, term.indices, strict=True):
        mask = _there(variable, term, letter, index, letters, window, frame)
        if mask is not None:
            result = mask if result is None else result & mask
    return None if result is None else narrowed(result, letters, dict(window), frame.rank)


def _there(
    variable: Variable,
    term: Term,
    letter: str,
    index: Index,
    letters: tuple[str, ...],
    window: Mapping[str, tuple[int, int]],
    frame: Frame,
) -> Tensor | None:
    """(batch, letters), whole axes: where one index of a term finds an element; None if wherever the factor stands."""
    lengths, moved = None, False
    if letter in frame.existence and not isinstance(index, Whole):
        lengths, moved = lengths_at(term, variable, letter, letters, frame)
    rank = frame.rank + len(letters)
    if isinstance(index, Element) and lengths is not None:
        return lengths > index.position if index.position >= 0 else lengths >= -index.position
    if not isinstance(index, Axis) or letter not in letters:
        return None
    size = frame.sizes[letter]
    low, high = window.get(letter, (0, size))
    if low + index.offset < 0 or high + index.offset > size or (lengths is not None and (index.offset > 0 or moved)):
        shape = [1] * rank
        shape[frame.rank + letters.index(letter)] = size
        steps = torch.arange(size, device=frame.device).reshape(shape) + index.offset
        return (steps >= 0) & (steps < (size if lengths is None else lengths))
    return None

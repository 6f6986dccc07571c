"""Where values are kept during one call, and how a factor reads them.

A value is (slots, batch, axes, event), existing elements first along every axis. Inside a loop the axis looped over is
gone from everything: a member's steps lie in a dict, everything else is cut at the current position.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from graft.distributions.supports import Finite
from graft.errors import GraftError
from graft.factors.recurrent import Recurrent
from graft.graph.checks import initial_of
from graft.graph.nodes import Node, Variable
from graft.graph.terms import Axis, Element, Index, Term, Whole
from graft.inference.cut import element, shifted
from graft.inference.enumeration import enumerated
from graft.inference.frame import Frame
from graft.inference.values import Value

Window = Mapping[str, tuple[int, int]]


@dataclass
class Scope:
    """One loop in progress.

    Attributes:
        letter: the axis looped over.
        members: the names made inside.
        outside: the frame around the loop.
        position: the current element.
        steps: per member, its values by element.
        states: per member with a recurrent module, its states by element.
    """

    letter: str
    members: frozenset[str]
    outside: Frame
    position: int = 0
    steps: dict[str, dict[int, Value]] = field(default_factory=dict)
    states: dict[str, dict[int, Any]] = field(default_factory=dict)


class Store:
    """The values of one call.

    Args:
        frame: batch, sizes and existence.
        variables: of the model (and guide).
    """

    def __init__(self, frame: Frame, variables: Mapping[str, Variable]) -> None:
        self.frame = frame
        self.variables = variables
        self.values: dict[str, Value] = {}
        self.scopes: list[Scope] = []
        #: discrete unknowns, which read as an enumeration of their states
        self.latent: frozenset[str] = frozenset()
        #: told of every call: factor, inputs, output, number of axes
        self.listener: Callable[[Node, tuple[Tensor, ...], Any, int], None] | None = None

    def heard(self, node: Node, inputs: tuple[Tensor, ...], out: Any, axes: int) -> None:
        if self.listener is not None:
            self.listener(node, inputs, out, axes)

    @contextmanager
    def loop(self, letter: str, members: frozenset[str]) -> Iterator[Scope]:
        """Open a loop; while it is open, the frame and all reads are those of one element."""
        around = self.frame
        scope = Scope(letter, members, around)
        self.scopes.append(scope)
        try:
            yield scope
        finally:
            self.scopes.pop()
            self.frame = around

    def move(self, scope: Scope, position: int) -> None:
        scope.position = position
        self.frame = scope.outside.at(scope.letter, position)

    def put(self, name: str, value: Value) -> None:
        """Keep a value (inside a loop: of the current element)."""
        scope = self._innermost(name)
        if scope is None:
            self.values[name] = value
        else:
            scope.steps.setdefault(name, {})[scope.position] = value

    def has(self, name: str) -> bool:
        scope = self._innermost(name)
        return name in self.values if scope is None else scope.position in scope.steps.get(name, {})

    def keep_state(self, name: str, state: Any) -> None:
        scope = self._innermost(name)
        assert scope is not None
        scope.states.setdefault(name, {})[scope.position] = state

    def state_now(self, name: str) -> Any:
        """What a recurrent module has just kept."""
        scope = self._innermost(name)
        assert scope is not None
        return scope.states[name][scope.position]

    def state(self, term: Term, letters: tuple[str, ...]) -> Any:
        """What a recurrent module, called on these axes, reads of its own past."""
        variable = self.variables[term.name]
        scope, index = next(
            (scope, index)
            for scope in reversed(self.scopes)
            for letter, index in zip(variable.axes, term.indices, strict=True)
            if letter == scope.letter and isinstance(index, Axis) and index.offset
        )
        found = scope.states.get(term.name, {}).get(scope.position + index.offset)
        module = initial_of(variable)
        assert isinstance(module, Recurrent)
        first = module.initial(self.frame.shape(letters)) if found is None or index.offset > 0 else None
        if found is None:
            return first
        lengths = scope.outside.lengths(scope.letter, letters) if index.offset > 0 else None
        if lengths is None:
            return found
        return choose(scope.position + index.offset < lengths, found, first)

    def _innermost(self, name: str) -> Scope | None:
        return next((scope for scope in reversed(self.scopes) if name in scope.members), None)

    def _fixed(self, letter: str) -> int | None:
        """Where an open loop stands on an axis."""
        return next((scope.position for scope in self.scopes if scope.letter == letter), None)

    def read_cells(self, node: Node, cells: Tensor, window: Window) -> Value:
        """Which cells of a conditional's own variable are missing, shaped as `read` shapes the variable."""
        kept = self.values[node.head.name]
        self.values[node.head.name] = Value(cells)
        try:
            return self.read(node.head, node.letters, window)
        finally:
            self.values[node.head.name] = kept

    def read(self, term: Term, letters: tuple[str, ...], window: Window) -> Value:
        """A term as its factor receives it.

        Args:
            term: what to read.
            letters: the axes of the factor.
            window: the elements of each axis at which it is called.

        Returns:
            (slots, batch, letters, whole axes, event), size 1 for letters that the term lacks.
        """
        variable = self.variables[term.name]
        if term.name in self.latent:
            return enumerated(variable, term, letters, window, self.frame)
        value, gone = self._located(term)
        labels: list[Any] = [letter for letter in variable.axes if letter not in gone]
        indices = [i for x, i in zip(variable.axes, term.indices, strict=True) if x not in gone]
        tensor, frame = value.tensor, self._frame_of(variable, term, gone)
        # right to left, so that the axes that lengths vary with are still there
        for place in range(len(labels) - 1, -1, -1):
            index, letter = indices[place], labels[place]
            have = (frame, tuple(labels[:place]))
            across = _across(variable, term, letter, self.frame_around)
            tensor = self._cut(tensor, len(value.slots), variable, have, letter, index, window, across)
            if isinstance(index, Whole):
                labels[place] = index
            elif isinstance(index, Element) or self._fixed(letter) is not None:
                labels.pop(place)
        return Value(self._arranged(tensor, len(value.slots), labels, letters), value.slots)

    def _cut(
        self,
        tensor: Tensor,
        lead: int,
        variable: Variable,
        have: tuple[Frame, tuple[str, ...]],
        letter: str,
        index: Index,
        window: Window,
        across: bool,
    ) -> Tensor:
        """Apply one index; `have` is the frame of the tensor and the axes left of this one."""
        if isinstance(index, Whole):
            return tensor
        frame, left = have
        size, dim = frame.sizes[letter], lead + frame.rank + len(left)
        lengths = frame.lengths(letter, left)
        rest = tensor.dim() - dim

        def fill(keep: bool) -> Tensor:
            first = self.initial(variable, tensor)
            others = dim - lead - frame.rank + rest - (first.dim() - frame.rank) - (0 if keep else 1)
            return first.reshape((*first.shape[: frame.rank], *(1,) * others, *first.shape[frame.rank :]))

        if isinstance(index, Element):
            return element(tensor, dim, index.position, size, lengths, fill)
        fixed, ragged = self._fixed(letter), lengths if index.offset > 0 or across else None
        if fixed is None:
            return shifted(tensor, dim, index.offset, window.get(letter, (0, size)), size, ragged, fill)
        if fixed + index.offset < 0:
            return fill(False).expand((*tensor.shape[:dim], *tensor.shape[dim + 1 :]))
        return element(tensor, dim, fixed + index.offset, size, ragged, fill)

    @property
    def frame_around(self) -> Frame:
        """The frame outside all loops."""
        return self.scopes[0].outside if self.scopes else self.frame

    def _frame_of(self, variable: Variable, term: Term, gone: frozenset[str]) -> Frame:
        """The frame of a value that lacks some axes: what varies with those is that of the elements read."""
        frame = self.frame_around
        for scope in self.scopes:
            if scope.letter in gone and frame.existence:
                index = term.indices[variable.axes.index(scope.letter)]
                offset = index.offset if isinstance(index, Axis) else 0
                size = frame.sizes[scope.letter]
                frame = frame.at(scope.letter, min(max(scope.position + offset, 0), size - 1))
        return frame

    def _arranged(self, tensor: Tensor, lead: int, labels: list[Any], letters: tuple[str, ...]) -> Tensor:
        start = lead + self.frame.rank
        axes = [start + labels.index(x) for x in letters if x in labels]
        whole = [start + place for place, label in enumerate(labels) if isinstance(label, Whole)]
        rest = range(start + len(labels), tensor.dim())
        tensor = tensor.permute(
            (
                *range(start),
                *axes,
                *whole,
                *rest,
            )
        )
        for place, letter in enumerate(letters):
            if letter not in labels:
                tensor = tensor.unsqueeze(start + place)
        return tensor

    def _located(self, term: Term) -> tuple[Value, frozenset[str]]:
        """The value that holds a term, and the axes that are cut away from it already."""
        variable = self.variables[term.name]
        gone: frozenset[str] = frozenset()
        held: Value | None = self.values.get(term.name)
        for scope in self.scopes:
            if term.name not in scope.members:
                break
            gone |= {scope.letter}
            index = term.indices[variable.axes.index(scope.letter)]
            assert isinstance(index, Axis)
            held = scope.steps.get(term.name, {}).get(scope.position + index.offset)
            across = _across(variable, term, scope.letter, self.frame_around)
            if index.offset or (across and held is not None):
                held = self._past(scope, variable, index.offset, held, across)
            if index.offset:
                break
        if held is None:
            raise GraftError(f"{term.name} is needed, but nothing gives it: pass {term.name}=")
        return held, gone

    def _past(self, scope: Scope, variable: Variable, offset: int, found: Value | None, across: bool) -> Value:
        """A member's value some steps away; what stands outside the sequence if there is none."""
        place = scope.position + offset
        axes = tuple(x for x in variable.axes if x in scope.outside.sizes and x != scope.letter)
        first = self.initial(variable, None if found is None else found.tensor)
        rank = self.frame.rank
        first = first.reshape((*first.shape[:rank], *(1,) * len(axes), *first.shape[rank:]))
        if found is None:
            shape = scope.outside.shape(axes) + tuple(first.shape[rank + len(axes) :])
            return Value(first.expand(shape))
        lengths = scope.outside.lengths(scope.letter, axes) if offset > 0 or across else None
        if lengths is None:
            return found
        return Value(choose(place < lengths, found.tensor, first), found.slots)

    def initial(self, variable: Variable, like: Tensor | None = None) -> Tensor:
        """What stands outside the sequence, (batch, event): `initial`, else *no state*, else zeros."""
        batch = self.frame.batch
        module: Any = initial_of(variable)
        if isinstance(module, Recurrent):
            return module.output(module.initial(batch))
        if module is not None:
            return module.initial(batch)
        if isinstance(variable.support, Finite):
            return torch.full(batch, -1, device=self.frame.device)
        dtype = self.frame.dtype if like is None else like.dtype
        if variable.support is not None:
            return torch.zeros(*batch, *variable.support.event_shape, dtype=dtype, device=self.frame.device)
        return self._zeros_like(variable, like, dtype)

    def _zeros_like(self, variable: Variable, like: Tensor | None, dtype: torch.dtype) -> Tensor:
        held = self.values.get(variable.name)
        if held is None or not dtype.is_floating_point:
            rule = f"{variable.name} is read outside the sequence: tell what values it takes, support={{...}}"
            raise GraftError(rule)
        event = held.tensor.shape[len(held.slots) + self.frame.rank + len(variable.axes) :]
        return torch.zeros(*self.frame.batch, *event, dtype=dtype, device=self.frame.device)


def _across(variable: Variable, term: Term, letter: str, frame: Frame) -> bool:
    """Whether a term looks at another row, where an axis may end earlier than in the factor's own."""
    found = frame.existence.get(letter)
    if found is None or not found.left:
        return False
    indices = zip(variable.axes, term.indices, strict=True)
    return any(x in found.left and (isinstance(i, Element) or (isinstance(i, Axis) and i.offset)) for x, i in indices)


def choose(mask: Tensor, one: Any, other: Any) -> Any:
    """`torch.where` over tensors or tuples of them, the mask having the leading dimensions."""
    if isinstance(one, tuple):
        return tuple(choose(mask, a, b) for a, b in zip(one, other, strict=True))
    return torch.where(mask.reshape((*mask.shape, *(1,) * (one.dim() - mask.dim()))), one, other)

"""Running the directed part of a model: compute functions, draw conditionals, loop over what recurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from graft.errors import IntractableError, ShapeError
from graft.factors.base import Call
from graft.factors.recurrent import Recurrent
from graft.graph.nodes import Node, Variable, element_of
from graft.graph.recurrence import Loop, Schedule
from graft.graph.terms import Term
from graft.inference.calls import arguments, call_here, checked, fits
from graft.inference.domain import Windows, at_element, window
from graft.inference.frame import Frame
from graft.inference.pieces import Piece, assemble, padded
from graft.inference.ready import Ready
from graft.inference.store import Scope, Store, choose
from graft.inference.values import Value

#: How a conditional is turned into a value: `Distribution.sample`, `Distribution.rsample`, ...
Draw = Callable[[Distribution], Tensor]


class Runner:
    """Executes schedules on a store.

    Args:
        store: holds what is known; results go there.
        draw: how to draw.
        ready: outputs of factors that read only inputs.
        separate: variables some cells of which are known, so that the others must be independent of them.
    """

    def __init__(
        self, store: Store, draw: Draw, ready: Mapping[Node, Ready], separate: frozenset[str] = frozenset()
    ) -> None:
        self.store, self.draw, self.ready, self.separate = store, draw, ready, separate
        #: per level of nesting: the parts of variables that are not whole yet
        self.levels: list[dict[str, list[Piece]]] = []

    def run(self, schedule: Schedule) -> None:
        """Make everything in the schedule."""
        wanted = _counts(schedule)
        self.levels.append({})
        for step in schedule:
            if isinstance(step, Loop):
                for name, pieces in self._loop(step).items():
                    self._note(name, pieces, wanted)
            else:
                self._note(step.head.name, [(step, self._make(step))], wanted)
        self.levels.pop()

    def _note(self, name: str, pieces: list[Piece], wanted: Counter[str]) -> None:
        """Keep parts of a variable; until all are there, `s[1] | s[0]` reads what is there already."""
        mine = self.levels[-1].setdefault(name, [])
        mine += pieces
        whole = len(mine) == wanted[name]
        if whole or any(value is not None for _, value in mine):
            self.store.put(name, assemble(self.store.variables[name], mine, self.store.frame))

    def _make(self, node: Node) -> Value | None:
        """One factor on its whole window; None if it stands nowhere."""
        special = self._special(node)
        if special is not None and special[1] is None:
            self._restart(node, special[0], None)
            return special[0]
        frame = self.store.frame
        where = window(node, self.store.variables, frame)
        if where is None:
            return None
        letters = tuple(x for x in node.letters if x in frame.sizes)
        value = padded(self._called(node, letters, where), letters, where, frame)
        if special is None:
            return value
        mask = special[1]
        assert mask is not None
        self._restart(node, special[0], mask)
        mask = mask.reshape((*mask.shape, *(1,) * (value.tensor.dim() - mask.dim())))
        return Value(torch.where(mask, special[0].tensor, value.tensor))

    def _restart(self, node: Node, value: Value, mask: Tensor | None) -> None:
        """A recurrent module goes on from what a single-element factor gave (in the rows of a mask)."""
        if isinstance(node.module, Recurrent):
            name = node.head.name
            state = node.module.started(value.tensor)
            self.store.keep_state(name, state if mask is None else choose(mask, state, self.store.state_now(name)))

    def _called(self, node: Node, letters: tuple[str, ...], where: Windows) -> Value:
        frame, variable = self.store.frame, self.store.variables[node.head.name]
        if node in self.ready:
            return _cut(self._from_ready(self.ready[node]), letters, where, frame)
        if isinstance(node.module, Recurrent):
            return self._recur(node, letters, where)
        lead = frame.batch + tuple(where[x][1] - where[x][0] for x in letters)
        out, slots = call_here(node, self.store, where)
        if node.kind == "function":
            return function_value(out, slots, node, lead, variable)
        dist = checked(out, node, lead, variable)
        self._separable(dist, variable)
        return Value(self.draw(dist.expand(lead)))

    def _separable(self, dist: Distribution, variable: Variable) -> None:
        base = dist.base_dist if isinstance(dist, Independent) else dist
        if variable.name in self.separate and base.event_shape:
            raise IntractableError(
                f"{variable.name} has missing cells, which {type(base).__name__} couples to the known ones: "
                "drawing them is not built; give the vector in full, or not at all"
            )

    def _from_ready(self, ready: Ready) -> Value:
        node, frame = ready.node, self.store.frame
        variable, lead = self.store.variables[node.head.name], ready.base.shape(node.letters)
        if node.kind == "function":
            function_value(ready.output, (), node, lead, variable)
            return Value(ready.tensor(frame))
        checked(ready.output, node, lead, variable)
        return Value(ready.draw(self.draw, frame))

    def _recur(self, node: Node, letters: tuple[str, ...], where: Windows) -> Value:
        """One step of a recurrent module, whose last input is its own past."""
        module = node.module
        assert isinstance(module, Recurrent)
        lead = self.store.frame.shape(letters)
        values = [self.store.read(term, letters, where).tensor for term in node.reads[:-1]]
        values = [v.expand((*lead, *v.shape[len(lead) :])) for v in values]
        call = Call(len(lead), arguments(node.reads[:-1], self.store.variables))
        past = self.store.state(node.reads[-1], letters)
        state = module.step(tuple(values), past, call)
        self.store.keep_state(node.head.name, state)
        value = module.output(state)
        self.store.heard(node, (*values, module.output(past)), value, len(letters))
        return Value(value)

    def _loop(self, loop: Loop) -> dict[str, list[Piece]]:
        """Run a recurrence; what it made, whole along its axis."""
        size = self.store.frame.sizes[loop.letter]
        with self.store.loop(loop.letter, loop.members) as scope:
            for position in range(size) if loop.direction > 0 else range(size - 1, -1, -1):
                self.store.move(scope, position)
                self.run(loop.body)
        nodes = _nodes(loop.body)
        found: dict[str, list[Piece]] = {}
        for name in sorted(loop.members):
            mine = [node for node in nodes if node.head.name == name]
            whole = self._stacked(name, scope) if size else None
            # one part stands for all the factors inside the loop
            general = max(mine, key=lambda node: not node.head.elements)
            found[name] = [(general, whole), *((node, None) for node in mine if node is not general)]
        return found

    def _stacked(self, name: str, scope: Scope) -> Value:
        axes = [x for x in self.store.variables[name].axes if x in scope.outside.sizes]
        place = scope.outside.rank + axes.index(scope.letter)
        steps = scope.steps[name]
        return Value(torch.stack([steps[i].tensor for i in sorted(steps)], place))

    def _special(self, node: Node) -> tuple[Value, Tensor | None] | None:
        """Inside a loop: the value that a single-element factor gave for this step, and its rows (None: all)."""
        if not self.store.scopes or node.head.name not in self.store.scopes[-1].members:
            return None
        scope = self.store.scopes[-1]
        variable = self.store.variables[node.head.name]
        pieces = [level.get(node.head.name, []) for level in self.levels[:-1]]
        for other, value in (piece for level in pieces for piece in level):
            place = element_of(other.head, variable, scope.letter)
            if place is None or value is None:
                continue
            mask = self._rows(place, variable, scope, node)
            if mask is None or bool(mask.any()):
                return value, mask
        return None

    def _rows(self, place: int, variable: Variable, scope: Scope, node: Node) -> Tensor | None:
        """The rows whose element at `place` is the current one; None: all of them."""
        axes = tuple(x for x in variable.axes if x in self.store.frame.sizes)
        here = torch.tensor(scope.position, device=self.store.frame.device)
        mask = at_element(place, axes, scope.outside, here, scope.letter)
        if place < 0:
            mask = mask & (here >= variable.firsts(scope.letter, node.kind))
        return None if mask.dim() == 0 and bool(mask) else mask


def function_value(out: Any, slots: tuple[Term, ...], node: Node, lead: tuple[int, ...], variable: Variable) -> Value:
    """What a function returned, if its shape fits, spread over batch and axes.

    Raises:
        ShapeError: naming the formula and the shapes.
    """
    if not isinstance(out, Tensor):
        raise ShapeError(f"{node}: the function returned {type(out).__name__}, not a tensor")
    rank = len(slots) + len(lead)
    if out.dim() < rank:
        raise ShapeError(f"{node}: the function returned {tuple(out.shape)}, with fewer dimensions than {lead}")
    fits(tuple(out.shape[len(slots) : rank]), lead, node, "value")
    event = tuple(out.shape[rank:])
    if variable.support is not None and event != variable.support.event_shape:
        raise ShapeError(f"{node}: event shape {event}, but {variable.name} is {variable.support}")
    if variable.support is None and len(event) != int(out.is_floating_point()):
        told = "one event dimension" if out.is_floating_point() else "none"
        rule = f"{node}: event shape {event}, where {variable.name} has {told} until told"
        raise ShapeError(f"{rule} (support={{{variable.name!r}: Real(...)}})")
    return Value(out.expand((*out.shape[: len(slots)], *lead, *event)), slots)


def _cut(value: Value, letters: tuple[str, ...], where: Windows, frame: Frame) -> Value:
    tensor = value.tensor
    for place, letter in enumerate(letters):
        low, high = where[letter]
        tensor = tensor.narrow(frame.rank + place, low, high - low)
    return Value(tensor)


def _nodes(schedule: Schedule) -> list[Node]:
    found: list[Node] = []
    for step in schedule:
        found += _nodes(step.body) if isinstance(step, Loop) else [step]
    return found


def _counts(schedule: Schedule) -> Counter[str]:
    """How many factors of each name a schedule contains."""
    return Counter(node.head.name for node in _nodes(schedule))

"""Unrolling: every element of every axis becomes a variable of its own, every table as many small ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from graft.graph.terms import Axis, Element, Term

if TYPE_CHECKING:
    from graft.inference.problem import Problem, Sketch

#: One element of a variable: its name, and its place on each axis that is not a batch dimension.
Key = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class End:
    """An element counted from the end, which rows of different lengths have at different places.

    Attributes:
        letter: its axis.
        position: such as -1.
        outer: the places on the unrolled axes that the lengths vary with.
    """

    letter: str
    position: int
    outer: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Instance:
    """One table at one element of its axes.

    Attributes:
        table: its number.
        at: the place on each unrolled letter, in the order of the table's letters.
        keys: per slot, the element it stands for; None where it is outside the sequence.
        ends: it is meant for the rows in which these ends stand at these places (-1: there is no such element).
    """

    table: int
    at: tuple[int, ...]
    keys: tuple[Key | None, ...]
    ends: tuple[tuple[End, int], ...] = ()


def ground(
    problem: Problem, names: Sequence[str], tables: Mapping[int, Sketch], common: tuple[str, ...]
) -> tuple[list[Instance], list[Key]]:
    """All instances of some tables, and all elements of some variables."""
    instances: list[Instance] = []
    for number, sketch in tables.items():
        letters = [x for x in sketch.letters if x not in common]
        for at in product(*(range(*sketch.window.get(x, (0, problem.sizes[x]))) for x in letters)):
            place = dict(zip(letters, at, strict=True))
            slots = [_Slot(problem, slot, place, common) for slot in sketch.slots]
            for ends in _choices(problem, slots):
                instances.append(Instance(number, at, tuple(slot.key(ends) for slot in slots), tuple(ends.items())))
    keys = []
    for name in names:
        axes = [x for x in problem.unknowns[name].axes if x not in common]
        keys += [(name, at) for at in product(*(range(problem.sizes[x]) for x in axes))]
    return instances, keys


def _choices(problem: Problem, slots: Sequence[_Slot]) -> list[dict[End, int]]:
    """Where elements counted from the end may stand when rows differ in length."""
    wanted = list(dict.fromkeys(end for slot in slots for end in slot.ends))
    places = [range(-1, problem.sizes[end.letter] + end.position + 1) for end in wanted]
    return [dict(zip(wanted, chosen, strict=True)) for chosen in product(*places)]


class _Slot:
    """One slot of a table at one element of its axes: its place on each unrolled axis, or the end it counts from."""

    def __init__(self, problem: Problem, slot: Term, place: Mapping[str, int], common: tuple[str, ...]) -> None:
        self.name, self.sizes = slot.name, problem.sizes
        self.places: dict[str, int | End] = {}
        for letter, index in zip(problem.unknowns[slot.name].axes, slot.indices, strict=True):
            if letter in common:
                continue
            if isinstance(index, Axis):
                self.places[letter] = place[letter] + index.offset
                continue
            assert isinstance(index, Element)
            self.places[letter] = self._element(letter, index.position, problem)

    def _element(self, letter: str, position: int, problem: Problem) -> int | End:
        existence = problem.frame.existence.get(letter)
        if position >= 0 or existence is None:
            return position if position >= 0 else self.sizes[letter] + position
        outer = {x: at for x, at in self.places.items() if x in existence.left}
        return End(letter, position, tuple((x, at) for x, at in outer.items() if isinstance(at, int)))

    @property
    def ends(self) -> list[End]:
        inside = all(0 <= at < self.sizes[x] for x, at in self.places.items() if isinstance(at, int))
        return [at for at in self.places.values() if isinstance(at, End)] if inside else []

    def key(self, ends: Mapping[End, int]) -> Key | None:
        found = []
        for letter, place in self.places.items():
            at = ends.get(place, -1) if isinstance(place, End) else place
            if not 0 <= at < self.sizes[letter]:
                return None
            found.append(at)
        return self.name, tuple(found)

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
class Instance:
    """One table at one element of its axes.

    Attributes:
        table: its number.
        at: the place on each unrolled letter, in the order of the table's letters.
        keys: per slot, the element it stands for; None where it is outside the sequence.
        ends: (letter, place, position): rows for which the element counted from the end stands at this place.
    """

    table: int
    at: tuple[int, ...]
    keys: tuple[Key | None, ...]
    ends: tuple[tuple[str, int, int], ...] = ()


def ground(
    problem: Problem, names: Sequence[str], tables: Mapping[int, Sketch], common: tuple[str, ...]
) -> tuple[list[Instance], list[Key]]:
    """All instances of some tables, and all elements of some variables."""
    instances: list[Instance] = []
    for number, sketch in tables.items():
        letters = [x for x in sketch.letters if x not in common]
        for at in product(*(range(*sketch.window.get(x, (0, problem.sizes[x]))) for x in letters)):
            place = dict(zip(letters, at, strict=True))
            for ends in _ends(problem, sketch):
                keys = tuple(_key(problem, slot, place, common, ends) for slot in sketch.slots)
                marks = tuple((letter, end, position) for (letter, position), end in ends.items())
                instances.append(Instance(number, at, keys, marks))
    keys = []
    for name in names:
        axes = [x for x in problem.unknowns[name].axes if x not in common]
        keys += [(name, at) for at in product(*(range(problem.sizes[x]) for x in axes))]
    return instances, keys


def _ends(problem: Problem, sketch: Sketch) -> list[dict[tuple[str, int], int]]:
    """Where elements counted from the end may stand when rows differ in length."""
    wanted = {
        (letter, index.position)
        for slot in sketch.slots
        for letter, index in zip(problem.unknowns[slot.name].axes, slot.indices, strict=True)
        if isinstance(index, Element) and index.position < 0 and letter in problem.frame.existence
    }
    order = sorted(wanted)
    # -1: the row has no such element
    choices = [range(-1, problem.sizes[letter] + position + 1) for letter, position in order]
    return [dict(zip(order, places, strict=True)) for places in product(*choices)]


def _key(
    problem: Problem,
    slot: Term,
    place: Mapping[str, int],
    common: tuple[str, ...],
    ends: Mapping[tuple[str, int], int],
) -> Key | None:
    found = []
    for letter, index in zip(problem.unknowns[slot.name].axes, slot.indices, strict=True):
        if letter in common:
            continue
        size = problem.sizes[letter]
        if isinstance(index, Axis):
            at = place[letter] + index.offset
        else:
            assert isinstance(index, Element)
            at = index.position
            if at < 0:
                at = ends.get((letter, at), size + at)
        if not 0 <= at < size:
            return None
        found.append(at)
    return slot.name, tuple(found)

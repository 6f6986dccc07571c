"""The plan of an exact sum: what is summed locally, what is a chain, what needs general elimination.

1. A variable all of whose tables touch it at the same element is summed *in place*, for all elements of its axes in
   one operation (plates are never unrolled for it), as long as no table grows by it.
2. What is left falls into components. Axes that all terms of a component share without offset are batch dimensions.
3. A component of one variable, coupled only between neighbours on one axis, is a *chain*.
4. Any other component is unrolled and *eliminated* along a good order, whose cost is known before anything is
   allocated.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import networkx as nx

from graft.errors import IntractableError
from graft.graph.terms import Axis, Element, Term
from graft.inference.grounding import Instance, Key, ground
from graft.inference.kept import Kept
from graft.inference.ordering import Order, best_order
from graft.inference.problem import Problem, Sketch, Unknown
from graft.ops.contraction.tree import Tree, tree


@dataclass(frozen=True)
class Local:
    """Sum one variable out in place.

    Attributes:
        name: the variable.
        tables: what it is summed from.
        result: number of the table it leaves.
        others: the other slots, in the order of the summed table.
        letters: axes of the resulting table.
    """

    name: str
    tables: tuple[int, ...]
    result: int
    others: tuple[Term, ...]
    letters: tuple[str, ...]


@dataclass(frozen=True)
class Chain:
    """Sum one variable out along one axis by the forward algorithm."""

    name: str
    tables: tuple[int, ...]
    letter: str
    common: tuple[str, ...]


@dataclass(frozen=True)
class General:
    """Sum several variables out by unrolling and elimination.

    Attributes:
        names: the variables.
        tables: what they are summed from.
        common: axes that act as batch dimensions.
        instances: the tables of single elements.
        free: elements that no table reads.
        order: in which elements are summed out.
        tree: in which their tables are multiplied for a sum.
    """

    names: tuple[str, ...]
    tables: tuple[int, ...]
    common: tuple[str, ...]
    instances: tuple[Instance, ...]
    free: tuple[Key, ...]
    order: Order
    tree: Tree


Step = Local | Chain | General


@dataclass(frozen=True)
class Plan:
    """Steps in order, with what they cost.

    Attributes:
        steps: to be carried out.
        constants: tables without slots.
        costs: per step, entries of all its tables over the whole batch.
        itemsize: bytes of an entry.
    """

    steps: tuple[Step, ...]
    constants: tuple[int, ...]
    costs: tuple[int, ...]
    itemsize: int

    @property
    def bytes(self) -> int:
        return sum(self.costs) * self.itemsize


def make(problem: Problem, budget: int, unroll: bool = False, chains: bool = True) -> Plan:
    """Plan the sum.

    Args:
        problem: whose sketches to plan for.
        budget: bytes that all tables together may take.
        unroll: one elimination over everything, plates included (for the k best).
        chains: recognise chains.

    Raises:
        IntractableError: naming the clique, its size and what would serve.
    """
    return _plans.get(
        problem.situation.graph,
        (_shape(problem), budget, unroll, chains),
        lambda: _Planner(problem, budget, unroll, chains).plan(),
    )


#: Plans by all that they depend on.
_plans: Kept[Plan] = Kept()


def _shape(problem: Problem) -> Hashable:
    """What a plan depends on: never a value."""
    frame = problem.frame
    if problem.shape is not None and problem.shape.sketches is problem.sketches:
        return problem.shape, tuple(frame.batch), frame.dtype
    return (
        tuple((u.name, u.axes, u.states) for u in problem.unknowns.values()),
        tuple((s.slots, s.letters, tuple(s.window.items())) for s in problem.sketches),
        tuple(problem.sizes.items()),
        tuple(frame.batch),
        tuple((letter, found.left) for letter, found in frame.existence.items()),
        frame.dtype,
    )


class _Planner:
    def __init__(self, problem: Problem, budget: int, unroll: bool, chains: bool) -> None:
        self.problem, self.budget, self.unroll, self.chains = problem, budget, unroll, chains
        self.active: dict[int, Sketch] = {}
        self.reading: dict[str, dict[int, Sketch]] = {name: {} for name in problem.unknowns}
        for number, sketch in enumerate(problem.sketches):
            self._put(number, sketch)
        self.batch = prod(problem.frame.batch)
        self.itemsize = problem.frame.dtype.itemsize
        self.steps: list[Step] = []
        self.costs: list[int] = []
        self.next = len(problem.sketches)

    def plan(self) -> Plan:
        for sketch in self.active.values():
            self._affordable(sketch.slots, self._volume(sketch.slots, sketch.letters), "tabulated")
        left = dict(self.problem.unknowns)
        while not self.unroll:
            found = [(cost, name) for name in left if (cost := self._local_cost(name)) is not None]
            if not found:
                break
            self._sum_in_place(min(found)[1])
            del left[min(found)[1]]
        for names in self._components(left):
            self._component(names)
        constants = tuple(number for number, sketch in self.active.items() if not sketch.slots)
        return Plan(tuple(self.steps), constants, tuple(self.costs), self.itemsize)

    def _states(self, slots: Sequence[Term]) -> int:
        return prod(self.problem.unknowns[slot.name].states for slot in slots)

    def _volume(self, slots: Sequence[Term], letters: Sequence[str]) -> int:
        return self._states(slots) * self.batch * prod(self.problem.sizes[x] for x in letters)

    def _affordable(self, slots: Sequence[Term], entries: int, how: str) -> None:
        size = entries * self.itemsize
        if size > self.budget:
            raise too_wide([str(slot) for slot in slots], self._states(slots), size, self.budget, how)

    def _touching(self, name: str) -> dict[int, Sketch]:
        return dict(self.reading[name])

    def _put(self, number: int, sketch: Sketch) -> None:
        self.active[number] = sketch
        for slot in sketch.slots:
            self.reading[slot.name][number] = sketch

    def _drop(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            for slot in self.active.pop(number).slots:
                self.reading[slot.name].pop(number, None)

    def _local_cost(self, name: str) -> int | None:
        """Entries of the table a variable would be summed from; None if that cannot be done in place."""
        unknown, tables = self.problem.unknowns[name], self._touching(name)
        if not unknown.axes and len(self.problem.unknowns) > 1:
            # nothing is done for many elements at once, and elimination finds a better order
            return None
        for sketch in tables.values():
            mine = [slot for slot in sketch.slots if slot.name == name]
            if mine != [unknown.term]:
                return None
            others = [slot for slot in sketch.slots if slot.name != name]
            extra = set(sketch.letters) - set(unknown.axes)
            if any(Axis(x).letter in slot.letters for x in extra for slot in others):
                return None
        left = self._others(name, tables)
        before = max((self._states(sketch.slots) for sketch in tables.values()), default=unknown.states)
        if self._states(left) > before:
            return None
        return self._volume([unknown.term, *left], unknown.axes)

    def _others(self, name: str, tables: Mapping[int, Sketch]) -> tuple[Term, ...]:
        return tuple(dict.fromkeys(s for sketch in tables.values() for s in sketch.slots if s.name != name))

    def _sum_in_place(self, name: str) -> None:
        unknown, tables = self.problem.unknowns[name], self._touching(name)
        others = self._others(name, tables)
        letters = tuple(x for x in unknown.axes if any(x in slot.letters for slot in others))
        volume = self._volume([unknown.term, *others], unknown.axes)
        self._affordable([unknown.term, *others], volume, "summed")
        self.steps.append(Local(name, tuple(tables), self.next, others, letters))
        self.costs.append(volume)
        self._drop(tables)
        self._put(self.next, Sketch(others, letters))
        self.next += 1

    def _components(self, names: Mapping[str, Unknown]) -> list[list[str]]:
        """Variables that share tables, in order."""
        if self.unroll:
            return [list(names)] if names else []
        joined = nx.utils.UnionFind(names)
        for sketch in self.active.values():
            mine = [slot.name for slot in sketch.slots]
            if mine:
                joined.union(*mine)
        groups: dict[str, list[str]] = {}
        for name in names:
            groups.setdefault(joined[name], []).append(name)
        # parts without axes go together: one sum of several parts costs less than several sums
        single = [group for group in groups.values() if not any(names[name].axes for name in group)]
        others = [group for group in groups.values() if any(names[name].axes for name in group)]
        return [*others, [name for group in single for name in group]] if single else others

    def _component(self, names: list[str]) -> None:
        found = {number for name in names for number in self.reading[name]}
        tables = {number: self.active[number] for number in sorted(found)}
        common = () if self.unroll else self._common(names, tables)
        letter = self._chain_letter(names, tables, common) if self.chains and not self.unroll else None
        if letter is not None:
            unknown = self.problem.unknowns[names[0]]
            volume = self._volume([unknown.term], unknown.axes)
            self.steps.append(Chain(names[0], tuple(tables), letter, common))
            self.costs.append(volume * (unknown.states if self.problem.sizes[letter] > 1 else 1))
        else:
            self._general(names, tables, common)
        self._drop(tables)

    def _common(self, names: list[str], tables: Mapping[int, Sketch]) -> tuple[str, ...]:
        """Axes that every term of a component carries without offset, and whose lengths vary with such axes only."""
        slots = [slot for sketch in tables.values() for slot in sketch.slots]
        found: tuple[str, ...] = ()
        for letter in self.problem.unknowns[names[0]].axes:
            existence = self.problem.frame.existence.get(letter)
            free = existence is None or set(existence.left) <= set(found)
            if free and all(Axis(letter) in slot.indices for slot in slots):
                found += (letter,)
        return found

    def _chain_letter(self, names: list[str], tables: Mapping[int, Sketch], common: tuple[str, ...]) -> str | None:
        """The axis along which a component is a chain, if it is one."""
        if len(names) > 1:
            return None
        axes = self.problem.unknowns[names[0]].axes
        rest = [x for x in axes if x not in common]
        if len(rest) != 1:
            return None
        place = axes.index(rest[0])
        for sketch in tables.values():
            indices = [slot.indices[place] for slot in sketch.slots]
            if set(sketch.letters) - {*common, rest[0]} or len(indices) > 2:
                return None
            if len(indices) == 2:
                one, two = indices
                if not (isinstance(one, Axis) and isinstance(two, Axis) and abs(one.offset - two.offset) == 1):
                    return None
        return rest[0]

    def _general(self, names: list[str], tables: Mapping[int, Sketch], common: tuple[str, ...]) -> None:
        instances, keys = ground(self.problem, names, tables, common)
        states: dict[Hashable, int] = {key: self.problem.unknowns[key[0]].states for key in keys}
        rows = self.batch * prod(self.problem.sizes[x] for x in common)
        limit = self.budget // max(1, rows * self.itemsize)
        order = best_order([[k for k in i.keys if k is not None] for i in instances], states, limit)
        if order.total * rows * self.itemsize > self.budget:
            clique = max(order.cliques, key=lambda c: prod(states[k] for k in c))
            size = order.total * rows * self.itemsize
            raise too_wide([named(k) for k in clique], order.largest, size, self.budget, "summed")
        scopes = [tuple(dict.fromkeys(k for k in i.keys if k is not None)) for i in instances]
        read = {key for scope in scopes for key in scope}
        free = tuple(key for key in keys if key not in read)
        found = tree([*scopes, *((key,) for key in free)], states, order.keys)
        self.steps.append(General(tuple(names), tuple(tables), common, tuple(instances), free, order, found))
        self.costs.append(order.total * rows)


def named(key: Hashable) -> str:
    """How a single element is written, such as `s[3]`."""
    assert isinstance(key, tuple)
    return str(Term(key[0], tuple(Element(i) for i in key[1])))


def too_wide(clique: Sequence[str], states: int, size: int, budget: int, how: str) -> IntractableError:
    """The error for a table that does not fit."""
    shown = ", ".join(clique[:12]) + (f", ... ({len(clique)} in all)" if len(clique) > 12 else "")
    # the axis of a vector's units has no name in formulas
    shown = re.sub(r",?@\w+", "", shown).replace("[]", "")
    more = f", or a budget= above {written(size)} if the machine has it" if size < MOST else ""
    # a factor's own table is read by every engine
    whose, engines = (" for exact inference", ENGINES) if how == "summed" else ("", "")
    return IntractableError(
        f"too wide{whose}: the clique {{{shown}}} has {written(states)} joint states; {how} with its "
        f"batch it takes at least {written(size)} bytes, the budget is {written(budget)}. What would serve: giving "
        f"some of these variables as evidence, a smaller batch{more}{engines}"
    )


#: What serves where exact sums do not.
ENGINES = (
    "; approximately, given(..., using=) LoopyBP() (an estimate), TreeReweighted() (an upper bound), MeanField() (a "
    "lower bound) or Gibbs() (samples)"
)


#: Bytes beyond which no machine helps, so that no larger budget is suggested.
MOST = 2**42


def written(count: int) -> str:
    """A count, also one beyond the range of floats.

    Example:
        >>> written(2**784), written(1024)
        ('about 10^236', '1.02e+03')
    """
    return f"{count:.3g}" if count < 10**15 else f"about 10^{int((count.bit_length() - 1) * 0.30103)}"

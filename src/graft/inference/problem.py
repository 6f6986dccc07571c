"""A query as a sum over discrete unknowns: which they are, and the log-tables of everything else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from graft.errors import GraftError, IntractableError
from graft.graph.factor_graph import FactorGraph
from graft.graph.nodes import Node, Variable
from graft.graph.recurrence import schedule
from graft.graph.terms import Axis, Term
from graft.inference.clean import Given
from graft.inference.domain import window
from graft.inference.enumeration import slots_of
from graft.inference.frame import Frame
from graft.inference.gaussian_parts import why_not
from graft.inference.kept import Kept
from graft.inference.relevance import Relevant, relevant
from graft.inference.run import Runner
from graft.inference.scoring import Scorer
from graft.inference.settle import Situation
from graft.inference.store import Store
from graft.inference.tables import LogTable
from graft.inference.units import UnitScorer, separated
from graft.inference.values import Value


@dataclass(frozen=True)
class Unknown:
    """A discrete unknown in the tables.

    Attributes:
        name: of the variable.
        axes: its letters, and that of its units if they separate.
        states: how many.
    """

    name: str
    axes: tuple[str, ...]
    states: int

    @property
    def apart(self) -> bool:
        """Whether it is a vector whose units are summed one by one, along a last axis of their own."""
        return bool(self.axes) and self.axes[-1].startswith("@")

    @property
    def term(self) -> Term:
        return Term(self.name, tuple(Axis(letter) for letter in self.axes))


@dataclass(frozen=True)
class Sketch:
    """A log-table before it is computed: enough to plan with.

    Attributes:
        slots: the unknown terms.
        letters: its axes.
        node: the factor; None for evidence and existence.
        name: of the variable, if there is no factor.
        window: the elements of each axis at which it stands; the whole axis if not named.
    """

    slots: tuple[Term, ...]
    letters: tuple[str, ...]
    node: Node | None = None
    name: str = ""
    window: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Shape:
    """What a problem was posed with; it says nothing of one whose sketches were changed since."""

    sketches: list[Sketch]


@dataclass(eq=False)
class Problem:
    """What is to be summed.

    Attributes:
        frame: of the call.
        relevant: what the query needs.
        unknowns: by name.
        sizes: of all axes, those of units included.
        sketches: one per log-table, before any is computed.
        shape: the same for problems that were posed alike, and so differ in values only.
    """

    situation: Situation
    relevant: Relevant
    unknowns: dict[str, Unknown]
    sizes: dict[str, int]
    sketches: list[Sketch] = field(default_factory=list)
    shape: Shape | None = None

    @property
    def frame(self) -> Frame:
        return self.situation.frame

    def tables(self) -> list[LogTable]:
        """Compute the log-tables, in the order of the sketches."""
        scorer, units = scorers(self)
        found: list[LogTable] = []
        for sketch in self.sketches:
            if sketch.node is None:
                found.append(_weights(self, self.unknowns[sketch.name]))
                continue
            own = units if any(slot.name in units.names for slot in sketch.slots) else scorer
            table = own.table(sketch.node, sketch.window, self._is_evidence(sketch.node))
            found.append(table.ordered(sketch.slots))
        return found

    def _is_evidence(self, node: Node) -> bool:
        return node.kind == "conditional" and node.head.name not in self.unknowns


def pose(situation: Situation, ask: Collection[str] = (), everything: bool = False, scored: bool = True) -> Problem:
    """Set up the sum for a query.

    Args:
        situation: of the call.
        ask: unknown variables the answer is about.
        everything: the answer is about all unknowns.
        scored: see `relevant`.

    Raises:
        IntractableError: if a continuous variable would have to be integrated out.
    """
    graph = situation.graph
    known, weighed, cells = set(), set(), set()
    for name, given in situation.given.items():
        if given.value is not None:
            known.add(name)
        if given.log_mask is not None:
            weighed.add(name)
        if given.cells is not None:
            cells.add(name)
    # a continuous leaf drops out, a vector of units is an unknown when the query is about it
    asked = {n for n in cells if graph.variables[n].is_discrete and (n in ask or everything)}
    open_units = {n for n in cells if _must_open(graph, n)} | asked
    wanted = set(ask) | weighed | open_units
    if everything:
        wanted |= {name for name in graph.random if name not in known}
    fixed = frozenset(known - open_units)

    def make() -> tuple[Relevant, dict[str, Unknown], dict[str, int], list[Sketch], Shape]:
        need = relevant(graph, fixed, wanted - fixed, scored)
        _no_continuous(graph, need, everything)
        unknowns, all_sizes = _unknowns(graph, need, situation.frame, weighed)
        problem = Problem(situation, need, unknowns, all_sizes)
        sketches = _sketches(problem, _flows(problem))
        return need, unknowns, all_sizes, sketches, Shape(sketches)

    existence = tuple((letter, found.left) for letter, found in situation.frame.existence.items())
    sizes = tuple(situation.frame.sizes.items())
    label = (fixed, frozenset(wanted), frozenset(situation.given), frozenset(weighed), everything, scored, existence)
    return Problem(situation, *_posed.get(graph, (*label, sizes), make))


#: Problems without their situations (which would keep their graphs alive), by all that they depend on.
_posed: Kept[tuple[Relevant, dict[str, Unknown], dict[str, int], list[Sketch], Shape]] = Kept()


def _must_open(graph: FactorGraph, name: str) -> bool:
    """Whether missing cells make a variable an unknown: units under potentials, or a value others read."""
    variable = graph.variables[name]
    read = any(term.name == name for node in graph.nodes for term in node.reads)
    if variable.is_discrete and (variable.potentials or read):
        return True
    if read:
        raise IntractableError(
            f"{name} has missing cells and other factors read it, so its missing values would have to be integrated "
            "out, which no exact engine does: give the cells, or make it a leaf"
        )
    return False


def _no_continuous(graph: FactorGraph, need: Relevant, everything: bool) -> None:
    bad = [name for name in need.unknown if not graph.variables[name].is_discrete]
    if not bad:
        return
    names = ", ".join(bad)
    what = "is about all unknowns" if everything else "depends on them"
    told = " (if one is discrete, tell its support)" if any(not graph.variables[n].support for n in bad) else ""
    raise IntractableError(
        f"no exact engine integrates over continuous unknowns: {names}. The query {what}: give {names} as values{told};"
        f" linear-Gaussian ones are integrated out, but {why_not(graph, need)}"
    )


def _unknowns(
    graph: FactorGraph, need: Relevant, frame: Frame, weighed: Collection[str]
) -> tuple[dict[str, Unknown], dict[str, int]]:
    apart = separated(graph, need, weighed)
    found, sizes = {}, dict(frame.sizes)
    for name in need.unknown:
        variable = graph.variables[name]
        assert variable.support is not None and variable.support.states is not None
        if name in apart:
            letter = "@" + name
            sizes[letter] = variable.support.event_shape[0]
            found[name] = Unknown(name, (*variable.axes, letter), 2)
        else:
            found[name] = Unknown(name, variable.axes, variable.support.states)
    return found, sizes


def _flows(problem: Problem) -> dict[str, tuple[Term, ...]]:
    """The unknowns that reach each computed variable.

    Raises:
        IntractableError: where one does through an offset, a whole axis or a recurrence.
    """
    graph = problem.situation.graph
    found: dict[str, tuple[Term, ...]] = {}
    functions = [n for name in problem.relevant.functions for n in graph.variables[name].functions]
    for _ in range(len(functions) + 1):
        for node in functions:
            reached = dict.fromkeys(found.get(node.head.name, ()))
            for term in node.reads:
                slots = _through(problem, node, term, found)
                reached.update(dict.fromkeys(slots))
            found[node.head.name] = tuple(reached)
    return found


def _through(problem: Problem, node: Node, term: Term, found: Mapping[str, tuple[Term, ...]]) -> tuple[Term, ...]:
    if term.name in problem.unknowns:
        slots: tuple[Term, ...] = (problem.unknowns[term.name].term,)
    else:
        slots = found.get(term.name, ())
    if slots and not term.plain:
        names = ", ".join(slot.name for slot in slots)
        raise IntractableError(
            f"{node}: the unknown {names} flows through {term}, which offsets or reads whole an axis of it; "
            f"give {names}, or let a conditional read it directly"
        )
    return slots


def _sketches(problem: Problem, flows: Mapping[str, tuple[Term, ...]]) -> list[Sketch]:
    graph = problem.situation.graph
    found = []
    for node in problem.relevant.factors:
        slots: dict[Term, None] = {}
        letters = node.letters
        where = window(node, graph.variables, problem.frame)
        if where is None:
            continue
        for term in node.terms:
            if term.name in problem.unknowns:
                unknown = problem.unknowns[term.name]
                if len(unknown.axes) > len(graph.variables[term.name].axes):
                    slots[unknown.term] = None
                    letters = (*letters, unknown.axes[-1])
                else:
                    slots.update(dict.fromkeys(slots_of(term, graph.variables[term.name], problem.sizes)))
            elif flows.get(term.name):
                _through(problem, node, term, flows)
                slots.update(dict.fromkeys(flows[term.name]))
        found.append(Sketch(tuple(slots), letters, node, window=where))
    for name, unknown in problem.unknowns.items():
        given = problem.situation.given.get(name)
        absent = any(letter in problem.frame.existence for letter in unknown.axes)
        if given is not None or absent:
            found.append(Sketch((unknown.term,), unknown.axes, None, name))
    return found


def _weights(problem: Problem, unknown: Unknown) -> LogTable:
    """Evidence on the states of an unknown; where it does not exist, only its first state."""
    frame, axes = problem.frame, unknown.axes
    given = problem.situation.given.get(unknown.name)
    if unknown.apart:
        tensor = _unit_weights(problem, unknown, given)
    elif given is not None and given.log_mask is not None:
        tensor = given.log_mask.movedim(-1, 0)
    elif given is not None and given.cells is not None:
        tensor = _cell_weights(problem.situation.graph.variables[unknown.name], given)
    else:
        tensor = torch.zeros((unknown.states, *(1,) * (frame.rank + len(axes))), dtype=frame.dtype, device=frame.device)
    exists = frame.exists(tuple(x for x in axes if x in frame.sizes))
    if exists is not None:
        exists = exists.reshape(*exists.shape, *(1,) * (tensor.dim() - 1 - exists.dim()))
        first = torch.zeros((unknown.states, *(1,) * exists.dim()), dtype=tensor.dtype, device=frame.device)
        first[1:] = -torch.inf
        tensor = torch.where(exists, tensor, first)
    return LogTable((unknown.term,), axes, tensor, {}, None, evidence=given is not None)


def _unit_weights(problem: Problem, unknown: Unknown, given: Given | None) -> Tensor:
    """(2, batch, axes, units): known cells allow one state."""
    frame = problem.frame
    if given is None or given.value is None or given.cells is None:
        return torch.zeros((2,) + (1,) * (frame.rank + len(unknown.axes)), dtype=frame.dtype, device=frame.device)
    states = torch.arange(2, device=frame.device).reshape(2, *(1,) * given.value.dim())
    return torch.where((given.value == states) | given.cells, 0.0, -torch.inf)


def _cell_weights(variable: Variable, given: Given) -> Tensor:
    """(states, batch, axes): the states of a vector that agree with its known cells."""
    assert variable.support is not None and given.value is not None and given.cells is not None
    states = torch.arange(int(variable.support.states or 0), device=given.value.device)
    values = variable.support.decode(states)
    lead = given.value.dim() - variable.support.event_rank
    values = values.reshape(len(states), *(1,) * lead, *variable.support.event_shape)
    fits = ((values == given.value) | given.cells).flatten(1 + lead).all(-1)
    return torch.where(fits, 0.0, -torch.inf)


def scorers(problem: Problem) -> tuple[Scorer, UnitScorer]:
    """A store with everything known in it, and what turns factors into tables."""
    situation = problem.situation
    store = Store(situation.frame, situation.graph.variables)
    store.latent = frozenset(name for name, u in problem.unknowns.items() if not u.apart)
    cells = {}
    for name, given in situation.given.items():
        if given.value is not None and name not in problem.unknowns:
            store.values[name] = Value(given.value)
            if given.cells is not None:
                cells[name] = given.cells
    compute(problem, store)
    apart = frozenset(name for name, u in problem.unknowns.items() if u.apart)
    return Scorer(store, situation.ready, cells), UnitScorer(store, apart)


def compute(problem: Problem, store: Store) -> None:
    """The functions that the query needs; those of inputs alone once per call, and with gradients if wanted."""
    situation, graph, grad = problem.situation, problem.situation.graph, torch.is_grad_enabled()
    kept = {name: value for name, (had, value) in situation.made.items() if had or not grad}
    store.values.update({name: value for name, value in kept.items() if name not in store.values})
    wanted = [name for name in problem.relevant.functions if name not in kept]
    nodes = [node for name in wanted for node in graph.variables[name].functions]
    Runner(store, _never, situation.ready).run(schedule(nodes, graph.variables))
    situation.made.update({name: (grad, store.values[name]) for name in wanted if graph.of_inputs(name)})


def _never(_: object) -> Tensor:
    raise GraftError("a variable would have to be drawn to answer an exact query")

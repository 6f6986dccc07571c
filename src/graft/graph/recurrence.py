"""The order in which a model's values can be made: single calls, and loops over what truly recurs.

The producers (functions, and conditionals that draw) form a graph: an edge where one reads what another gives. A
strongly connected part is a recurrence. It is looped over one axis that all its members share and along which all its
offsets point one way; cutting the reads of other elements leaves the inside of one step, which is analysed again, so
that two axes nest (a turn-by-turn dialogue of word-by-word turns).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx

from graft.errors import FormulaError
from graft.graph.nodes import Node, Variable, element_of, index_of
from graft.graph.terms import Axis, Element, Term, Whole


@dataclass(frozen=True)
class Loop:
    """A recurrence along one axis.

    Attributes:
        letter: the axis.
        direction: +1 from the first element on, -1 from the last back.
        body: what happens in one step.
        members: the names made inside.
    """

    letter: str
    direction: int
    body: tuple[Node | Loop, ...]
    members: frozenset[str]


Schedule = tuple[Node | Loop, ...]


@dataclass(frozen=True)
class _Read:
    giver: Node
    reader: Node
    term: Term


def schedule(nodes: Sequence[Node], variables: Mapping[str, Variable]) -> Schedule:
    """Order producers so that each comes after what it reads.

    Args:
        nodes: functions and conditionals; names that none of them gives are taken as known.
        variables: by name.

    Returns:
        Calls and loops, in order.

    Raises:
        FormulaError: if a cycle is no recurrence.
    """
    makers: dict[str, list[Node]] = {}
    for node in nodes:
        makers.setdefault(node.head.name, []).append(node)
    reads = [
        _Read(giver, reader, term)
        for reader in nodes
        for term in reader.reads
        for giver in makers.get(term.name, ())
        if _reaches(giver, reader, term, makers[term.name], variables)
    ]
    return _order(list(nodes), reads, variables, frozenset())


def _reaches(giver: Node, reader: Node, term: Term, nodes: Sequence[Node], variables: Mapping[str, Variable]) -> bool:
    """Whether a read can touch the elements that this producer, one of `nodes` that make the variable, gives."""
    variable = variables[term.name]
    for letter, index in zip(variable.axes, term.indices, strict=True):
        mine = element_of(giver.head, variable, letter)
        if isinstance(index, Element):
            special = any(element_of(node.head, variable, letter) == index.position for node in nodes)
            if mine is None and special:
                return False
            if mine is not None and (mine < 0) == (index.position < 0) and mine != index.position:
                return False
        elif isinstance(index, Axis) and mine is not None:
            # an element at one end is out of reach of a read that looks towards the other
            if index.offset < 0 and mine < 0 and mine >= index.offset:
                return False
            if index.offset > 0 and 0 <= mine < index.offset:
                return False
    return True


def _order(
    nodes: list[Node], reads: Iterable[_Read], variables: Mapping[str, Variable], used: frozenset[str]
) -> Schedule:
    reads = list(reads)
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from((read.giver, read.reader) for read in reads)
    parts = nx.condensation(graph)
    # ties in the order the user wrote
    first = {part: min(node.place for node in parts.nodes[part]["members"]) for part in parts}
    steps: list[Node | Loop] = []
    for part in nx.lexicographical_topological_sort(parts, key=first.__getitem__):
        members = sorted(parts.nodes[part]["members"], key=lambda node: node.place)
        alone = len(members) == 1 and not graph.has_edge(members[0], members[0])
        inner = [] if alone else [read for read in reads if read.giver in members and read.reader in members]
        steps.append(_loop(members, inner, variables, used) if inner else members[0])
    return tuple(steps)


def _loop(members: list[Node], reads: list[_Read], variables: Mapping[str, Variable], used: frozenset[str]) -> Loop:
    failure: FormulaError | None = None
    for letter in members[0].head.letters:
        if letter in used or any(letter not in node.head.letters for node in members):
            continue
        offsets = [_offset(read, variables, letter) for read in reads]
        if None in offsets or not any(offsets):
            continue
        signs = {(o > 0) - (o < 0) for o in offsets if o}
        if len(signs) > 1:
            failure = failure or _cycle(reads, f"its offsets along {letter} point both ways")
            continue
        inside = [read for read, offset in zip(reads, offsets, strict=True) if offset == 0]
        try:
            body = _order(members, inside, variables, used | {letter})
        except FormulaError as error:
            failure = failure or error
            continue
        names = frozenset(node.head.name for node in members)
        return Loop(letter, -signs.pop(), body, names)
    raise failure or _cycle(reads, "no axis shared by all its members orders them")


def _offset(read: _Read, variables: Mapping[str, Variable], letter: str) -> int | None:
    index = index_of(read.term, variables[read.term.name], letter)
    return index.offset if isinstance(index, Axis) else None


def _cycle(reads: list[_Read], why: str) -> FormulaError:
    names = " -> ".join(dict.fromkeys(read.giver.head.name for read in reads))
    # the most telling read: one that looks at a whole axis, or at the same element
    telling = sorted(reads, key=lambda r: (Whole() not in r.term.indices, not r.term.plain))
    read = telling[0]
    return read.reader.fail(f"cycle: {names} depend on each other, and {why}", read.term)

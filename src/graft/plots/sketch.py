"""From a model and its guide to the symbols and edges of a diagram, as yet without places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from graft.graph.factor_graph import FactorGraph
from graft.graph.latex import index, spelling
from graft.graph.nodes import Node, Variable
from graft.graph.terms import Axis, Element, Term, Whole
from graft.plots.marks import Box, Edge, Head, Kind, Symbol, Where
from graft.plots.text import NAME, half_size, math

RADIUS, SQUARE = 0.26, 0.07


def symbols_of(graph: FactorGraph, guide: FactorGraph | None) -> list[Symbol]:
    """Variables of the model, then the guide's own, then a square for every potential."""
    found = [_variable(v, False) for v in graph.variables.values()]
    own = guide.variables.values() if guide else ()
    found += [_variable(v, True) for v in own if v.name not in graph.variables]
    for node, dashed in factors_of(graph, guide):
        if node.kind == "potential":
            found.append(Symbol(square(node, dashed), "factor", "", node.letters, dashed, (SQUARE, SQUARE)))
    return found


def factors_of(graph: FactorGraph, guide: FactorGraph | None) -> list[tuple[Node, bool]]:
    """The factors of both, and whether each is the guide's."""
    return [(n, False) for n in graph.nodes] + [(n, True) for n in (guide.nodes if guide else ())]


def square(node: Node, guide: bool) -> str:
    """The key of a potential's square; no variable can be called so without a blank."""
    return f"\N{BLACK SQUARE} {'q' if guide else 'p'}{node.place}"


def _variable(variable: Variable, guide: bool) -> Symbol:
    kind: Kind = "input" if variable.is_input else "computed" if variable.is_computed else "random"
    label = math(spelling(variable.term, variable.axes))
    wide = half_size(label, NAME)[0]
    # a circle as long as the text fits; the second outline of a computed variable needs room too
    half = (max(RADIUS, wide * 1.12 + 0.11), RADIUS)
    return Symbol(variable.name, kind, label, variable.axes, guide, half)


def edges_of(graph: FactorGraph, guide: FactorGraph | None) -> list[Edge]:
    """One edge for every read of every factor; equal ones once."""
    variables = {**(guide.variables if guide else {}), **graph.variables}
    found: list[Edge] = []
    for node, dashed in factors_of(graph, guide):
        found += _lines(node, dashed, variables) if node.kind == "potential" else _arrows(node, dashed, variables)
    found = list(dict.fromkeys(found))
    plain = {_ends(edge) for edge in found if not edge.notes}
    # an element that reads the same element of another variable is what the plain arrow says already
    return [edge for edge in found if not (_same_element(edge) and _ends(edge) in plain)]


def _ends(edge: Edge) -> tuple[str, str, bool, str]:
    return edge.source, edge.target, edge.guide, edge.head


def _same_element(edge: Edge) -> bool:
    return bool(edge.notes) and not edge.shifted and all(where == "middle" for _, where in edge.notes)


def _lines(node: Node, guide: bool, variables: Mapping[str, Variable]) -> list[Edge]:
    return [
        Edge(term.name, square(node, guide), guide, "none", _shifted(term), _line_notes(term, node, variables))
        for term in node.terms
    ]


def _line_notes(term: Term, node: Node, variables: Mapping[str, Variable]) -> tuple[tuple[str, Where], ...]:
    texts = _tail(term, variables[term.name], node.letters)
    return ((_joined(texts), "middle"),) if texts else ()


def _arrows(node: Node, guide: bool, variables: Mapping[str, Variable]) -> list[Edge]:
    head: Head = "hollow" if node.kind == "function" else "filled"
    name = node.head.name
    found = [Edge(t.name, name, guide, head, _shifted(t), _arrow_notes(t, node, variables)) for t in node.reads]
    start = _elements(node.head, variables[name])
    if start and not found:
        return [Edge("", name, guide, head, False, ((_joined(start), "middle"),))]
    return found


def _shifted(term: Term) -> bool:
    return any(isinstance(i, Axis) and i.offset for i in term.indices)


def _arrow_notes(term: Term, node: Node, variables: Mapping[str, Variable]) -> tuple[tuple[str, Where], ...]:
    """What the arrow says beyond the plates: shifts in the middle, elements at the end they belong to."""
    own, other = variables[node.head.name], variables[term.name]
    there, here = _tail(term, other, own.axes), _elements(node.head, own)
    shared = {letter: text for letter, text in there.items() if here.get(letter) == text}
    tail = {letter: text for letter, text in there.items() if letter not in shared}
    head = {letter: text for letter, text in here.items() if letter not in shared}
    place: Where = "middle" if _shifted(term) and not head else "tail"
    found: list[tuple[str, Where]] = []
    for texts, where in ((shared, "middle"), (tail, place), (head, "head")):
        if texts:
            found.append((_joined(texts), where))  # type: ignore[arg-type]
    return tuple(found)


def _tail(term: Term, variable: Variable, letters: Iterable[str]) -> dict[str, str]:
    """By axis, how a read differs from the reader's own element."""
    found = {}
    for letter, entry in zip(variable.axes, term.indices, strict=True):
        if isinstance(entry, Element):
            found[letter] = _element(entry, letter, variable)
        elif isinstance(entry, Axis) and entry.offset:
            # braces keep the sign as tight as a subscript's
            found[letter] = f"{letter}{{{'+' if entry.offset > 0 else '-'}}}{abs(entry.offset)}"
        elif isinstance(entry, Whole) and letter in letters:
            found[letter] = f"{letter}{{=}}{{:}}"
    return found


def _elements(term: Term, variable: Variable) -> dict[str, str]:
    pairs = zip(variable.axes, term.indices, strict=True)
    return {x: _element(entry, x, variable) for x, entry in pairs if isinstance(entry, Element)}


def _element(entry: Element, letter: str, variable: Variable) -> str:
    text = index(entry, letter)
    return text if len(variable.axes) == 1 else f"{letter}{{=}}{text}"


def _joined(texts: Mapping[str, str]) -> str:
    return math(",".join(texts.values()))


def boxes_of(graph: FactorGraph, guide: FactorGraph | None, symbols: Iterable[Symbol]) -> list[Box]:
    """One box an axis, the innermost first."""
    letters = dict.fromkeys([*graph.letters, *(guide.letters if guide else ())])
    time = graph.time | (guide.time if guide else frozenset())
    symbols = list(symbols)
    found = [Box(x, tuple(s.key for s in symbols if x in s.letters), x in time) for x in reversed(letters)]
    # of two axes with the same members the one written later lies inside
    return sorted(found, key=lambda box: len(box.members))

"""What a model must satisfy before any value is seen; each rule is one short function."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from graft.distributions.supports import Finite
from graft.errors import FormulaError
from graft.factors.base import Factor, Kind
from graft.factors.recurrent import Recurrent
from graft.graph.axes import left_offsets
from graft.graph.nodes import Node, Variable, element_of
from graft.graph.terms import Axis, Term


def check(nodes: Iterable[Node], variables: Mapping[str, Variable]) -> None:
    """All rules on a model.

    Raises:
        FormulaError: at the first breach.
    """
    for node in nodes:
        _offsets_on_the_left(node)
        _known_parents(node, variables)
        _own_past(node)
        if node.kind == "potential":
            _arity(node, variables)
    for variable in variables.values():
        _one_producer(variable, "conditional")
        _one_producer(variable, "function")
        _every_element(variable)
    for node in nodes:
        if node.kind != "potential":
            for term in node.reads:
                _outside(node, term, variables)


def _offsets_on_the_left(node: Node) -> None:
    shifted = left_offsets(node.formula)
    if shifted and node.kind != "potential":
        raise node.fail(f"a {node.kind} gives x[t], never a shifted element", shifted[0])


def _known_parents(node: Node, variables: Mapping[str, Variable]) -> None:
    """A table's parents must be discrete and as many as it was made for."""
    module = node.module
    if not isinstance(module, Factor) or module.given is None:
        return
    name = type(module).__name__
    if len(module.given) != len(node.reads):
        count = f"{len(module.given)} parent" + "s" * (len(module.given) != 1)
        rule = f"{name} looks up {count} (given=), the formula has {len(node.reads)}"
        if not module.given:
            rule = f"{name} takes no inputs, the formula has {len(node.reads)}"
        raise node.fail(rule, next(iter(node.reads[len(module.given) :]), None))
    for states, term in zip(module.given, node.reads, strict=True):
        support = variables[term.name].support
        if support is not None and support.states is None:
            raise node.fail(f"{name} looks {term.name} up in a table, but it is not discrete", term)
        if support is not None and support.states != states:
            rule = f"{name} expects {states} states of {term.name}, which has {support.states}"
            raise node.fail(rule, term)


def _own_past(node: Node) -> None:
    """The last input of a recurrent module is what it gave before."""
    if not isinstance(node.module, Recurrent):
        return
    last = node.reads[-1] if node.reads else None
    if last is None or last.name != node.head.name or not _shifted(last):
        rule = f"the last input of Recurrent is its own past, such as {_before(node)}"
        raise node.fail(rule, last)


def _shifted(term: Term) -> bool:
    return any(isinstance(index, Axis) and index.offset for index in term.indices)


def _before(node: Node) -> str:
    letters = list(node.head.letters) or ["t"]
    return f"{node.head.name}[{','.join([*letters[:-1], letters[-1] + '-1'])}]"


def _arity(node: Node, variables: Mapping[str, Variable]) -> None:
    supports = getattr(node.module, "supports", None)
    if supports is not None and len(supports) != len(node.formula.left):
        rule = f"{type(node.module).__name__} is over {len(supports)} variables, not {len(node.formula.left)}"
        raise node.fail(rule, next(iter(node.formula.left[len(supports) :]), None))
    for support, term in zip(supports or (), node.formula.left, strict=False):
        known = variables[term.name].support
        if support is None or known is None or support.states is None:
            continue
        if known.states != support.states:
            rule = f"{type(node.module).__name__} has {support.states} states for {term.name}, not {known.states}"
            raise node.fail(rule, term)


def _one_producer(variable: Variable, kind: Kind) -> None:
    """At most one conditional (or function) for each element."""
    seen: dict[tuple[object, ...], Node] = {}
    for node in variable.producers(kind):
        place = tuple(element_of(node.head, variable, letter) for letter in variable.axes)
        if place in seen:
            rule = f"two {kind}s for {node.head}: the other is {seen[place].formula.text!r}"
            raise node.fail(rule, node.head)
        seen[place] = node


def _every_element(variable: Variable) -> None:
    """A function must give every element; so must conditionals, unless potentials reach the rest."""
    if variable.is_input or variable.potentials:
        return
    kind: Kind = "function" if variable.is_computed else "conditional"
    nodes = variable.producers(kind)
    if all(node.head.elements for node in nodes):
        rule = f"nothing gives {variable.term}, only {nodes[0].head}"
        raise nodes[0].fail(rule, nodes[0].head)


def reach(term: Term, node: Node, variable: Variable, variables: Mapping[str, Variable]) -> str | None:
    """The axis along which a read can look outside the sequence, if there is one."""
    own = variables[node.head.name]
    for index in term.indices:
        if not isinstance(index, Axis) or not index.offset:
            continue
        kind = node.kind
        ends = own.firsts(index.letter, kind) if index.offset < 0 else own.lasts(index.letter, kind)
        special = element_of(node.head, own, index.letter)
        if special is None and ends < abs(index.offset):
            return index.letter
    return None


def initial_of(variable: Variable) -> Factor | None:
    """The module that says what is read before the first element, if there is one."""
    for node in (*variable.functions, *variable.conditionals):
        if callable(getattr(node.module, "initial", None)):
            return node.module  # type: ignore[return-value]
    return None


def _outside(node: Node, term: Term, variables: Mapping[str, Variable]) -> None:
    """Reads beyond the ends need something to find there."""
    variable = variables[term.name]
    letter = reach(term, node, variable, variables)
    if letter is None:
        return
    if variable.is_discrete and node.indexes() and initial_of(variable) is None:
        rule = f"{term} is no state at the end of axis {letter!r}, which a table cannot look up"
        raise node.fail(rule + f": give {_missing(node, term, variables)} a factor of its own", term)
    if variable.is_input or initial_of(variable) is not None:
        return
    own_past = term.name == node.head.name
    if own_past and isinstance(variable.support, Finite):
        first = _missing(node, term, variables)
        rule = f"{term.name} reads its own past: give {first} a factor of its own, or its module initial()"
        raise node.fail(rule, term)
    if variable.support is None:
        rule = f"{term} looks outside the sequence, where zeros of its event shape stand: tell the shape"
        raise node.fail(rule + f" (support={{{term.name!r}: Real(...)}}), a first factor, or initial", term)


def _missing(node: Node, term: Term, variables: Mapping[str, Variable]) -> str:
    """The first element that lacks a factor of its own, where the general one would look outside."""
    own = variables[node.head.name]
    letter, offset = next((i.letter, i.offset) for i in term.indices if isinstance(i, Axis) and i.offset)
    place = own.firsts(letter, node.kind) if offset < 0 else -1 - own.lasts(letter, node.kind)
    indices = [str(place) if i == letter else i for i in own.axes]
    return f"{own.name}[{','.join(indices)}]"


def no_breach_by_name(names: Iterable[str], known: Collection[str], what: str) -> None:
    """Options that name variables must name known ones.

    Raises:
        FormulaError: naming the stranger and the variables there are.
    """
    for name in names:
        if name not in known:
            raise FormulaError(f"{what} names {name!r}, which no formula mentions; there are {', '.join(known)}")

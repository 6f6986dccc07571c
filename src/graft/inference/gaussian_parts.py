"""Which continuous unknowns of a query are jointly Gaussian with everything that touches them, by the kinds of their
factors alone; nothing is evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from graft.distributions.supports import Real
from graft.factors.base import Factor
from graft.factors.gaussian import Gaussian
from graft.factors.gaussian_potential import GaussianPotential
from graft.factors.linear_gaussian import LinearGaussian
from graft.factors.priors import Normal
from graft.factors.select import Select
from graft.graph.factor_graph import FactorGraph
from graft.graph.nodes import Node, Variable, index_of
from graft.graph.parse import EXISTENCE
from graft.graph.terms import Axis, Element, Term
from graft.inference.clean import Given
from graft.inference.relevance import Relevant, relevant


@dataclass(frozen=True)
class Part:
    """Continuous unknowns that share factors.

    Attributes:
        names: in the order of the model.
        nodes: every factor that touches them.
        common: axes that all their terms carry without offset, batch dimensions in effect.
        letter: the axis they are coupled along; None if there is none.
    """

    names: tuple[str, ...]
    nodes: tuple[Node, ...]
    common: tuple[str, ...]
    letter: str | None


class NotGaussian(Exception):
    """Why some unknowns cannot be integrated out as Gaussians."""


def opened(graph: FactorGraph, given: Mapping[str, Given]) -> frozenset[str]:
    """Variables with missing cells that other factors read: unknown, with exact evidence on the known cells."""
    read = {term.name for node in graph.nodes for term in node.reads}
    return frozenset(name for name, found in given.items() if found.cells is not None and name in read)


def needed(
    graph: FactorGraph, given: Mapping[str, Given], ask: frozenset[str], everything: bool, scored: bool = True
) -> Relevant:
    """What a query needs when continuous unknowns may be integrated out; see `relevant`."""
    known = {name for name, found in given.items() if found.value is not None} - opened(graph, given)
    wanted = (set(ask) | set(given)) - known
    if everything:
        wanted |= {name for name in graph.random if name not in known}
    return relevant(graph, known, wanted & set(graph.random), scored)


def continuous(graph: FactorGraph, need: Relevant) -> tuple[str, ...]:
    """The unknowns that states cannot be listed of."""
    return tuple(name for name in need.unknown if not graph.variables[name].is_discrete)


def parts(graph: FactorGraph, need: Relevant, nested: Mapping[str, tuple[str, ...]]) -> tuple[Part, ...]:
    """The continuous unknowns of a query, in groups that do not touch.

    Args:
        graph: the model.
        need: what the query needs.
        nested: per axis with lengths, the axes these vary with.

    Raises:
        NotGaussian: saying which factor is at fault.
    """
    unknown = continuous(graph, need)
    touching = {node: _touched(node, unknown) for node in need.factors}
    for node, names in touching.items():
        if names:
            _refuse(graph, need, node, names)
    for name in need.functions:
        for node in graph.variables[name].functions:
            if _touched(node, unknown):
                raise NotGaussian(f"{node} is a function of {', '.join(_touched(node, unknown))}")
    groups: list[set[str]] = [{name} for name in unknown]
    for names in touching.values():
        joined = [group for group in groups if group & set(names)]
        if len(joined) > 1:
            groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    groups.sort(key=lambda group: min(map(unknown.index, group)))
    return tuple(_part(graph, group, touching, nested) for group in groups)


def why_not(graph: FactorGraph, need: Relevant) -> str:
    """What keeps the continuous unknowns of a query from being integrated out as Gaussians, for messages."""
    try:
        parts(graph, need, {})
    except NotGaussian as reason:
        return str(reason)
    return "this query is answered over states alone"


def _touched(node: Node, unknown: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(term.name for term in node.terms if term.name in unknown))


def _refuse(graph: FactorGraph, need: Relevant, node: Node, names: tuple[str, ...]) -> None:
    """Raises unless a factor is Gaussian in the unknowns it touches."""
    who, kind = ", ".join(names), type(node.module).__name__
    others = dict.fromkeys(
        x for t in node.terms for x in _sources(graph, t.name) if x in need.unknown and x not in names
    )
    if others:
        raise NotGaussian(f"{node} couples {who} with {', '.join(others)}, which is unknown and no linear part of it")
    for name in names:
        support = graph.variables[name].support
        if not isinstance(support, Real) or support.event_rank > 1:
            raise NotGaussian(f"{name} is not known to be a vector of real numbers (support={{{name!r}: Real(...)}})")
    if node.kind == "potential":
        if type(node.module) is not GaussianPotential or len(node.formula.left) != 1 or _touched_by(node.reads, names):
            raise NotGaussian(f"{node} is a {kind}, not a GaussianPotential of one vector alone")
        return
    if any(term.name in EXISTENCE for term in node.formula.right):
        raise NotGaussian(f"{node} reads lengths or mask")
    if _touched_by(node.reads, names):
        if type(node.module) is not LinearGaussian:
            raise NotGaussian(f"{node} is a {kind}, not a LinearGaussian of {who}")
    elif not _may_be_normal(node.module):
        raise NotGaussian(f"{node} is a {kind}, not Gaussian")


def _sources(graph: FactorGraph, name: str) -> tuple[str, ...]:
    """The random variables that a term's value comes from: itself, or what reaches it through functions."""
    found: dict[str, None] = {}
    seen, stack = set(), [name]
    while stack:
        variable = graph.variables[stack.pop()]
        if not variable.is_computed:
            found[variable.name] = None
        elif variable.name not in seen:
            seen.add(variable.name)
            stack += [term.name for node in variable.functions for term in node.reads]
    return tuple(found)


def _touched_by(terms: tuple[Term, ...], names: tuple[str, ...]) -> bool:
    return any(term.name in names for term in terms)


def _may_be_normal(module: object) -> bool:
    """Whether a module can return a Gaussian; what a bare one returns is seen when it is called."""
    if isinstance(module, Select):
        return _may_be_normal(module.inner)
    known = isinstance(module, Gaussian | LinearGaussian | Normal)
    return known or (isinstance(module, nn.Module) and not isinstance(module, Factor))


def _part(
    graph: FactorGraph,
    group: set[str],
    touching: Mapping[Node, tuple[str, ...]],
    nested: Mapping[str, tuple[str, ...]],
) -> Part:
    nodes = tuple(node for node, names in touching.items() if group & set(names))
    names = tuple(name for name in graph.random if name in group)
    terms = [term for node in nodes for term in node.terms if term.name in group]
    letters = dict.fromkeys(x for name in names for x in graph.variables[name].axes)
    letters.update(dict.fromkeys(x for node in nodes for x in node.letters))
    common: tuple[str, ...] = ()
    for letter in letters:
        if set(nested.get(letter, ())) <= set(common) and all(Axis(letter) in term.indices for term in terms):
            common += (letter,)
    rest = [letter for letter in letters if letter not in common]
    if len(rest) > 1:
        raise NotGaussian(f"{', '.join(names)} are coupled along several axes, {' and '.join(rest)}")
    part = Part(names, nodes, common, rest[0] if rest else None)
    for node in nodes:
        lags(graph.variables, part, node)
    return part


def lags(variables: Mapping[str, Variable], part: Part, node: Node) -> tuple[int | None, dict[Term, int | None]]:
    """Where a factor stands on the axis of its part, and how far behind that each unknown it touches is.

    Returns:
        The single element it stands at (None: it runs along the axis, or the part has none), and per unknown term the
        number of steps back (None: the unknown does not have the axis).

    Raises:
        NotGaussian: it looks ahead, or reads a whole axis or an element far away.
    """
    places = {term: index_of(term, variables[term.name], part.letter or "") for term in node.terms}
    unknown = [term for term in node.terms if term.name in part.names]
    runs = part.letter in node.letters
    elements = [places[t].position for t in unknown if isinstance(places[t], Element)]  # type: ignore[union-attr]
    head = places[node.head]
    anchor = None if runs else head.position if isinstance(head, Element) else max(elements, default=None)
    if node.head.name in part.names and head is None and any(places[t] is not None for t in unknown):
        raise NotGaussian(f"{node}: {node.head} would be inferred from single elements of {part.letter!r}")
    found: dict[Term, int | None] = {}
    for term in unknown:
        place = places[term]
        if any(_across(index, part.letter) for index in term.indices):
            raise NotGaussian(f"{node} reads {term} whole, or across rows")
        if place is None:
            found[term] = None
            continue
        back = _back(place, anchor, runs)
        if back is None:
            raise NotGaussian(f"{node} reads {term} ahead of itself, or far from it")
        found[term] = back
    return anchor, found


def _across(index: object, letter: str | None) -> bool:
    """Whether an index takes a whole axis, or looks aside on one that is not the part's."""
    return not isinstance(index, Axis | Element) or (
        isinstance(index, Axis) and index.offset != 0 and index.letter != letter
    )


def _back(place: object, anchor: int | None, runs: bool) -> int | None:
    """Steps from an element back to a term; None if that is no fixed number of at least 0."""
    if isinstance(place, Axis):
        return -place.offset if runs and place.offset <= 0 else None
    if not isinstance(place, Element) or runs or anchor is None or (anchor < 0) != (place.position < 0):
        return None
    return anchor - place.position if anchor >= place.position else None

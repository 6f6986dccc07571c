"""The factor graph: nodes, variables and axes of a model, checked and ready to be read by everything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from graft.distributions.supports import Support
from graft.errors import FormulaError
from graft.factors.base import Factor
from graft.graph.axes import axes_of, normalise, time_axes
from graft.graph.checks import check, no_breach_by_name
from graft.graph.nodes import Node, Variable, kind_of
from graft.graph.parse import EXISTENCE, parse
from graft.graph.recurrence import Schedule, schedule


@dataclass(frozen=True, eq=False)
class FactorGraph:
    """A model as data.

    Attributes:
        nodes: the factors in the order written.
        variables: by name, in order of appearance.
        time: the letters that occur with an offset.
        schedule: how the directed part is made with nothing given.
    """

    nodes: tuple[Node, ...]
    variables: dict[str, Variable]
    time: frozenset[str]
    schedule: Schedule

    @cached_property
    def letters(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(x for v in self.variables.values() for x in v.axes))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        return tuple(v.name for v in self.variables.values() if v.is_input)

    @cached_property
    def random(self) -> tuple[str, ...]:
        return tuple(v.name for v in self.variables.values() if v.is_random)

    @cached_property
    def computed(self) -> tuple[str, ...]:
        return tuple(v.name for v in self.variables.values() if v.is_computed)

    @cached_property
    def scored(self) -> tuple[str, ...]:
        """Computed variables that also have conditionals or potentials."""
        return tuple(v.name for v in self.variables.values() if v.is_computed and v.nodes != v.functions)

    @cached_property
    def directed(self) -> bool:
        """Whether every factor is a conditional or a function, so that Z = 1."""
        return all(node.kind != "potential" for node in self.nodes)

    def left_of(self, letter: str) -> tuple[str, ...]:
        """The axes written left of an axis in every variable that has it: its lengths may vary with them."""
        prefixes = [v.axes[: v.axes.index(letter)] for v in self.variables.values() if letter in v.axes]
        return tuple(x for x in prefixes[0] if all(x in other for other in prefixes))

    def of_inputs(self, name: str) -> bool:
        """Whether no random variable reaches a variable through functions."""
        seen, stack = set(), [name]
        while stack:
            variable = self.variables[stack.pop()]
            if variable.is_random:
                return False
            if variable.name not in seen:
                seen.add(variable.name)
                stack += [term.name for node in variable.functions for term in node.reads]
        return True

    def reads_only_inputs(self, node: Node) -> bool:
        return all(self.variables[term.name].is_input for term in node.reads) and bool(node.formula.right)


def build(
    factors: Iterable[tuple[str, Any]],
    support: Mapping[str, Support],
    labels: Mapping[str, Iterable[str]],
    around: FactorGraph | None = None,
) -> FactorGraph:
    """Parse and check a model.

    Args:
        factors: (formula, module) pairs.
        support: what values variables take, where it must be told.
        labels: names of states.
        around: the model a guide joins; its names, axes and supports are then known.

    Raises:
        FormulaError: naming the rule and underlining the text.
    """
    pairs = [(parse(text), module) for text, module in factors]
    if not pairs:
        raise FormulaError("a model needs at least one factor")
    formulas = [formula for formula, _ in pairs]
    outer = [node.formula for node in around.nodes] if around else []
    axes = axes_of([*outer, *formulas])
    nodes = tuple(
        Node(normalise(formula, axes), module, kind_of(formula, module), place)
        for place, (formula, module) in enumerate(pairs)
    )
    known = _known(around, nodes, axes) if around else {}
    variables = _variables(nodes, axes, {**support, **known}, labels)
    for name in support.keys() & known.keys():
        if not _same(support[name], known[name]):
            raise FormulaError(f"support makes {name} {support[name]}, but it is {known[name]} in the model")
    no_breach_by_name(support, variables, "support")
    no_breach_by_name(labels, variables, "labels")
    check(nodes, variables)
    order = schedule([node for node in nodes if node.kind != "potential"], variables)
    if around:
        _no_cycle_together(nodes, variables, around)
    return FactorGraph(nodes, variables, time_axes([*outer, *formulas]), order)


def _known(around: FactorGraph, nodes: tuple[Node, ...], axes: Mapping[str, tuple[str, ...]]) -> dict[str, Support]:
    """The supports that a guide takes over from its model, whose variables must have as many axes."""
    for node in nodes:
        for term in node.terms:
            mine, outer = len(axes.get(term.name, ())), around.variables.get(term.name)
            if outer is not None and len(outer.axes) != mine:
                raise node.fail(f"{term.name} has {len(outer.axes)} indices in the model, {mine} here", term)
    return {v.name: v.support for v in around.variables.values() if v.support is not None}


def _no_cycle_together(nodes: tuple[Node, ...], variables: Mapping[str, Variable], around: FactorGraph) -> None:
    """A guide may read what the model computes from what the guide gives: together they must have an order."""
    given = {term.name for node in nodes for term in node.formula.left}
    computed = [node for node in around.nodes if node.kind == "function" and node.head.name not in given]
    producers = [node for node in nodes if node.kind != "potential"]
    schedule([*producers, *computed], {**around.variables, **variables})


def _variables(
    nodes: tuple[Node, ...],
    axes: Mapping[str, tuple[str, ...]],
    told: Mapping[str, Support],
    labels: Mapping[str, Iterable[str]],
) -> dict[str, Variable]:
    names = dict.fromkeys(term.name for node in nodes for term in node.terms if term.name not in EXISTENCE)
    found, owners = {}, dict[str, dict[Node, None]]()
    for node in nodes:
        for term in node.formula.left:
            owners.setdefault(term.name, {})[node] = None
    for name in names:
        mine = tuple(owners.get(name, ()))
        support = _support(name, mine, told)
        states = tuple(labels[name]) if name in labels else None
        if states is not None and (support is None or support.states != len(states)):
            raise FormulaError(f"labels of {name!r}: {len(states)} names for {support}")
        if states is not None and len(set(states)) < len(states):
            raise FormulaError(f"labels of {name!r} name two states alike: {', '.join(states)}")
        found[name] = Variable(name, axes.get(name, ()), mine, support, states)
    return found


def _support(name: str, nodes: tuple[Node, ...], told: Mapping[str, Support]) -> Support | None:
    """What was told, else what a factor on the left knows; they must agree."""
    known = told.get(name)
    for node in sorted(nodes, key=lambda node: node.kind == "potential"):
        for support, term in _supports(node):
            if term.name != name or support is None:
                continue
            if known is None:
                known = support
            elif not _same(known, support):
                rule = f"{type(node.module).__name__} makes {name} {support}, but it is {known} elsewhere"
                raise node.fail(rule, term)
    return known


def _same(one: Support, other: Support) -> bool:
    return one.event_shape == other.event_shape and one.states == other.states


def _supports(node: Node) -> list[tuple[Support | None, Any]]:
    if node.kind != "potential":
        return [(node.module.support, node.head)] if isinstance(node.module, Factor) else []
    supports = getattr(node.module, "supports", None)
    if supports is None or len(supports) != len(node.formula.left):
        return []
    return list(zip(supports, node.formula.left, strict=True))

"""What a query can depend on: barren conditionals drop out before anything is computed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from graft.graph.factor_graph import FactorGraph
from graft.graph.nodes import Node


@dataclass(frozen=True)
class Relevant:
    """What a query needs.

    Attributes:
        factors: to be scored.
        unknown: random variables to be summed out.
        functions: computed variables that something reads.
        dropped: unknown variables that no answer depends on.
    """

    factors: tuple[Node, ...]
    unknown: tuple[str, ...]
    functions: tuple[str, ...]
    dropped: tuple[str, ...]


def relevant(graph: FactorGraph, known: Collection[str], wanted: Collection[str], scored: bool = True) -> Relevant:
    """Keep the ancestors of what is known or asked for: the rest sums to one (Shachter 1986).

    Args:
        graph: the model.
        known: variables with a value.
        wanted: unknown variables that carry evidence or that the query asks for.
        scored: whether computed variables that have conditionals count as evidence; False for the normaliser, where
            they are summed over like any other.
    """
    factors: dict[Node, None] = {}
    needed: dict[str, None] = {}
    stack: list[str] = list(wanted)
    for node in graph.nodes:
        child = graph.variables[node.formula.left[0].name]
        given = child.name in known if not child.is_computed else scored
        if node.kind == "potential" or (node.kind == "conditional" and given):
            factors[node] = None
            stack += [term.name for term in node.terms]
    while stack:
        name = stack.pop()
        if name in known or name in needed:
            continue
        needed[name] = None
        variable = graph.variables[name]
        makers = variable.functions if variable.is_computed else variable.conditionals
        factors.update(dict.fromkeys(() if variable.is_computed else makers))
        stack += [term.name for node in makers for term in node.reads]
    return Relevant(
        tuple(node for node in graph.nodes if node in factors),
        tuple(name for name in graph.random if name in needed),
        tuple(name for name in graph.computed if name in needed),
        tuple(name for name in graph.random if name not in needed and name not in known),
    )

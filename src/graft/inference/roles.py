"""What the variables and factors of a model are to a call, worked out once for each model."""

from __future__ import annotations

from dataclasses import dataclass

from graft.factors.base import TablePotential
from graft.graph.factor_graph import FactorGraph
from graft.graph.nodes import Node
from graft.graph.terms import Whole
from graft.inference.kept import Kept


@dataclass(frozen=True, eq=False)
class Roles:
    """The roles of variables and factors.

    Attributes:
        discrete: random variables with states, in order.
        continuous: the other random variables.
        letters: of all axes.
        of_inputs: factors that read inputs of the model alone, whole or as they stand.
    """

    discrete: tuple[str, ...]
    continuous: tuple[str, ...]
    letters: tuple[str, ...]
    of_inputs: tuple[Node, ...]


def roles(graph: FactorGraph) -> Roles:
    """The roles in a model."""
    return _roles.get(graph, (), lambda: _found(graph))


_roles: Kept[Roles] = Kept()


def _found(graph: FactorGraph) -> Roles:
    discrete = tuple(name for name in graph.random if graph.variables[name].is_discrete)
    continuous = tuple(name for name in graph.random if name not in discrete)
    nodes = tuple(node for node in graph.nodes if graph.reads_only_inputs(node) and _as_given(node))
    return Roles(discrete, continuous, graph.letters, nodes)


def _as_given(node: Node) -> bool:
    """No opaque potential, no offset, no single element."""
    if node.kind == "potential" and not isinstance(node.module, TablePotential):
        return False
    return all(term.plain or set(term.indices) == {Whole()} for term in node.reads)

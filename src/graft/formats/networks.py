"""Models of discrete variables as networks of tables, or why they are none."""

from __future__ import annotations

from torch import Tensor

from graft.errors import FormatError
from graft.formats.decimals import normalised, potentials, probabilities
from graft.formats.names import order
from graft.formats.network import Kind, Network, Table
from graft.formats.network import Variable as Named
from graft.formats.tabulate import log_table, scope, settled, states
from graft.graph.nodes import Node, Variable
from graft.model import Model


def network_of(model: Model, kind: Kind, name: str) -> Network:
    """The tables of a model, tabulated where a factor is a network.

    Args:
        model: whose factors are all over discrete variables, without axes, and read no inputs.
        kind: BAYES for conditionals alone, MARKOV for any factors.
        name: of the file, for messages.

    Returns:
        Numbers that give the same tables when they are read.

    Raises:
        FormatError: the model is more than the format can say.
    """
    graph = model.graph
    for variable in graph.variables.values():
        _sayable(variable, name)
    if kind == "BAYES":
        _directed(model, name)
    names = order(model)
    places = {one: place for place, one in enumerate(names)}
    with settled(model):
        tables = tuple(_table(node, model, kind, places, name) for node in graph.nodes)
    variables = tuple(Named(one, states(graph.variables[one]), graph.variables[one].labels) for one in names)
    return Network(kind, variables, tables)


def _sayable(variable: Variable, name: str) -> None:
    """A variable that a file can have: discrete, random, without axes."""
    if variable.axes:
        rule = f"{variable.term} has axes, a file has single variables: write a variable for each element"
        raise FormatError(rule, name)
    if variable.is_input:
        raise FormatError(f"{variable.name} is an input: a file holds a model without inputs", name)
    if variable.is_computed:
        raise FormatError(f"{variable.name} is computed by a function, a file has tables alone", name)
    if not variable.is_discrete:
        raise FormatError(f"{variable.name} is not discrete, as far as its factors tell", name)


def _directed(model: Model, name: str) -> None:
    """One conditional for each variable, and nothing else."""
    for node in model.graph.nodes:
        if node.kind != "conditional":
            raise FormatError(f"{node} is a potential: the format holds conditionals alone (UAI MARKOV holds it)", name)


def _table(node: Node, model: Model, kind: Kind, places: dict[str, int], name: str) -> Table:
    terms = scope(node)
    if len({term.name for term in terms}) < len(terms):
        raise FormatError(f"{node}: a variable stands twice in this factor", name)
    logs = log_table(node, model.graph.variables, name)
    if node.kind != "conditional":
        values = potentials(logs)
    elif kind == "MARKOV":
        # nobody divides the rows of a potential by their sums
        values = potentials(normalised(logs.double()))
    else:
        values = _probabilities(logs)
    if values is None:
        raise FormatError(f"{node}: an entry is too large or too small for a float64", name)
    return Table(tuple(places[term.name] for term in terms), values)


def _probabilities(logits: Tensor) -> Tensor | None:
    found = probabilities(logits.reshape(-1, logits.shape[-1]))
    return None if found is None else found.reshape(logits.shape)

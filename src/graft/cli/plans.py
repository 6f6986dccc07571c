"""The plan of a system for the evidence it is usually given."""

from __future__ import annotations

from typing import Any

from graft.errors import IntractableError
from graft.graph.factor_graph import FactorGraph
from graft.model import Model
from graft.zoo.system import System


def plan(system: System, batch: tuple[int, ...]) -> tuple[tuple[str, ...], str]:
    """How each variable is dealt with, or why that cannot be done exactly.

    Args:
        system: whose model to plan for.
        batch: the batch shape.

    Returns:
        The names of the evidence, and the plan or the reason.

    Example:
        >>> from graft.zoo.formulas import SYSTEMS
        >>> names, text = plan(SYSTEMS["hmm"], (2,))
        >>> names, "forward-backward along t" in text
        (('w',), True)
        >>> plan(SYSTEMS["vae"], (2,))[1]
        'not exact: no exact engine integrates over continuous unknowns: z. ...'
    """
    model = system.model()
    names = evidence(model.graph, system.guide().graph if system.guide else None)
    given = system.inputs(batch)
    try:
        if names:
            drawn = model.sample(() if given else batch, seed=0, sizes=system.sizes, **given)
            given = {**given, **{name: drawn[name] for name in names}}
        return names, str(model.given(sizes=_sizes(system, model), **given).explain())
    except IntractableError as error:
        return names, f"not exact: {error}"


def _sizes(system: System, model: Model) -> dict[str, Any]:
    return {letter: size for letter, size in system.sizes.items() if letter in model.graph.letters}


def evidence(model: FactorGraph, guide: FactorGraph | None) -> tuple[str, ...]:
    """What is observed of a model as a rule: what its guide reads, else what nothing reads but which has parents."""
    if guide is None:
        return tuple(name for name in model.random if _is_leaf(model, name))
    read, found = _read_by(guide, model), []
    for name in model.random:
        proposed = name in guide.variables and bool(guide.variables[name].nodes)
        if name in read and not proposed:
            found.append(name)
    return tuple(found)


def _read_by(guide: FactorGraph, model: FactorGraph) -> set[str]:
    """The names a guide reads, and those that the model's computed variables among them are made of."""
    found: set[str] = set()
    stack = [term.name for node in guide.nodes for term in node.reads]
    while stack:
        name = stack.pop()
        if name not in found and name in model.variables:
            found.add(name)
            stack += [term.name for node in model.variables[name].functions for term in node.reads]
    return found


def _is_leaf(graph: FactorGraph, name: str) -> bool:
    variable = graph.variables[name]
    if variable.potentials or any(term.name == name for node in graph.nodes for term in node.reads):
        return False
    parents = {term.name for node in variable.conditionals for term in node.reads}
    return any(_depends(graph, parent) for parent in parents)


def _depends(graph: FactorGraph, name: str) -> bool:
    """Whether a variable is random or computed from what is."""
    variable = graph.variables[name]
    if not variable.is_computed:
        return variable.is_random
    return any(_depends(graph, t.name) for node in variable.functions for t in node.reads if t.name != name)

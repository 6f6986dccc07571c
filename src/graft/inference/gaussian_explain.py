"""The plan of a query with Gaussian unknowns, in words."""

from __future__ import annotations

from collections.abc import Iterable

from graft.inference.explain import Explanation, Row
from graft.inference.gaussian_query import GaussianQuery
from graft.inference.gaussian_solved import Solved


def explain_gaussian(query: GaussianQuery, rest: Iterable[Row]) -> Explanation:
    """The rows of the Gaussian parts, of what is known beside them, and of the discrete rest.

    Args:
        query: of the evidence.
        rest: the rows of the discrete rest.
    """
    graph = query.situation.graph
    rows = {row.variable: row for row in rest}
    for name, variable in graph.variables.items():
        found = rows.get(str(variable.term))
        if found is None or found.method == "dropped":
            rows[str(variable.term)] = _row(query, name)
    return Explanation(tuple(rows[str(v.term)] for v in graph.variables.values()))


def _row(query: GaussianQuery, name: str) -> Row:
    graph, need = query.situation.graph, query.need
    variable, given = graph.variables[name], query.situation.given.get(name)
    term = str(variable.term)
    for solved in query.solved:
        if name in solved.found.part.names:
            return _integrated(query, solved, term, partly=given is not None)
    if given is not None and given.value is not None:
        missing = "; missing cells integrated out" if given.cells is not None else ""
        return Row(term, "given", why=("input" if variable.is_input else "evidence") + missing)
    if name in need.functions:
        return Row(term, "computed", why="a function")
    if variable.is_input:
        return Row(term, "not given", why="no factor needs it here")
    return Row(term, "dropped", why="nothing known depends on it")


def _integrated(query: GaussianQuery, solved: Solved, term: str, partly: bool) -> Row:
    part, system = solved.found.part, solved.system
    operations, size = query.cost(part)
    batch = f", batched over [{', '.join(part.common)}]" if part.common else ""
    if part.letter is None:
        method, why = "Gaussian conditioning", f"{system.states} numbers{batch}"
    else:
        method = f"Kalman smoothing along {part.letter}"
        how = "in parallel" if solved.method == "parallel" else "one by one"
        why = f"a linear-Gaussian chain of {system.steps} elements of {system.states} numbers, {how}{batch}"
    return Row(term, method, "exact", operations, size, why + ("; some cells known" if partly else ""))

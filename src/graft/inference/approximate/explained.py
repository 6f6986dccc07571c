"""An approximate answer in words: one row per variable."""

from __future__ import annotations

from math import prod

from graft.inference.approximate.answer import Answer
from graft.inference.explain import Explanation, Row, given_rows


def explained(answer: Answer) -> Explanation:
    """The rows of an answer, in the order of the model's variables.

    Operations are one step's: the entries of all tables, once per slot.

    Args:
        answer: to be told of.
    """
    problem, network = answer.problem, answer.latest.network
    rows = dict(given_rows(problem))
    batch, itemsize = network.batch, network.dtype.itemsize
    work = sum(len(g.layers) * prod(network.layers[i].states for i in g.layers) * g.count for g in network.groups)
    bytes_kept = sum(network.layers[i].states * g.count for g in network.groups for i in g.layers)
    why = _why(answer)
    for name in problem.unknowns:
        term = str(problem.situation.graph.variables[name].term)
        row = Row(term, answer.engine.method, answer.latest.kind, work * batch, bytes_kept * batch * itemsize, why)
        rows[name] = row
    order = [name for name in problem.situation.graph.variables if name in rows]
    return Explanation(tuple(rows[name] for name in order))


def _why(answer: Answer) -> str:
    solution = answer.latest
    good = int(solution.converged.sum())
    return f"{good} of {solution.network.batch} rows converged, {solution.steps} steps"

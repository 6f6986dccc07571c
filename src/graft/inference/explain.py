"""The plan in words: one row per variable."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from graft.inference.plan import Chain, General, Local, Plan, named
from graft.inference.problem import Problem
from graft.inference.query import Query


@dataclass(frozen=True)
class Row:
    """How one variable is dealt with.

    Attributes:
        variable: its name with its axes.
        method: in a few words.
        kind: exact, bound or estimate; empty where nothing is inferred.
        operations: additions and multiplications of its step, over the whole batch.
        bytes: of its tables.
        why: in a few words.
    """

    variable: str
    method: str
    kind: str = ""
    operations: int | None = None
    bytes: int | None = None
    why: str = ""


@dataclass(frozen=True)
class Explanation:
    """A plan as a table; `str` prints it.

    Attributes:
        rows: one per variable.
    """

    rows: tuple[Row, ...]

    def table(self) -> Table:
        """The rows as a rich table."""
        table = Table("variable", "method", "kind", "operations", "bytes", "why")
        for row in self.rows:
            counts = _number(row.operations), _number(row.bytes)
            table.add_row(escape(row.variable), escape(row.method), row.kind, *counts, escape(row.why))
        return table

    def __str__(self) -> str:
        out = StringIO()
        Console(file=out, width=130, force_terminal=False, color_system=None).print(self.table())
        return out.getvalue().rstrip()


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def explain(query: Query) -> Explanation:
    """The rows of a query's plan, in the order of the model's variables."""
    problem, plan = query.problem, query.plan
    rows = {**given_rows(problem), **_steps(problem, plan)}
    order = [name for name in problem.situation.graph.variables if name in rows]
    return Explanation(tuple(rows[name] for name in order))


def given_rows(problem: Problem) -> dict[str, Row]:
    graph, found = problem.situation.graph, {}
    for name, variable in graph.variables.items():
        term = str(variable.term)
        given = problem.situation.given.get(name)
        if given is not None and given.value is not None and name not in problem.unknowns:
            missing = "; missing cells integrated out" if given.cells is not None else ""
            what = "input" if variable.is_input else "evidence"
            found[name] = Row(term, "given", why=what + missing)
        elif name in problem.relevant.functions:
            scored = name in graph.scored
            found[name] = Row(term, "computed", why="then scored as evidence" if scored else "a function")
        elif name in problem.relevant.dropped or variable.is_computed:
            found[name] = Row(term, "dropped", why="nothing known depends on it")
        elif variable.is_input:
            found[name] = Row(term, "not given", why="no factor needs it here")
    return found


def _steps(problem: Problem, plan: Plan) -> dict[str, Row]:
    found = {}
    for step, cost in zip(plan.steps, plan.costs, strict=True):
        size = cost * plan.itemsize
        if isinstance(step, Local):
            axes = problem.unknowns[step.name].axes
            every = f" for all of [{', '.join(x.lstrip('@') for x in axes)}] at once" if axes else ""
            why = f"couples {', '.join(map(str, step.others))}" if step.others else "separate given the rest"
            found[step.name] = _row(problem, step.name, f"summed in place{every}", cost, size, why)
        elif isinstance(step, Chain):
            batch = f", batched over [{', '.join(step.common)}]" if step.common else ""
            why = f"a chain of {problem.sizes[step.letter]} elements{batch}"
            found[step.name] = _row(problem, step.name, f"forward-backward along {step.letter}", cost, size, why)
        else:
            for name in step.names:
                found[name] = _row(problem, name, "elimination", cost, size, _width(step))
    return found


def _width(step: General) -> str:
    clique = max(step.order.cliques, key=len, default=())
    shown = ", ".join(named(key) for key in clique[:4]) + (", ..." if len(clique) > 4 else "")
    return f"{len(step.order.keys)} elements, largest clique {len(clique)}: {shown}"


def _row(problem: Problem, name: str, method: str, cost: int, size: int, why: str) -> Row:
    weighed = problem.situation.given.get(name)
    if weighed is not None and weighed.log_mask is not None:
        why += "; evidence on its states"
    return Row(str(problem.situation.graph.variables[name].term), method, "exact", cost, size, why)

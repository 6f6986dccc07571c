"""How an objective deals with each variable: what `explain()` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graft.errors import GraftError
from graft.graph.nodes import Variable
from graft.inference.program import Program
from graft.objectives.estimators.base import Estimator


@dataclass(frozen=True)
class Treatment:
    """One variable.

    Attributes:
        name: of the variable.
        treatment: given, input, computed, drawn, enumerated, or summed exactly.
        estimator: of its gradient, if it is drawn.
        factors: the formulas that make it.
    """

    name: str
    treatment: str
    estimator: str
    factors: str


@dataclass(frozen=True)
class Treatments:
    """All variables, as a table.

    Example:
        >>> print(Treatments((Treatment("z", "drawn", "Reparameterised", "z | x"),)))
        variable  treatment  estimator        by
        z         drawn      Reparameterised  z | x
    """

    rows: tuple[Treatment, ...]

    def __str__(self) -> str:
        head = ("variable", "treatment", "estimator", "by")
        table = [head, *((r.name, r.treatment, r.estimator, r.factors) for r in self.rows)]
        widths = [max(len(row[place]) for row in table) for place in range(len(head))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        )


def treatments(program: Program, chosen: Mapping[str, Estimator], given: tuple[str, ...]) -> Treatments:
    """How each variable of model and guide is dealt with.

    Args:
        program: model and guide.
        chosen: estimators by name.
        given: names that a batch holds; () for what neither guide nor planner makes.

    Raises:
        GraftError: a name is no variable of the model.
    """
    for name in given:
        if name not in program.model.variables:
            raise GraftError(f"{name!r} is no variable of the model; there are {', '.join(program.model.variables)}")
    rows = []
    for name, variable in program.variables.items():
        treatment = _treatment(program, name, variable, chosen, given)
        estimator = chosen[name].title if name in chosen and treatment in ("drawn", "enumerated") else ""
        factors = ", ".join(str(node) for node in variable.nodes)
        rows.append(Treatment(name, treatment, estimator, factors if treatment != "given" else ""))
    return Treatments(tuple(rows))


def _treatment(
    program: Program, name: str, variable: Variable, chosen: Mapping[str, Estimator], given: tuple[str, ...]
) -> str:
    if name in given:
        return "given"
    if name in chosen:
        return "drawn" if chosen[name].states(variable.support) is None else "enumerated"
    if variable.is_computed:
        return "computed"
    if name not in program.model.variables or program.model.variables[name].is_input:
        return "input"
    return "summed exactly" if given and variable.is_discrete else "given"

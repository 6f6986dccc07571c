"""Factors of a guide whose parameters are free in every row, in the families that their densities had."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributions as td

from graft.distributions.density import Density
from graft.distributions.supports import Support
from graft.errors import GraftError
from graft.evaluation.drawing import Drawing
from graft.factors.base import Call, Conditional, Factor
from graft.graph.nodes import Node
from graft.model import Model

#: By family: the arguments that tell all of it.
ARGUMENTS: dict[type, tuple[str, ...]] = {
    td.Bernoulli: ("logits",),
    td.Beta: ("concentration1", "concentration0"),
    td.Categorical: ("logits",),
    td.Dirichlet: ("concentration",),
    td.Gamma: ("concentration", "rate"),
    td.Laplace: ("loc", "scale"),
    td.LogNormal: ("loc", "scale"),
    td.MultivariateNormal: ("loc", "scale_tril"),
    td.Normal: ("loc", "scale"),
    td.StudentT: ("df", "loc", "scale"),
}


class RowByRow(Conditional):
    """A family with parameters of its own for every row and every element of its axes.

    Args:
        node: the factor of the guide that it starts from.
        density: the factor's, at the rows.
        lead: of the rows: batch, then axes.

    Raises:
        GraftError: the family is none of those that can be fitted, or it rules something out altogether.

    Example:
        >>> start = td.Independent(td.Normal(torch.zeros(2), torch.ones(2)), 1)
        >>> from graft.distributions.density_of import density_of
        >>> sorted(dict(RowByRow(None, density_of(start), (5,)).named_parameters()))
        ['free.loc', 'free.scale']
    """

    def __init__(self, node: Node | None, density: Density, lead: tuple[int, ...]) -> None:
        super().__init__()
        dist: Any = density.distribution().expand(lead)
        self.event_rank = 0
        while isinstance(dist, td.Independent):
            self.event_rank += dist.reinterpreted_batch_ndims
            dist = dist.base_dist
        self.family: Any = type(dist)
        self.support = _support(node)
        if self.family not in ARGUMENTS:
            who = "" if node is None else f"q({node}): "
            raise GraftError(f"{who}a {density.family} is not fitted row by row; {_known()} are")
        self.free = nn.ParameterDict(
            {name: nn.Parameter(self._start(name, dist, node)) for name in ARGUMENTS[self.family]}
        )

    def distribution(self, inputs: tuple[Tensor, ...], call: Call) -> td.Distribution:
        told = {name: self._to(name)(self.free[name]) for name in ARGUMENTS[self.family]}
        dist = self.family(**told, validate_args=False)
        return td.Independent(dist, self.event_rank, validate_args=False) if self.event_rank else dist

    def _to(self, name: str) -> Any:
        """From all real numbers to what an argument may be."""
        return td.transform_to(self.family.arg_constraints[name])

    def _start(self, name: str, dist: Any, node: Node | None) -> Tensor:
        found = self._to(name).inv(getattr(dist, name).detach()).clone(memory_format=torch.contiguous_format)
        if not bool(torch.isfinite(found).all()):
            raise GraftError(f"q({node}) has {name} at the edge of what it may be: rows cannot be fitted from there")
        return found


def freed(objective: Drawing, guide: Model, batch: Any) -> tuple[Model, list[nn.Parameter]]:
    """A guide of the same family for some rows, starting from what the amortised one says of them.

    Args:
        objective: of model and guide.
        guide: the amortised one.
        batch: the rows.

    Returns:
        The guide and its free parameters.

    Raises:
        GraftError: a factor reads a draw, its family is not known here, or nothing is drawn.
    """
    started: dict[str, RowByRow] = {}

    def drawer(node: Node, density: Density, lead: tuple[int, ...]) -> Tensor:
        started[node.formula.text] = RowByRow(node, density, lead)
        return density.draw(lead)

    _evidence_only(objective, objective.intake.take(batch).known)
    with torch.no_grad():
        objective.observe(batch, drawer)
    if not started:
        raise GraftError("gap: the guide draws nothing that the batch does not give")
    pairs = [(node.formula.text, started.get(node.formula.text, node.module)) for node in guide.graph.nodes]
    told = {n: v.support for n, v in guide.graph.variables.items() if v.support is not None and v.nodes}
    free = [parameter for module in started.values() for parameter in module.parameters()]
    return Model(pairs, support=told), free


def _evidence_only(objective: Drawing, known: frozenset[str]) -> None:
    """Whether what the guide's factors read is the same at every draw.

    Raises:
        GraftError: naming the factor and the draws.
    """
    reached = objective.reached(known)
    for node in objective.program.guide.nodes:
        on = reached.of(node, head=False)
        if node.kind == "conditional" and node.head.name not in known and on:
            raise GraftError(
                f"gap: q({node}) depends on the draws of {', '.join(sorted(on))}; rows are fitted one by one where "
                "every factor of the guide reads evidence alone"
            )


def _support(node: Node | None) -> Support | None:
    return node.module.support if node is not None and isinstance(node.module, Factor) else None


def _known() -> str:
    return ", ".join(sorted(family.__name__ for family in ARGUMENTS))

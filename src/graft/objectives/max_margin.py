"""Structured max-margin: the right answer must outscore every wrong one by what the wrong one costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.inference.arguments import BUDGET
from graft.inference.clean import Given
from graft.inference.draws import decoded
from graft.inference.losses import ElementLoss, Hamming, element_loss
from graft.inference.query import Query, ask
from graft.inference.settle import Situation
from graft.inference.sweep import argmax, assign
from graft.model import Model
from graft.objectives.base import OfModel
from graft.objectives.truth import margin_costs, possible_truth, random_names, told, truth_of
from graft.ops.dense import sum_from


class MaxMargin(OfModel):
    r"""The structured hinge loss with its margin rescaled by a cost,

    $$ \max_y \big[ s(y, x) + \Delta(y^*, y) \big] - \max_{y \in A} s(y, x) \ge 0, $$

    where $s$ is the log of the product of all factors and $A$ holds the assignments that agree with the truth $y^*$.
    The cost is a sum over elements, so the first maximum is one exact sweep in the max semiring, its costs added to
    the unary log-potentials. The gradient is that of the two scores at their maximisers (Danskin). Networks are
    evaluated once for both.

    An element may be unannotated (-1), or known up to a set (`Partial`); it costs the least that any allowed state
    would make it cost, so an unannotated one costs nothing. The loss is then that of a latent structural SVM. So are
    unknowns that the batch does not hold: both maxima run over them. Other random variables in the batch are evidence.

    Args:
        model: whose unknowns, given the rest, are discrete and within reach of an exact sweep.
        names: the variables to decide; the batch holds their truth.
        cost: `Hamming()`, `Cost(matrix)`, or a dict of such by variable; not negative, and 0 for the truth.

    Raises:
        GraftError: no names, one twice, or one that is no random variable; a cost of no variable; at a call, a truth
            that is absent or weighed, a cost that is no margin.
        ImpossibleEvidence: at a call, a truth that the model excludes, by rows.
        IntractableError: at a call, as `Model.given`.

    Source: Taskar, Guestrin & Koller 2003; Tsochantaridis et al. 2005, eq. 9 (margin rescaling); Yu & Joachims 2009,
    eq. 5 (latent); Lou & Hamprecht 2012 (sets).

    Example:
        >>> from graft.factors import Table
        >>> chain = Model({
        ...     "y[t-1], y[t]": Table(values=torch.zeros(2, 2)), "y[t]": Table(values=torch.tensor([0.0, 0.5])),
        ... })
        >>> loss = MaxMargin(chain, "y")({"y": torch.tensor([[1, 1, 0]])})
        >>> loss.item(), {name: term.item() for name, term in loss.terms.items()}
        (2.5, {'margin': 0.5, 'cost': -3.0})
    """

    def __init__(self, model: Any, *names: Any, cost: ElementLoss | Mapping[str, Any] | str | None = None) -> None:
        super().__init__()
        self.model: Model
        self.model, self.names = model, random_names(model, names, type(self).__name__)
        if isinstance(cost, Mapping) and (strange := [name for name in cost if name not in model.graph.variables]):
            raise GraftError(
                f"cost names {strange[0]!r}, no variable of the model; decided are {', '.join(self.names)}"
            )
        self.costs = {name: element_loss(Hamming() if cost is None else cost, name) for name in self.names}

    def terms(self, batch: Any) -> dict[str, Tensor]:
        situation, truth, costs = self._settled(batch)
        augmented = knowing(situation, {name: Given(log_mask=cost) for name, cost in costs.items()})
        with torch.no_grad():
            values = _decoded(ask(augmented, BUDGET, True, self.names), self.names)
        margin = truth - self._score(knowing(situation, {name: Given(value=value) for name, value in values.items()}))
        cost = -torch.stack([_paid(situation, name, costs[name], values[name]) for name in self.names]).sum(0)
        # at a tie rounding may put the sum on the wrong side of 0
        violated = (margin + cost).detach() < 0
        return {name: torch.where(violated, part, 0.0) for name, part in (("margin", margin), ("cost", cost))}

    def _settled(self, batch: Any) -> tuple[Situation, Tensor, dict[str, Tensor]]:
        """The call, the best score that agrees with the truth, and the costs of all states."""
        values, options = told(batch, type(self).__name__)
        situation = self.model.settled(values, **options)
        for name in self.names:
            truth_of(situation, name, type(self).__name__)
        costs = {name: margin_costs(situation, name, self.costs[name]) for name in self.names}
        truth = self._score(situation)
        possible_truth(truth, self.names)
        return situation, truth, costs

    def _score(self, situation: Situation) -> Tensor:
        """The greatest score of a call; shape batch."""
        query = ask(situation, BUDGET, True, self.names)
        if not query.problem.unknowns:
            return query.log_partition
        _ = query.tables  # with gradients, so that what networks say is kept for the score
        with torch.no_grad():
            values = {name: Given(value=value) for name, value in _decoded(query, self.names).items()}
        return ask(knowing(situation, values), BUDGET, True, self.names).log_partition


def _decoded(query: Query, names: tuple[str, ...]) -> dict[str, Tensor]:
    """The assignment of greatest score, compact."""
    swept = query.best()
    possible_truth(swept.value, names)
    states = assign(query.problem, query.plan, swept, argmax, draws=1, mode=True)
    return {name: value[0] for name, value in decoded(query.problem, states).items()}


def knowing(situation: Situation, more: Mapping[str, Given]) -> Situation:
    """The same call with other knowledge of some variables."""
    return replace(situation, given={**situation.given, **more})


def _paid(situation: Situation, name: str, costs: Tensor, value: Tensor) -> Tensor:
    """The cost of a decision, shape batch."""
    frame, variable = situation.frame, situation.graph.variables[name]
    assert variable.support is not None
    found = costs.gather(-1, variable.support.encode(value).unsqueeze(-1)).squeeze(-1)
    exists = frame.exists(variable.axes)
    found = found if exists is None else torch.where(exists, found, torch.zeros_like(found))
    return sum_from(found, frame.rank)

"""Softmax-margin: the smooth upper bound of the structured hinge."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from graft.inference.arguments import BUDGET
from graft.inference.clean import Given
from graft.inference.query import ask
from graft.inference.settle import Situation
from graft.objectives.max_margin import MaxMargin, knowing


class SoftmaxMargin(MaxMargin):
    r"""Max-margin with sums in the place of maxima,

    $$ \log \sum_y e^{s(y, x) + \Delta(y^*, y)} - \log \sum_{y \in A} e^{s(y, x)} \ge 0, $$

    the conditional likelihood of a model to whose scores the costs are added. It is at least the hinge where the truth
    is full, and differentiable everywhere. Arguments and errors as of `MaxMargin`.

    Source: Gimpel & Smith 2010, eq. 4.

    Example:
        >>> import torch
        >>> from graft.factors import Table
        >>> from graft.model import Model
        >>> coin = Model({"y": Table(values=torch.zeros(2))})
        >>> SoftmaxMargin(coin, "y")({"y": torch.tensor([0])})      # log(1 + e)
        tensor(1.3133, ...)
    """

    def terms(self, batch: Any) -> dict[str, Tensor]:
        situation, truth, costs = self._settled(batch)
        augmented = self._sum(knowing(situation, {name: Given(log_mask=cost) for name, cost in costs.items()}))
        return {"margin": truth - augmented}

    def _score(self, situation: Situation) -> Tensor:
        return self._sum(situation)

    def _sum(self, situation: Situation) -> Tensor:
        return ask(situation, BUDGET, True, self.names).log_partition

"""Any differentiable loss on marginals: training through inference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graft.errors import GraftError, ShapeError
from graft.graph.nodes import Variable
from graft.inference.answers import Marginals
from graft.inference.arguments import BUDGET
from graft.inference.clean import Given
from graft.inference.decisions import existing, probabilities
from graft.inference.frame import Frame
from graft.inference.query import ask
from graft.inference.settle import Situation
from graft.model import Model
from graft.objectives.base import OfModel
from graft.objectives.truth import random_names, told, truth_of
from graft.ops.dense import sum_from


class MarginalLoss(OfModel):
    r"""The sum over elements of a loss $\ell\big(p(y_t \mid x), y^*_t\big)$ on marginals, a mean over the batch.

    The marginals are those given everything else in the batch; the gradient runs through inference, whose sweeps have
    second derivatives. Elements that do not exist or are unannotated (-1) are left out, and so are those of which
    `Partial` allows every state; one of which it allows a single state has that state, and any other set is an error.

    Args:
        model: whose unknowns, given the rest, are discrete and within reach of an exact sweep.
        name: the variable; the batch holds its truth.
        loss: takes probabilities (batch, axes, states), the truth (batch, axes), and where it is known, a boolean
            (batch, axes); returns a number per element (batch, axes), or one per row (batch). Elsewhere it gets
            uniform probabilities and the state 0, and numbers per element are ignored. A vector of units is one more
            axis of elements with two states. Ready: `losses.LogLoss()`, `Brier()`, `Focal()`, and the expected costs
            `Hamming()` and `Cost(matrix)`.

    Raises:
        GraftError: a name that is no random variable; at a call, a truth that is absent, weighed or a set of states,
            or a loss that is not finite or too steep for the type of number, by rows, or has no gradient where the
            marginals have one.
        ImpossibleEvidence: at a call, rows whose evidence has probability zero.
        IntractableError: at a call, as `Model.given`.

    Source: Kakade, Teh & Roweis 2002 (log loss); Gross et al. 2006 (accuracy); Domke 2013 (any loss).

    Example:
        >>> from graft.factors import Table
        >>> from graft.objectives.losses import Hamming, LogLoss
        >>> coin = Model({"y[t]": Table(values=torch.tensor([0.25, 0.75]).log())})
        >>> batch = {"y": torch.tensor([[0, 1, -1]])}
        >>> MarginalLoss(coin, "y", Hamming())(batch), MarginalLoss(coin, "y", LogLoss())(batch)
        (tensor(1., ...), tensor(1.6740, ...))
    """

    def __init__(self, model: Any, name: Any, loss: Any) -> None:
        super().__init__()
        self.model: Model
        self.model, self.name, self.loss = model, random_names(model, [name], "MarginalLoss")[0], loss
        if not callable(loss) or isinstance(loss, type):
            raise GraftError(f"the loss is a function of marginals, truth and where it is known, not {loss!r}")

    def terms(self, batch: Any) -> dict[str, Tensor]:
        values, options = told(batch, "MarginalLoss")
        situation = self.model.settled(values, **options)
        given = truth_of(situation, self.name, "MarginalLoss")
        truth, where = annotated(situation, self.name, given)
        rest = situation.without([self.name])
        marginals = Marginals(rest, BUDGET, True, ask(rest, BUDGET, True, [self.name]))
        probs = probabilities(marginals[self.name])
        probs = torch.where(where.unsqueeze(-1), probs, 1.0 / probs.shape[-1])
        if hasattr(self.loss, "steep"):
            self._gentle(self.loss.steep(probs.detach(), truth) & where, situation.frame.rank)
        value = self._value(self.loss(probs, truth, where), where, situation.frame.rank)
        self._finite(value)
        if probs.requires_grad and torch.is_grad_enabled() and not value.requires_grad:
            raise GraftError(
                f"the loss of {self.name} has no gradient: what it returns does not depend on its marginals"
            )
        return {f"loss of {self.name}": -value}

    def _value(self, found: Any, where: Tensor, rank: int) -> Tensor:
        """The loss of each row."""
        batch = where.shape[:rank]
        if isinstance(found, Tensor) and found.shape == where.shape:
            return sum_from(torch.where(where, found, 0.0), rank)
        if isinstance(found, Tensor) and found.shape == batch:
            return found
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ShapeError(f"the loss of {self.name} returns {tuple(where.shape)} or {tuple(batch)}, not {what}")

    def _finite(self, value: Tensor) -> None:
        self._refuse(~torch.isfinite(value.detach()))

    def _gentle(self, steep: Tensor, rank: int) -> None:
        self._refuse(steep.flatten(rank).any(-1) if steep.dim() > rank else steep)

    def _refuse(self, bad: Tensor) -> None:
        if bool(bad.any()):
            rows = [tuple(row) for row in bad.nonzero().tolist()]
            where = f" in rows {', '.join(map(str, rows[:8]))}" if bad.dim() else ""
            raise GraftError(
                f"the loss of {self.name} is, or its slope is, not finite{where}: the truth has probability zero "
                "there, or one below the smallest normal number of its type"
            )


def annotated(situation: Situation, name: str, given: Given) -> tuple[Tensor, Tensor]:
    """States and where they are known, (batch, axes, event), as the user has them; 0 where they are not.

    Raises:
        GraftError: an element is known up to a set of several states.
    """
    variable, frame = situation.graph.variables[name], situation.frame
    states, known = _states(variable, given, frame)
    states, known = (frame.restore(part, variable.axes) for part in (states, known))
    exists = existing(variable, frame, known.dim())
    known = known if exists is None else known & exists
    return torch.where(known, states, 0), known


def _states(variable: Variable, given: Given, frame: Frame) -> tuple[Tensor, Tensor]:
    if given.value is not None:
        states = given.value.long()
        return states, torch.ones_like(states, dtype=torch.bool) if given.cells is None else ~given.cells
    assert given.log_mask is not None
    allowed = given.log_mask == 0
    count, states = allowed.sum(-1), allowed.int().argmax(-1)
    exists = frame.exists(variable.axes)
    several = (count != 1) & (count != allowed.shape[-1])
    several = several if exists is None else several & exists
    if bool(several.any()) or (variable.support is not None and variable.support.event_rank):
        raise GraftError(f"the truth of {variable.name} is a set of states: a loss on marginals takes a state, or -1")
    return states, count == 1

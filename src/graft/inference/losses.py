"""What a wrong decision costs: `Hamming`, `Cost` and `ZeroOne`.

The same loss decides (`Posterior.decide`), measures (`Posterior.risk`), spreads a margin (`MaxMargin`) and, as an
expectation under marginals, is trained on (`MarginalLoss`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from graft.errors import GraftError


class ElementLoss(ABC):
    r"""A loss that adds up over elements, $\Delta(y^*, y) = \sum_t c(y^*_t, y_t)$.

    A vector of binary units counts unit by unit, each with two states.

    Called on marginals it gives the expected cost of each element, $\sum_k p(y_t = k)\, c(y^*_t, k)$.
    """

    @abstractmethod
    def matrix(self, states: int, like: Float[Tensor, "..."], who: str = "the variable") -> Float[Tensor, "s s"]:
        """Costs from row (truth) to column (decision).

        Args:
            states: how many states an element has.
            like: gives the type and the device.
            who: named in errors.

        Raises:
            GraftError: the loss is of another number of states.
        """

    def decision(self, probs: Float[Tensor, "*shape s"], who: str = "the variable") -> Int[Tensor, "*shape"]:
        """The state of least expected cost; of those that tie, to within rounding, the lowest."""
        costs = self.matrix(probs.shape[-1], probs, who)
        risks = probs @ costs
        # a sum of so many terms may be off by as many roundings
        slack = (len(costs) + 2) * torch.finfo(probs.dtype).eps * (probs @ costs.abs()).amax(-1, keepdim=True)
        return (risks <= risks.amin(-1, keepdim=True) + slack).int().argmax(-1)

    def __call__(
        self,
        probs: Float[Tensor, "*shape s"],
        truth: Int[Tensor, "*shape"],
        where: Bool[Tensor, "*shape"] | None = None,
    ) -> Float[Tensor, "*shape"]:
        """The expected cost of each element under marginals; `where` is as in `MarginalLoss` and not needed."""
        return (probs * self.matrix(probs.shape[-1], probs)[truth]).sum(-1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Hamming(ElementLoss):
    """How many elements are wrong; the least risk is at the state of greatest marginal probability.

    Example:
        >>> Hamming().matrix(2, torch.zeros(()))
        tensor([[0., 1.],
                [1., 0.]])
        >>> Hamming()(torch.tensor([[0.25, 0.75]]), torch.tensor([1]))
        tensor([0.2500])
    """

    def matrix(self, states: int, like: Float[Tensor, "..."], who: str = "the variable") -> Float[Tensor, "s s"]:
        return 1 - torch.eye(states, dtype=like.dtype, device=like.device)

    def decision(self, probs: Float[Tensor, "*shape s"], who: str = "the variable") -> Int[Tensor, "*shape"]:
        # not by sums of the others, whose rounding would break ties
        return probs.argmax(-1)


class Cost(ElementLoss):
    r"""A cost for every pair of truth and decision.

    Args:
        costs: `costs[truth, decision]`, finite; states by states. A tensor of real numbers, or what numpy makes a
            matrix of; copied.

    Raises:
        GraftError: the matrix is not square, not of real numbers, or not finite (also: in the type of the model).

    Source: Duda, Hart & Stork 2001, *Pattern Classification*, section 2.2.

    Example:
        >>> misses = Cost(torch.tensor([[0.0, 1.0], [10.0, 0.0]]))   # to miss a 1 is ten times worse
        >>> misses.decision(torch.tensor([0.8, 0.2]))
        tensor(1)
    """

    def __init__(self, costs: Any) -> None:
        costs = costs if isinstance(costs, Tensor) else _from_numbers(costs)
        if not costs.is_floating_point() or costs.dim() != 2 or costs.shape[0] != costs.shape[1]:
            shape = f"{costs.dtype} of shape {tuple(costs.shape)}"
            raise GraftError(f"a cost is a square matrix of real numbers, cost[truth, decision], not {shape}")
        if not bool(torch.isfinite(costs).all()):
            raise GraftError("a cost must be finite; forbid a state by a potential of -inf instead")
        self.costs = costs.detach().clone()

    def matrix(self, states: int, like: Float[Tensor, "..."], who: str = "the variable") -> Float[Tensor, "s s"]:
        if len(self.costs) != states:
            raise GraftError(f"the cost of {who} is of {len(self.costs)} states, but each element has {states}")
        costs = self.costs.to(like)
        if not bool(torch.isfinite(costs).all()):
            raise GraftError(f"the cost of {who} is not finite as {like.dtype}, the type of the model")
        return costs

    def __repr__(self) -> str:
        return f"Cost(states={len(self.costs)})"


class ZeroOne:
    """1 unless everything that is decided is right; the least risk is at the most probable assignment.

    Example:
        >>> ZeroOne()
        ZeroOne()
    """

    def __repr__(self) -> str:
        return "ZeroOne()"


def _from_numbers(costs: Any) -> Tensor:
    try:
        found = np.asarray(costs)
    except ValueError as error:  # rows of several lengths
        raise GraftError(f"a cost is a square matrix of real numbers, cost[truth, decision], not {costs!r}") from error
    if found.dtype.kind not in "iuf":
        raise GraftError(f"a cost is a square matrix of real numbers, cost[truth, decision], not {costs!r}")
    return torch.from_numpy(found.astype(np.float64))


#: Losses that go by a name alone.
BY_NAME: dict[str, ElementLoss | ZeroOne] = {"hamming": Hamming(), "zero-one": ZeroOne()}


def named_loss(loss: Any) -> Any:
    """A loss that may go by its name.

    Raises:
        GraftError: no loss has that name.
    """
    if not isinstance(loss, str):
        return loss
    if loss not in BY_NAME:
        raise GraftError(f"no loss is called {loss!r}; there are {', '.join(map(repr, BY_NAME))}")
    return BY_NAME[loss]


def element_loss(loss: Any, name: str) -> ElementLoss:
    """The loss of one variable, from one loss for all of them or a dict by variable.

    Raises:
        GraftError: none is told, or it does not add up over elements.
    """
    if isinstance(loss, Mapping):
        if name not in loss:
            raise GraftError(f"no loss is told for {name}; there are losses for {', '.join(loss) or 'nothing'}")
        loss = loss[name]
    loss = named_loss(loss)
    if not isinstance(loss, ElementLoss):
        rule = "must add up over elements, as Hamming() and Cost(matrix) do"
        raise GraftError(f"the loss of {name} {rule}, not {loss!r}")
    return loss

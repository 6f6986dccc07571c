"""Losses on marginals for `MarginalLoss`; with them, the costs that decisions and margins know."""

from __future__ import annotations

from numbers import Real
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from graft.errors import GraftError
from graft.inference.losses import Cost as Cost
from graft.inference.losses import ElementLoss as ElementLoss
from graft.inference.losses import Hamming as Hamming
from graft.inference.losses import ZeroOne as ZeroOne


class LogLoss:
    r"""$-\log p(y_t = y^*_t \mid x)$ of each element, the pointwise log-likelihood.

    Infinite where the probability is 0. `MarginalLoss` also refuses a probability so small (below the smallest normal
    number of its type, 1.2e-38 in float32) that the slope $1/p$ may overflow.

    Source: Kakade, Teh & Roweis 2002, eq. 5.

    Example:
        >>> LogLoss()(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
        tensor([0.6931])
    """

    def __call__(
        self,
        probs: Float[Tensor, "*shape s"],
        truth: Int[Tensor, "*shape"],
        where: Bool[Tensor, "*shape"] | None = None,
    ) -> Float[Tensor, "*shape"]:
        return -_of_truth(probs, truth).log()

    def steep(self, probs: Float[Tensor, "*shape s"], truth: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        """Where the loss or its slope is too great for the type of number."""
        return _of_truth(probs, truth) < torch.finfo(probs.dtype).tiny


class Brier:
    r"""$\sum_k (p(y_t = k \mid x) - 1[k = y^*_t])^2$ of each element, from 0 to 2.

    Source: Brier 1950, eq. 2.

    Example:
        >>> Brier()(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
        tensor([0.5000])
    """

    def __call__(
        self,
        probs: Float[Tensor, "*shape s"],
        truth: Int[Tensor, "*shape"],
        where: Bool[Tensor, "*shape"] | None = None,
    ) -> Float[Tensor, "*shape"]:
        right = torch.arange(probs.shape[-1], device=probs.device) == truth.unsqueeze(-1)
        return (probs - right.to(probs.dtype)).square().sum(-1)


class Focal(LogLoss):
    r"""$-(1 - p)^\gamma \log p$ of each element, where $p = p(y_t = y^*_t \mid x)$: what is easy counts less.

    Args:
        gamma: 0 is `LogLoss`; at least 0, finite. Small probabilities are refused as there.

    Raises:
        GraftError: gamma is no such number.

    Source: Lin et al. 2017, eq. 4.

    Example:
        >>> Focal(2.0)(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))
        tensor([0.1733])
    """

    def __init__(self, gamma: Any = 2.0) -> None:
        if isinstance(gamma, bool) or not isinstance(gamma, Real) or not 0 <= gamma < torch.inf:
            raise GraftError(f"gamma is at least 0 and finite, not {gamma!r}")
        self.gamma = float(gamma)

    def __call__(
        self,
        probs: Float[Tensor, "*shape s"],
        truth: Int[Tensor, "*shape"],
        where: Bool[Tensor, "*shape"] | None = None,
    ) -> Float[Tensor, "*shape"]:
        right = _of_truth(probs, truth)
        if self.gamma == 0:
            return -right.log()
        # by the sum of the others: 1 - p loses its digits near 1; where it is 0 a power below 1 has no slope
        wrong = probs.scatter(-1, truth.unsqueeze(-1), 0.0).sum(-1)
        sure = wrong == 0
        factor = torch.where(sure, 0.0, torch.where(sure, 1.0, wrong) ** self.gamma)
        return -factor * right.log()


def _of_truth(probs: Tensor, truth: Tensor) -> Tensor:
    return probs.gather(-1, truth.unsqueeze(-1)).squeeze(-1)

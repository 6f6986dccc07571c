"""Sums over draws that arrive in portions: of numbers, and of weights told by their logarithms."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


class Moments:
    r"""Mean and variance along the first dimension, portion by portion.

    Source: Chan, Golub & LeVeque 1983, eq. 2.1.

    Example:
        >>> found = Moments()
        >>> found.add(torch.tensor([[1.0], [2.0]]))
        >>> found.add(torch.tensor([[6.0]]))
        >>> found.mean, found.variance
        (tensor([3.], dtype=torch.float64), tensor([7.], dtype=torch.float64))
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros((), dtype=torch.float64)
        self._squares = torch.zeros((), dtype=torch.float64)

    def add(self, values: Float[Tensor, "n *rest"]) -> None:
        """Take in a portion (draws, ...)."""
        new = values.detach().cpu().double()
        if not len(new):
            return
        mean = new.mean(0)
        count = self.count + len(new)
        shift = mean - self.mean
        self._squares = self._squares + (new - mean).square().sum(0) + shift.square() * (self.count * len(new) / count)
        self.mean = self.mean + shift * (len(new) / count)
        self.count = count

    @property
    def variance(self) -> Tensor:
        """With n - 1; infinite where fewer than two values came."""
        return torch.full_like(self._squares, torch.inf) if self.count < 2 else self._squares / (self.count - 1)

    @property
    def error(self) -> Tensor:
        """The standard error of the mean of independent draws."""
        return (self.variance / self.count).sqrt()


class LogWeights:
    r"""What K weights $w_k$, told by their logarithms, say of their mean: (samples, rows) in portions.

    Kept are $\log \sum_k w_k$ and $\log \sum_k w_k^2$, so that nothing overflows and no weight is stored.

    Example:
        >>> found = LogWeights()
        >>> found.add(torch.tensor([[1.0], [3.0]]).log())
        >>> found.log_mean.exp(), found.effective
        (tensor([2.0000], dtype=torch.float64), tensor([1.6000], dtype=torch.float64))
    """

    def __init__(self) -> None:
        self.count = 0
        self._first = torch.tensor(-torch.inf, dtype=torch.float64)
        self._second = self._first

    def add(self, log_w: Float[Tensor, "samples rows"]) -> None:
        """Take in a portion."""
        new = log_w.detach().cpu().double()
        self._first = torch.logaddexp(self._first, new.logsumexp(0))
        self._second = torch.logaddexp(self._second, (2 * new).logsumexp(0))
        self.count += len(new)

    @property
    def log_mean(self) -> Tensor:
        r"""$\log \frac1K \sum_k w_k$; `-inf` where every weight is 0."""
        return self._first - torch.tensor(float(self.count), dtype=torch.float64).log()

    @property
    def effective(self) -> Tensor:
        r"""The effective sample size $(\sum_k w_k)^2 / \sum_k w_k^2$ (Kong 1992); 0 where every weight is 0."""
        none = self._first == -torch.inf
        return torch.where(none, 0.0, (2 * self._first - torch.where(none, 0.0, self._second)).exp())

    @property
    def relative_variance(self) -> Tensor:
        r"""$s^2 / \bar w^2$, the variance of a weight divided by the square of the mean; infinite without weights.

        From $K / \mathrm{ESS} - 1$, which is the same with K in place of K - 1.
        """
        effective = self.effective
        biased = (self.count / effective - 1).clamp_min(0)
        return biased * (self.count / (self.count - 1))

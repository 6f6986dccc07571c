"""Sums and products of numbers held as logarithms; zero is `-inf`, exact under differentiation."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NEG_INF = float("-inf")


def logsumexp(x: Float[Tensor, "*shape"], dim: int | tuple[int, ...], keepdim: bool = False) -> Float[Tensor, "*rest"]:
    r"""The logarithm of a sum of exponentials, right where everything summed is zero.

    $$ y = \log \sum_i e^{x_i}, \qquad \partial y / \partial x_i = e^{x_i - y}. $$

    Where every $x_i$ is $-\infty$, or there is none, $y = -\infty$ and the derivatives are 0.
    `torch.logsumexp` gives NaN for these derivatives, which then spreads through a whole batch.

    Args:
        x: logarithms, finite or `-inf`.
        dim: the dimension or dimensions to sum over; the empty tuple sums over none.
        keepdim: whether the summed dimensions stay, with size 1.

    Example:
        >>> logsumexp(torch.tensor([[0.0, 0.0], [NEG_INF, NEG_INF]]), -1)
        tensor([0.6931,   -inf])
    """
    if dim == ():  # torch takes the empty tuple to mean every dimension
        return x
    dead = dead_rows(x, dim)
    total = torch.logsumexp(x.masked_fill(dead, 0.0), dim, keepdim=True).masked_fill(dead, NEG_INF)
    return total if keepdim else total.squeeze(dim)


def dead_rows(x: Float[Tensor, "*shape"], dim: int | tuple[int, ...]) -> Bool[Tensor, "*kept"]:
    """Where everything along `dim` is `-inf`, or there is nothing; the dimensions stay, with size 1.

    Example:
        >>> dead_rows(torch.tensor([[0.0, NEG_INF], [NEG_INF, NEG_INF]]), -1).tolist()
        [[False], [True]]
    """
    return (x == NEG_INF).all(dim, keepdim=True)


def log_normalize(x: Float[Tensor, "*shape"], dim: int | tuple[int, ...] = -1) -> Float[Tensor, "*shape"]:
    r"""Shifts logarithms so that their exponentials sum to one along `dim`.

    $$ y_i = x_i - \log \sum_j e^{x_j}. $$

    A row that is all `-inf` has no normalised form: it stays as it is, with gradient 0.

    Args:
        x: logarithms, finite or `-inf`.
        dim: the dimension or dimensions that are to sum to one.

    Example:
        >>> log_normalize(torch.tensor([3.0, 3.0, NEG_INF])).exp()
        tensor([0.5000, 0.5000, 0.0000])
    """
    dead = dead_rows(x, dim)
    safe = x.masked_fill(dead, 0.0)
    return (safe - torch.logsumexp(safe, dim, keepdim=True)).masked_fill(dead, NEG_INF)


def safe_mul(p: Float[Tensor, "*#shape"], log_f: Float[Tensor, "*#shape"]) -> Float[Tensor, "*shape"]:
    r"""The product $p \log f$, which is 0 where $p = 0$ even if $f = 0$.

    This is the convention $0 \log 0 = 0$ of entropies and expected scores. Where $f = 0$ the gradient is 0:
    the true one is infinite or undefined, and would turn into NaN one step further back.

    Args:
        p: weights.
        log_f: logarithms, finite or `-inf`; broadcast against `p`.

    Example:
        >>> safe_mul(torch.tensor([0.0, 0.0, 0.5]), torch.tensor([NEG_INF, -3.0, -2.0]))
        tensor([ 0., -0., -1.])
    """
    zero = log_f == NEG_INF
    limit = torch.where(p.detach() == 0, 0.0, p.detach() * NEG_INF)
    return torch.where(zero, limit, p * log_f.masked_fill(zero, 0.0))

r"""The log-partition of chains with its gradient written by hand: marginals, by a second sweep.

Autograd through the forward algorithm keeps several (batch, S, S) tensors per step; this keeps the potentials alone.
The backward pass is itself made of differentiable sweeps, so that derivatives of any order exist.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function

from graft.ops.chain import backward, forward, log_partition
from graft.ops.logspace import log_normalize


def log_z(
    unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "#b t-1 s s"], lengths: Int[Tensor, " b"]
) -> Float[Tensor, " b"]:
    r"""$\log Z$ of every row; $\partial \log Z / \partial u_t(j) = p(y_t = j)$, and likewise for pairs.

    Rows of probability zero have `-inf` with gradient zero; a row of length 0 has 0.

    Source: Rabiner (1989), equations 27 and 37; the gradient, Lafferty et al. (2001), section 3.

    Example:
        >>> u = torch.zeros(1, 3, 2, requires_grad=True)
        >>> log_z(u, torch.zeros(1, 2, 2, 2), torch.tensor([3])).sum().backward()
        >>> u.grad[0, 0]
        tensor([0.5000, 0.5000])
    """
    found: Tensor = _LogZ.apply(unary, pairwise, lengths)
    return found


def probabilities(
    unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "#b t-1 s s"], lengths: Int[Tensor, " b"]
) -> tuple[Float[Tensor, "b t s"], Float[Tensor, "b t-1 s s"]]:
    """Marginals of elements and of pairs; zero where nothing exists, and in rows of probability zero.

    Example:
        >>> probabilities(torch.zeros(1, 2, 2), torch.zeros(1, 1, 2, 2), torch.tensor([2]))[1]
        tensor([[[[0.2500, 0.2500],
                  [0.2500, 0.2500]]]])
    """
    alpha = forward(unary, pairwise, lengths).values
    beta = backward(unary, pairwise, lengths).values
    alive = torch.arange(unary.shape[1], device=unary.device) < lengths[:, None]
    single = log_normalize(alpha + beta, -1).exp().masked_fill(~alive[:, :, None], 0.0)
    onward = pairwise + (unary + beta)[:, 1:, None, :]
    pairs = log_normalize(alpha[:, :-1, :, None] + onward, (-2, -1)).exp()
    return single, pairs.masked_fill(~alive[:, 1:, None, None], 0.0)


class _LogZ(Function):
    @staticmethod
    def forward(ctx: Any, unary: Tensor, pairwise: Tensor, lengths: Tensor) -> Tensor:
        ctx.save_for_backward(unary, pairwise, lengths)
        return log_partition(forward(unary, pairwise, lengths), lengths)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        unary, pairwise, lengths = ctx.saved_tensors
        single, pairs = probabilities(unary, pairwise, lengths)
        by_pair = None
        if ctx.needs_input_grad[1]:
            by_pair = grad[:, None, None, None] * pairs
            if pairwise.shape[0] < unary.shape[0]:
                by_pair = by_pair.sum(0, keepdim=True)
        return grad[:, None, None] * single, by_pair, None

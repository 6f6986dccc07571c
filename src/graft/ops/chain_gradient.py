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
from graft.ops.chain_kernels import chosen, every_step, swept
from graft.ops.logspace import NEG_INF, log_normalize
from graft.ops.modes import differentiable, plain


def log_z(
    unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "*pairs s s"], lengths: Int[Tensor, " b"]
) -> Float[Tensor, " b"]:
    r"""$\log Z$ of every row; $\partial \log Z / \partial u_t(j) = p(y_t = j)$, and likewise for pairs.

    Rows of probability zero have `-inf` with gradient zero; a row of length 0 has 0. Compiled kernels serve where they
    can (see `graft.ops.chain_kernels`); derivatives of derivatives are sweeps in torch.

    Args:
        unary: log-potentials (b, T, S), finite or `-inf`; what lies beyond a row's length is not read.
        pairwise: log-potentials (b or 1, T-1 or 1, S, S); one table at all steps if its second size is 1, or if it is
            (S, S), and its gradient then takes no more memory than the table.
        lengths: (b).

    Source: Rabiner (1989), equations 27 and 37; the gradient, Lafferty et al. (2001), section 3.

    Example:
        >>> u = torch.zeros(1, 3, 2, requires_grad=True)
        >>> log_z(u, torch.zeros(1, 2, 2, 2), torch.tensor([3])).sum().backward()
        >>> u.grad[0, 0]
        tensor([0.5000, 0.5000])
    """
    found: Tensor = _LogZ.apply(unary, pairwise, lengths)
    return found


def expected_counts(
    unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "#b 1 s s"], lengths: Int[Tensor, " b"]
) -> tuple[Float[Tensor, "b s s"], Float[Tensor, " b"]]:
    """The expected counts of transitions in every row where all steps share a table, and the log-partitions.

    Example:
        >>> expected_counts(torch.zeros(1, 5, 2), torch.zeros(1, 1, 2, 2), torch.tensor([5]))[0]
        tensor([[[1., 1.],
                 [1., 1.]]])
    """
    with differentiable() as again:
        again = again and (unary.requires_grad or pairwise.requires_grad)
        unary = plain(unary) if again else plain(unary.detach())
        own = pairwise.expand(unary.shape[0], -1, -1, -1)
        own = own if again and own.requires_grad else own.detach().clone().requires_grad_()
        score = log_z(unary, own, plain(lengths))
        possible = torch.where(score == NEG_INF, 0.0, score)
        (counts,) = torch.autograd.grad(possible.sum(), own, create_graph=again)
    return (counts[:, 0], score) if again else (counts[:, 0].detach(), score.detach())


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
        ctx.swept = None
        ctx.compiled = chosen(unary, pairwise) != "torch"
        if not ctx.compiled:
            return log_partition(forward(unary, every_step(unary, _four(pairwise)), lengths), lengths)
        found = swept(unary.detach(), pairwise.detach(), lengths)
        if any(ctx.needs_input_grad):
            ctx.swept = found
        else:
            found.release()
        return found.value()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        unary, pairwise, lengths = ctx.saved_tensors
        if torch.is_grad_enabled() or not ctx.compiled:
            return *_differentiable(grad, unary, pairwise, lengths, ctx.needs_input_grad[1]), None
        # the sweep is used up by its way back: a second call makes its own
        found, ctx.swept = ctx.swept or swept(unary.detach(), pairwise.detach(), lengths), None
        return *found.gradients(grad), None


def _four(pairwise: Tensor) -> Tensor:
    return pairwise if pairwise.dim() == 4 else pairwise.reshape(1, 1, *pairwise.shape)


def _differentiable(
    grad: Tensor, unary: Tensor, pairwise: Tensor, lengths: Tensor, by_pairwise: bool
) -> tuple[Tensor, Tensor | None]:
    """The gradients, made of operations that autograd knows."""
    tables = _four(pairwise)
    single, pairs = probabilities(unary, every_step(unary, tables), lengths)
    by_unary = grad[:, None, None] * single
    if not by_pairwise:
        return by_unary, None
    pairs = grad[:, None, None, None] * pairs
    found = pairs.sum_to_size(tables.shape) if pairs.shape[1] else torch.zeros_like(tables)
    return by_unary, found.reshape(pairwise.shape)

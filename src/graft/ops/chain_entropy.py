r"""Entropies and divergences of chains from expected scores, in double precision, by compiled sweeps.

$$ H(p) = \log Z_p - \mathbb{E}_p\, s_p, \qquad
   \mathrm{KL}(p \,\|\, q) = \mathbb{E}_p\,(s_p - s_q) - \log Z_p + \log Z_q. $$

Such differences lose the digits of large scores. They serve where what is lost is below 1e-9, which is known
afterwards; otherwise conditional entropies, none of which is negative, are summed by sweeps in torch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graft.ops.chain_kernels import swept
from graft.ops.logspace import NEG_INF, safe_mul

#: The greatest expected score, of potentials shifted to a maximum of 0, that leaves enough digits.
GREATEST = 1e5


class Moments(NamedTuple):
    """What is needed of a chain with potentials shifted to a maximum of 0.

    Attributes:
        unary: (b, T, S), and pairwise (b, T-1 or 1, S, S), the shifted potentials in double precision.
        log_z: (b), of these.
        single: (b, T, S), marginals, and pairs, those of pairs, summed over the steps that share a table.
    """

    unary: Tensor
    pairwise: Tensor
    log_z: Tensor
    single: Tensor
    pairs: Tensor


def moments(
    unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "#b pairs s s"], lengths: Int[Tensor, " b"]
) -> Moments:
    """The marginals of every row; only where compiled kernels serve.

    Example:
        >>> moments(torch.zeros(1, 3, 2), torch.zeros(1, 1, 2, 2), torch.tensor([3])).pairs
        tensor([[[[0.5000, 0.5000],
                  [0.5000, 0.5000]]]], dtype=torch.float64)
    """
    u, w = _shifted(unary.detach().double(), (-1,)), _shifted(pairwise.detach().double(), (-2, -1))
    own = w.expand(len(u), -1, -1, -1).contiguous()
    found = swept(u, own, lengths)
    log_z = found.value()
    single, pairs = found.gradients(torch.ones_like(log_z))
    return Moments(u, own, log_z, single, pairs)


def _shifted(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    top = x.amax(dims, keepdim=True)
    return x - top.masked_fill(top == NEG_INF, 0.0)


def expected(p: Moments, of: Moments) -> Float[Tensor, " b"]:
    """The expectation under one chain of the score by another: `-inf` if that forbids what is possible."""
    return safe_mul(p.single, of.unary).sum((-2, -1)) + safe_mul(p.pairs, of.pairwise).sum((-3, -2, -1))


def entropy(p: Moments) -> Float[Tensor, " b"] | None:
    """The entropy of every row in nats; `None` if digits are lost.

    Example:
        >>> coins = moments(torch.zeros(1, 3, 2), torch.zeros(1, 1, 2, 2), torch.tensor([3]))
        >>> entropy(coins).exp()
        tensor([8.0000], dtype=torch.float64)
    """
    score = expected(p, p)
    return None if _too_great(score) else (p.log_z - score).clamp_min(0.0)


def divergence(p: Moments, q: Moments) -> Float[Tensor, " b"] | None:
    """The divergence from p to q of every row in nats; `None` if digits are lost.

    Example:
        >>> coins = moments(torch.zeros(1, 3, 2), torch.zeros(1, 1, 2, 2), torch.tensor([3]))
        >>> divergence(coins, coins)
        tensor([0.], dtype=torch.float64)
    """
    own, others = expected(p, p), expected(p, q)
    if _too_great(own) or _too_great(others[others > NEG_INF]) or _too_great(q.log_z):
        return None
    return (own - others - p.log_z + q.log_z).clamp_min(0.0)


def _too_great(x: Tensor) -> bool:
    return x.numel() > 0 and not bool(x.abs().amax() < GREATEST)

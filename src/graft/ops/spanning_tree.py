r"""Sums over the spanning trees of directed graphs, by elimination without a subtraction.

The matrix-tree theorem makes the sum a determinant of a Laplacian, whose diagonal cancels against the rest: in floating
point it loses all digits where weights differ much. Eliminating one node after the other, as Grassmann, Taksar and
Heyman (1985) do with Markov chains, needs sums, products and quotients of positive numbers only. So it can be done in
log space: log-weights may be thousands apart, and a forbidden arc is zero exactly.

A node `m` chooses its head `h` with weight $w_{hm}$. When $n$ goes, whoever would have chosen it chooses one of its
heads instead: $w_{hm}$ becomes $w_{hm} + w_{hn} w_{nm} / d_n$, with $d_n = \sum_h w_{hn}$ over the heads that are left.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from graft.ops.logspace import NEG_INF, logsumexp


def eliminate(
    arcs: Float[Tensor, "b n n"], roots: Float[Tensor, "b n"], exists: Bool[Tensor, "b n"]
) -> Float[Tensor, " b"]:
    r"""The log-sum over all forests in which every node has a head or is a root, and no cycle: many roots.

    $O(N^3)$ time, in N steps. Source: Koo, Globerson, Carreras and Collins (2007), section 3; the elimination,
    Grassmann, Taksar and Heyman, *Regenerative analysis and steady state distributions for Markov chains* (1985).

    Args:
        arcs: log-weights, from row (the head) to column; the diagonal is not read.
        roots: log-weights of each node being a root.
        exists: which nodes there are.

    Example:
        >>> eliminate(torch.zeros(1, 3, 3), torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)).exp()  # 4 ** 2
        tensor([16.])
    """
    arcs, total = _without_loops(arcs, exists), roots[:, :0].sum(1)
    roots = roots.masked_fill(~exists, NEG_INF)
    for n in range(arcs.shape[1]):
        heads, jumpers, stay = arcs[:, 1:, 0], arcs[:, 0, 1:], roots[:, :1]
        mass = logsumexp(torch.cat([heads, stay], 1), 1)
        total = total + mass.masked_fill(~exists[:, n], 0.0)
        detour = _quotient(jumpers, mass)
        arcs = _bypass(arcs[:, 1:, 1:], heads, detour)
        roots = _plus(roots[:, 1:], stay + detour)
    return total.masked_fill(total == NEG_INF, NEG_INF)


def eliminate_single(
    arcs: Float[Tensor, "b n n"], roots: Float[Tensor, "b n"], exists: Bool[Tensor, "b n"]
) -> Float[Tensor, " b"]:
    r"""The log-sum over all trees with one root among the nodes.

    $Z = \sum_r \rho_r \tau_r$, where $\tau_r$, the sum over trees from $r$, is by the Markov chain tree theorem the
    stationary distribution of the chain that jumps from node to head, up to $\prod_n d_n$. The node that goes next is
    the one with the heaviest heads, so that a node without heads, which must be the root, stays to the end.

    Source: as `eliminate`; the sum over single roots, Koo et al. (2007), section 3.2, by other means.

    Example:
        >>> eliminate_single(torch.zeros(1, 3, 3), torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)).exp()
        tensor([9.])
    """
    arcs, total = _without_loops(arcs, exists), roots[:, :0].sum(1)
    gone: list[tuple[Tensor, Tensor, Tensor]] = []
    left = torch.arange(roots.shape[1], device=roots.device).expand_as(exists)
    for _ in range(roots.shape[1] - 1):
        mass = logsumexp(arcs, 1)
        real = exists.gather(1, left)
        # who is absent goes first, then who has the heaviest heads
        at = mass.detach().clamp_min(torch.finfo(mass.dtype).min).masked_fill(~real, -NEG_INF).argmax(1, keepdim=True)
        others = torch.arange(left.shape[1] - 1, device=left.device).expand(len(left), -1)
        others = others + (others >= at)
        mass, here = mass.gather(1, at)[:, 0], real.gather(1, at)[:, 0]
        total = total + mass.masked_fill(~here, 0.0)
        heads, jumpers = _line(arcs.mT, at).gather(1, others), _line(arcs, at).gather(1, others)
        detour = _quotient(jumpers, mass)
        gone.append((at, others, detour))
        arcs = _bypass(arcs.take_along_dim(others[:, :, None], 1).take_along_dim(others[:, None, :], 2), heads, detour)
        left = left.gather(1, others)
    weight = torch.zeros_like(roots[:, :1])
    for at, others, detour in reversed(gone):
        own = logsumexp(weight + detour, 1, keepdim=True)
        place = torch.cat([others, at], 1).argsort(1)
        weight = torch.cat([weight, own], 1).gather(1, place)
    found = total + logsumexp((weight + roots).masked_fill(~exists, NEG_INF), 1)
    found = found.masked_fill(found == NEG_INF, NEG_INF)
    return found.masked_fill(~exists.any(1), 0.0)


def _line(x: Float[Tensor, "b n n"], at: Int[Tensor, "b 1"]) -> Float[Tensor, "b n"]:
    """One row of each matrix."""
    return x.take_along_dim(at[:, :, None], 1)[:, 0]


def _bypass(arcs: Float[Tensor, "b n n"], heads: Float[Tensor, "b n"], detour: Float[Tensor, "b n"]) -> Tensor:
    """Weights of arcs, direct ones and those by way of a node that goes."""
    loops = torch.eye(arcs.shape[1], dtype=torch.bool, device=arcs.device)
    return _plus(arcs, heads[:, :, None] + detour[:, None, :]).masked_fill(loops, NEG_INF)


def _without_loops(arcs: Tensor, exists: Bool[Tensor, "b n"]) -> Tensor:
    loops = torch.eye(arcs.shape[1], dtype=torch.bool, device=arcs.device)
    return arcs.masked_fill(loops | ~exists[:, :, None] | ~exists[:, None, :], NEG_INF)


def _plus(x: Tensor, y: Tensor) -> Tensor:
    """The logarithm of a sum."""
    return logsumexp(torch.stack([x, y]), 0)


def _quotient(x: Float[Tensor, "b n"], norm: Float[Tensor, " b"]) -> Float[Tensor, "b n"]:
    """The logarithm of a quotient; by zero, anything will do, as it is multiplied by zero."""
    return x - norm.masked_fill(norm == NEG_INF, 0.0)[:, None]

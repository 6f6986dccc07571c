"""Entropies and divergences of semi-Markov chains, summed from those of conditional distributions: none is negative."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from graft.ops.logspace import safe_mul
from graft.ops.semi_markov import Messages, Segments, Step, backward


def entropy(p: Segments, m: Messages) -> Float[Tensor, " b"]:
    r"""The entropy of rows that are all possible, in nats.

    From the end: $H(\text{last label}) + \sum H(d \mid \text{end, label}) + \sum H(i \mid \text{start, label})$, each
    weighted by how probable that end or start is.

    Example:
        >>> from graft.ops.semi_markov import forward
        >>> zero = torch.zeros(1, 3, 2)
        >>> p = Segments(zero, zero, torch.zeros(1, 1, 2, 2), None, torch.zeros(1, 1, 2, 2), torch.tensor([3]))
        >>> entropy(p, forward(p)).exp()  # all 16 are alike
        tensor([16.])
    """
    total = torch.zeros_like(m.log_z)
    for step in backward(p, m):
        for weight, log_p, _ in _parts(p, step, step):
            total = total - (weight * safe_mul(log_p.exp(), log_p).sum(1)).sum(-1)
    return total


def divergence(p: Segments, m: Messages, q: Segments, n: Messages) -> Float[Tensor, " b"]:
    """The divergence from one distribution to another over the same elements, durations and labels, in nats.

    Example:
        >>> from graft.ops.semi_markov import forward
        >>> zero = torch.zeros(1, 3, 2)
        >>> p = Segments(zero, zero, torch.zeros(1, 1, 2, 2), None, torch.zeros(1, 1, 2, 2), torch.tensor([3]))
        >>> divergence(p, forward(p), p, forward(p))
        tensor([0.])
    """
    total = torch.zeros_like(m.log_z)
    for mine, other in zip(backward(p, m), backward(q, n), strict=True):
        for weight, log_p, log_q in _parts(p, mine, other):
            found = (safe_mul(log_p.exp(), log_p) - safe_mul(log_p.exp(), log_q)).sum(1)
            # what never happens does not count
            total = total + safe_mul(weight, found.masked_fill(weight == 0, 0.0)).sum(-1)
    return total


def _parts(p: Segments, mine: Step, other: Step) -> list[tuple[Tensor, Tensor, Tensor]]:
    """The conditionals at a boundary, along dimension 1, of both, and the probabilities of their conditions."""
    ends = (p.lengths == mine.t).to(p.unary.dtype)[:, None]
    parts = [
        (ends, mine.final[:, :, None], other.final[:, :, None]),
        (mine.end, mine.durations, other.durations),
    ]
    if mine.start is not None and mine.origin is not None and other.origin is not None:
        parts.append((mine.start, mine.origin, other.origin))
    return parts

r"""The log-partition of trees with its gradient written by hand: marginals, from the roots to the leaves.

Autograd through the upward pass keeps the tables of all nodes, O(N S²); this keeps the potentials alone. The backward
pass is itself differentiable, so that derivatives of any order exist.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from graft.ops.logspace import NEG_INF
from graft.ops.tree import Levels, Potentials, downward, log_partition, upward


def log_z(p: Potentials, at: Levels) -> Float[Tensor, " b"]:
    r"""$\log Z$ of every row; its derivatives are marginals of nodes and of nodes with their parents.

    Rows of probability zero have `-inf` with gradient zero.

    Example:
        >>> from graft.ops.tree import depths, levels
        >>> parents = torch.tensor([[-1, 0, 0]])
        >>> u = torch.zeros(1, 3, 2, requires_grad=True)
        >>> log_z(Potentials(u, torch.zeros(1, 1, 2, 2)), levels(parents, depths(parents)[0])).sum().backward()
        >>> u.grad[0, 0]
        tensor([0.5000, 0.5000])
    """
    found: Tensor = _LogZ.apply(p.unary, p.pairwise, at)
    return found


def probabilities(
    p: Potentials, at: Levels, weight: Float[Tensor, " b"], pairs: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Marginals of nodes, and of nodes with their parents in the shape of `pairwise`, times a weight for each row.

    Args:
        p: the potentials.
        at: the trees.
        weight: (b).
        pairs: whether the second are wanted.
    """
    counts, single = _Counts(p, at), []
    beliefs = upward(p, at)
    # a row is as impossible as any of its trees
    weight = weight.masked_fill(log_partition(beliefs, at) == NEG_INF, 0.0)
    for step in downward(p, beliefs, at):
        by = weight[at.row(step.depth)]
        single.append(by[:, None] * step.single)
        if pairs and step.depth > 0:
            counts.add(step.depth, by[:, None, None] * step.pairs())
    return at.restore(single), counts.total() if pairs else None


class _Counts:
    """Probabilities of pairs, kept apart or summed as the pairwise potentials ask."""

    def __init__(self, p: Potentials, at: Levels) -> None:
        self.p, self.at = p, at
        self.found: list[tuple[Tensor, Tensor]] = []
        self.sum = torch.zeros_like(p.pairwise).flatten(0, 1)

    def add(self, depth: int, x: Float[Tensor, "n s s"]) -> None:
        index = self.p.table(self.at, depth)
        if self.p.pairwise.shape[1] == 1:
            self.sum = self.sum.index_add(0, index, x)
        else:
            # as large as what it is the derivative by: added up once, at the end
            self.found.append((index, x))

    def total(self) -> Tensor:
        if self.found:
            index, x = (torch.cat(parts) for parts in zip(*self.found, strict=True))
            self.sum = self.sum.index_add(0, index, x)
        return self.sum.reshape(self.p.pairwise.shape)


class _LogZ(Function):
    @staticmethod
    def forward(ctx: Any, unary: Tensor, pairwise: Tensor, at: Levels) -> Tensor:
        ctx.save_for_backward(unary, pairwise)
        ctx.at = at
        return log_partition(upward(Potentials(unary, pairwise), at), at)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        p = Potentials(*ctx.saved_tensors)
        return *probabilities(p, ctx.at, grad, ctx.needs_input_grad[1]), None

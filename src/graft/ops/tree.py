r"""Sums over the labels of all nodes of fixed trees, by messages from the leaves to the roots and back.

Nodes of all rows are sorted by their depth, and each depth is one step for the whole batch, whatever the trees' shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from graft.ops.chain import draw, rescale
from graft.ops.logspace import log_normalize, logsumexp


class Levels(NamedTuple):
    """The nodes of a batch of forests, sorted by depth.

    Attributes:
        nodes: which nodes (n) of the flattened batch (b N) stand at each depth.
        parents: for each depth, which of the nodes one level above is the parent of each (n); empty for roots.
        rank: (b N), where each node stands among all of them, level after level.
        rows: b.
        size: N.
    """

    nodes: list[Tensor]
    parents: list[Tensor]
    rank: Tensor
    rows: int
    size: int

    def restore(self, levels: list[Tensor]) -> Tensor:
        """What was found level by level, as (b, N, ...)."""
        every = torch.cat(levels)[self.rank]
        return every.reshape(self.rows, self.size, *every.shape[1:])

    def row(self, depth: int) -> Int[Tensor, " n"]:
        """The row of each node at a depth."""
        return self.nodes[depth] // self.size

    def by_row(self, levels: list[Tensor]) -> Float[Tensor, " b"]:
        """Sums over the nodes of each row, from values (n) level by level."""
        rows = torch.cat(self.nodes) // self.size
        every = torch.cat(levels)
        return every.new_zeros(self.rows).index_add(0, rows, every)


def depths(parents: Int[Tensor, "b n"]) -> tuple[Int[Tensor, "b n"], Bool[Tensor, "b n"]]:
    """How many ancestors each node has, and which nodes have endlessly many: they lie on a cycle or below one.

    By doubling the reach of each node's pointer, in log N steps.

    Args:
        parents: of each node, -1 at roots.

    Example:
        >>> depths(torch.tensor([[1, -1, 0], [1, 0, 0]]))
        (tensor([[1, 0, 2],
                [4, 4, 4]]), tensor([[False, False, False],
                [ True,  True,  True]]))
    """
    size = parents.shape[1]
    # node N stands for what lies above the roots
    above = torch.cat([torch.where(parents < 0, size, parents), torch.full_like(parents[:, :1], size)], 1)
    count = (above != size).long()
    for _ in range(size.bit_length()):
        count = count + count.gather(1, above)
        above = above.gather(1, above)
    return count[:, :size], above[:, :size] != size


def levels(parents: Int[Tensor, "b n"], depth: Int[Tensor, "b n"]) -> Levels:
    """Sorts the nodes of forests by depth.

    Example:
        >>> parents = torch.tensor([[1, -1, 0], [-1, -1, -1]])
        >>> levels(parents, depths(parents)[0]).nodes
        [tensor([1, 3, 4, 5]), tensor([0]), tensor([2])]
    """
    rows, size = parents.shape
    flat = depth.reshape(-1)
    order = flat.argsort(stable=True)
    rank = order.argsort()
    counts = flat.bincount().tolist() if flat.numel() else [0]
    nodes = list(order.split(counts))
    above = parents + torch.arange(rows, device=parents.device)[:, None] * size
    above, begin, local = above.reshape(-1), 0, [order[:0]]
    for count, below in zip(counts, nodes[1:], strict=False):
        local.append(rank[above[below]] - begin)
        begin += count
    return Levels(nodes, local, rank, rows, size)


class Potentials(NamedTuple):
    """The potentials of a batch of trees, finite or `-inf`.

    Attributes:
        unary: (b, N, S).
        pairwise: (b or 1, N or 1, S, S), from the state of each node's parent to its own; not read at roots.
    """

    unary: Tensor
    pairwise: Tensor

    def single(self, at: Levels, depth: int) -> Float[Tensor, "n s"]:
        """Potentials of the nodes at a depth."""
        return self.unary.flatten(0, 1)[at.nodes[depth]]

    def table(self, at: Levels, depth: int) -> Int[Tensor, " n"]:
        """Which of the flattened tables each node at a depth has."""
        own, steps = self.pairwise.shape[:2]
        row = at.row(depth) if own > 1 else 0
        node = at.nodes[depth] % at.size if steps > 1 else 0
        return torch.zeros_like(at.nodes[depth]) + row * steps + node

    def pair(self, at: Levels, depth: int) -> Float[Tensor, "#n s s"]:
        """Tables of the nodes at a depth; one if all share it."""
        if self.pairwise.shape[:2] == (1, 1):
            return self.pairwise[0]
        return self.pairwise.flatten(0, 1)[self.table(at, depth)]


class Beliefs(NamedTuple):
    """What lies below each node, its own potential included.

    Attributes:
        values: (n, S) for each depth, maximum 0 at every node that is possible.
        scale: (b), the sum of all that was taken from a row.
    """

    values: list[Tensor]
    scale: Tensor


def upward(p: Potentials, at: Levels) -> Beliefs:
    r"""Log-sums over everything below each node, its own potential included, level by level.

    $$ \beta_n(j) = u_n(j) + \sum_{c \text{ child of } n} \log \sum_k e^{w_c(j, k) + \beta_c(k)}. $$

    $O(N S^2)$ time per row. Source: Pearl, *Probabilistic reasoning in intelligent systems* (1988), section 4.3.

    Example:
        >>> parents = torch.tensor([[-1, 0, 0]])
        >>> at = levels(parents, depths(parents)[0])
        >>> upward(Potentials(torch.zeros(1, 3, 2), torch.zeros(1, 1, 2, 2)), at).scale.exp()
        tensor([4.])
    """
    below, found, taken = None, [], []
    for depth in range(len(at.nodes) - 1, -1, -1):
        belief = p.single(at, depth)
        belief, top = rescale(belief if below is None else belief + below)
        found.append(belief)
        taken.append(top)
        if depth > 0:
            message = logsumexp(p.pair(at, depth) + belief[:, None, :], -1)
            below = message.new_zeros(len(at.nodes[depth - 1]), message.shape[-1])
            below = below.index_add(0, at.parents[depth], message)
    return Beliefs(found[::-1], at.by_row(taken[::-1]))


def log_partition(beliefs: Beliefs, at: Levels) -> Float[Tensor, " b"]:
    """The log-sum over all labels of each row: those of its roots, added."""
    return beliefs.scale.index_add(0, at.row(0), logsumexp(beliefs.values[0], -1))


class Step(NamedTuple):
    """The posterior at one depth, as `downward` meets it.

    Attributes:
        depth: 0 at roots.
        single: (n, S), marginals of the nodes.
        above: (n, S), marginals of their parents; `None` at roots.
        given: (n, S, S), log-probabilities of each state given the parent's (rows); (n, 1, S) at roots.
    """

    depth: int
    single: Tensor
    above: Tensor | None
    given: Tensor

    def pairs(self) -> Float[Tensor, "n s s"]:
        """The probabilities of both states."""
        assert self.above is not None
        return self.above[:, :, None] * self.given.exp()


def downward(p: Potentials, beliefs: Beliefs, at: Levels) -> Iterator[Step]:
    """The posterior from the roots to the leaves, by conditional probabilities; zeros in rows that are impossible."""
    given = log_normalize(beliefs.values[0], -1)
    single = given.exp()
    yield Step(0, single, None, given[:, None, :])
    for depth in range(1, len(at.nodes)):
        above = single[at.parents[depth]]
        given = log_normalize(p.pair(at, depth) + beliefs.values[depth][:, None, :], -1)
        single = (above[:, :, None] * given.exp()).sum(1)
        yield Step(depth, single, above, given)


def best(p: Potentials, at: Levels) -> tuple[Int[Tensor, "b n"], Float[Tensor, " b"]]:
    """Labels of the highest score of each row, and that score; by maxima instead of sums.

    Example:
        >>> parents = torch.tensor([[1, -1]])
        >>> u = torch.tensor([[[0.0, 1.0], [3.0, 0.0]]])
        >>> best(Potentials(u, torch.zeros(1, 1, 2, 2)), levels(parents, depths(parents)[0]))
        (tensor([[1, 0]]), tensor([4.]))
    """
    below, chosen = None, []
    for depth in range(len(at.nodes) - 1, -1, -1):
        belief = p.single(at, depth)
        belief = belief if below is None else belief + below
        if depth > 0:
            message, arg = (p.pair(at, depth) + belief[:, None, :]).max(-1)
            chosen.append(arg)
            below = message.new_zeros(len(at.nodes[depth - 1]), message.shape[-1])
            below = below.index_add(0, at.parents[depth], message)
    top, state = belief.max(-1)
    states = [state]
    for depth, arg in enumerate(chosen[::-1], start=1):
        states.append(arg.gather(1, states[-1][at.parents[depth]][:, None])[:, 0])
    return at.restore(states), top.new_zeros(at.rows).index_add(0, at.row(0), top)


def sample(
    p: Potentials,
    beliefs: Beliefs,
    at: Levels,
    count: int,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "count b n"]:
    """Independent exact draws, from the roots to the leaves."""
    states = [draw(beliefs.values[0].expand(count, -1, -1), generator)]
    for depth in range(1, len(at.nodes)):
        above, tables = states[-1][:, at.parents[depth]], p.pairwise.flatten(0, 1)
        line = tables[p.table(at, depth), above]
        states.append(draw(line + beliefs.values[depth], generator))
    return at.restore([x.T for x in states]).movedim(-1, 0)

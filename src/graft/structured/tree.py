"""Distributions over the states of the nodes of trees: `Tree`."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from graft.errors import GraftError
from graft.ops.logspace import NEG_INF, safe_mul
from graft.ops.tree import Step, best, downward, sample
from graft.ops.tree_gradient import log_z
from graft.structured.checks import draws_shape, refuse_impossible
from graft.structured.tree_potentials import TreePotentials


class Tree(TreePotentials):
    r"""A distribution over the states of the nodes of a tree or forest, in which children depend on parents.

    $$ p(y) = \frac{1}{Z} \exp\Big( \sum_n u_n(y_n) + \sum_{n \text{ no root}} w_n(y_{\text{parent}(n)}, y_n) \Big). $$

    Every row of the batch has a tree of its own. Nodes may stand in any order. All rows are worked on together, one
    depth at a time; there is no loop over rows or nodes.

    Nodes may be absent, by `lengths` or by a `mask`; what is given there may be anything, NaN included, and states and
    marginals there are 0. An absent node has no children.

    Potentials of `-inf` forbid states and pairs exactly. A row of the batch in which nothing is allowed has
    `log_partition` and `log_prob` of `-inf` with gradient zero; the other queries raise.

    All queries are differentiable to any order where that makes sense, work under `torch.no_grad()` and
    `torch.inference_mode()`, take $O(N S^2)$ time per row, and are computed in double precision whatever the type of
    the potentials.

    Args:
        unary: log-potentials (..., N, S), finite or `-inf`; any number of batch dimensions.
        pairwise: log-potentials (S, S) or (..., N, S, S), from row (state of the parent) to column (state of the node);
            entries of roots are not read. (..., 1, S, S) is a table for all nodes. Batch dimensions broadcast.
        parents: the parent of each node, integers (..., N), -1 at roots; broadcast against the batch.
        lengths: how many nodes exist at the front of each row, integers (...).
        mask: which nodes exist, bool (..., N).

    Attributes:
        batch_shape: the batch dimensions of all arguments, broadcast.
        size: N.
        states: S.
        dtype: of all answers that are no integers.

    Raises:
        ShapeError: the shapes do not fit.
        GraftError: parents form a cycle, are out of range or absent, a potential in use is NaN or `+inf`, a length is
            outside 0..N, a type is wrong, or both `lengths` and `mask` are given.
        ImpossibleEvidence: raised by all queries but `log_partition`, `score` and `log_prob` if there are rows of
            probability zero; it names them.

    Source: Pearl, *Probabilistic reasoning in intelligent systems* (1988), section 4.3.

    Example:
        >>> same = torch.tensor([[0.0, NEG_INF], [0.0, 0.0]])
        >>> star = Tree(torch.zeros(3, 2), same, torch.tensor([-1, 0, 0]))
        >>> star.log_partition.exp()  # the leaves of a root in state 0 are in state 0
        tensor(5.)
        >>> star.marginals[:, 1]
        tensor([0.8000, 0.4000, 0.4000])
    """

    def __repr__(self) -> str:
        return f"Tree(batch_shape={tuple(self.batch_shape)}, size={self.size}, states={self.states})"

    @property
    def log_partition(self) -> Float[Tensor, "*batch"]:
        r"""The log-normaliser $\log Z$ (...); 0 for a row without nodes.

        Example:
            >>> Tree(torch.zeros(3, 2), torch.zeros(2, 2), torch.tensor([1, -1, 1])).log_partition.exp()
            tensor(8.)
        """
        return (log_z(self._potentials, self._at) + self._common).to(self.dtype).reshape(self.batch_shape)

    @property
    def marginals(self) -> Float[Tensor, "*batch n s"]:
        r"""The probability $p(y_n = j) = \partial \log Z / \partial u_n(j)$ of each state (..., N, S).

        Example:
            >>> never = torch.tensor([[NEG_INF, 0.0], [0.0, NEG_INF]])
            >>> Tree(torch.tensor([[0.0, NEG_INF], [0.0, 0.0]]), never, torch.tensor([-1, 0])).marginals
            tensor([[1., 0.],
                    [0., 1.]])
        """
        found = self._at.restore([step.single for step in self._steps()])
        found = found.masked_fill(~self._exists[:, :, None], 0.0).to(self.dtype)
        return found.reshape(*self.batch_shape, self.size, self.states)

    @property
    def pair_marginals(self) -> Float[Tensor, "*batch n s s"]:
        r"""The probability of the states of each node's parent (row) and of the node (column) (..., N, S, S).

        It is zero at roots, and the derivative of $\log Z$ by the pairwise potential.

        Example:
            >>> Tree(torch.zeros(2, 2), torch.zeros(2, 2), torch.tensor([1, -1])).pair_marginals[0]
            tensor([[0.2500, 0.2500],
                    [0.2500, 0.2500]])
        """
        steps = list(self._steps())
        roots = steps[0].single.new_zeros(len(steps[0].single), self.states, self.states)
        found = self._at.restore([roots, *(step.pairs() for step in steps[1:])]).to(self.dtype)
        return found.reshape(*self.batch_shape, self.size, self.states, self.states)

    @property
    def expected_counts(self) -> Float[Tensor, "*batch s s"]:
        """How often each pair of a parent's and a child's state is expected (..., S, S).

        Example:
            >>> Tree(torch.zeros(9, 2), torch.zeros(2, 2), torch.arange(-1, 8)).expected_counts
            tensor([[2., 2.],
                    [2., 2.]])
        """
        total = self._potentials.unary.new_zeros(self._rows, self.states, self.states)
        for step in self._steps():
            if step.depth > 0:
                total = total.index_add(0, self._at.row(step.depth), step.pairs())
        return total.to(self.dtype).reshape(*self.batch_shape, self.states, self.states)

    def entropy(self) -> Float[Tensor, "*batch"]:
        r"""The entropy (...), in nats, summed from those of each node given its parent: none is negative.

        Example:
            >>> Tree(torch.zeros(3, 2), torch.zeros(2, 2), torch.tensor([-1, 0, 0])).entropy()  # 3 log 2
            tensor(2.0794)
        """
        found = []
        for step in self._steps():
            found.append(-(_weight(step) * safe_mul(step.given.exp(), step.given).sum(-1)).sum(-1))
        return self._at.by_row(found).to(self.dtype).reshape(self.batch_shape)

    def kl(self, other: Tree) -> Float[Tensor, "*batch"]:
        r"""The divergence $\sum_y p(y) \log (p(y) / q(y))$ to another distribution over the same trees (...), in nats.

        Infinite where `other` forbids what is possible here.

        Raises:
            GraftError: the other is not over the same trees and states.
            ImpossibleEvidence: some rows of either have probability zero.

        Example:
            >>> edge = torch.tensor([-1, 0])
            >>> fair = Tree(torch.zeros(2, 2), torch.zeros(2, 2), edge)
            >>> fair.kl(Tree(torch.tensor([[0.0, 3.0]]).expand(2, 2), torch.zeros(2, 2), edge))
            tensor(1.7109)
        """
        if not isinstance(other, Tree) or other.states != self.states:
            raise GraftError(f"kl takes a tree of {self.states} states, not {other}")
        alike = self.batch_shape == other.batch_shape and self._existence.same(other._existence)
        if not alike or not torch.equal(self._parents, other._parents):
            raise GraftError(f"kl takes the same trees: {self} and {other} differ in shape, nodes or parents")
        found = []
        for mine, its in zip(self._steps(), other._steps(), strict=True):
            p, weight = mine.given.exp(), _weight(mine)
            each = (safe_mul(p, mine.given) - safe_mul(p, its.given)).sum(-1)
            # what would follow a state that is never taken does not count
            found.append(safe_mul(weight, each.masked_fill(weight == 0, 0.0)).sum(-1))
        dtype = torch.promote_types(self.dtype, other.dtype)
        return self._at.by_row(found).to(dtype).reshape(self.batch_shape)

    def mode(self) -> Int[Tensor, "*batch n"]:
        """States of the highest probability (..., N), by max-product messages.

        Example:
            >>> Tree(torch.tensor([[0.0, 1.0], [3.0, 0.0]]), torch.zeros(2, 2), torch.tensor([1, -1])).mode()
            tensor([1, 0])
        """
        states, score = best(self._potentials, self._at)
        refuse_impossible(score, self.batch_shape)
        return states.reshape(*self.batch_shape, self.size)

    def sample(self, shape: Any = (), generator: torch.Generator | None = None) -> Int[Tensor, "*shape_batch n"]:
        """Independent exact draws, of shape `shape` + (..., N), from the roots to the leaves.

        Args:
            shape: how many draws.
            generator: the source of randomness; torch's global one if none is given.

        Example:
            >>> Tree(torch.zeros(3, 5, 2), torch.zeros(2, 2), torch.tensor([-1, 0, 0, 1, 1])).sample((10,)).shape
            torch.Size([10, 3, 5])
        """
        shape = draws_shape(shape)
        with torch.no_grad():
            states = sample(self._potentials, self._beliefs(), self._at, prod(shape), generator)
        return states.reshape(*shape, *self.batch_shape, self.size)

    def score(self, states: Shaped[Tensor, " ..."]) -> Float[Tensor, "*sample_batch"]:
        """The unnormalised log-probability of states.

        Args:
            states: integers (..., N), broadcast against the batch; extra dimensions may lead. Anything may stand at
                absent nodes, such as -100.

        Raises:
            ShapeError: the last dimension is not N, or the others do not broadcast with the batch.
            GraftError: the type is not an integer one, or a state of an existing node is outside 0..S-1.

        Example:
            >>> edge = Tree(torch.tensor([[0.0, 1.0], [3.0, 0.0]]), torch.eye(2), torch.tensor([-1, 0]))
            >>> edge.score(torch.tensor([0, 0]))
            tensor(4.)
        """
        return (self._score(states) + self._common.reshape(self.batch_shape)).to(self.dtype)

    def log_prob(self, states: Shaped[Tensor, " ..."]) -> Float[Tensor, "*sample_batch"]:
        """The log-probability of states: `score` less `log_partition`.

        What is forbidden has `-inf`, with gradient zero, and so has anything in a row of probability zero.
        Arguments and errors are those of `score`.

        Example:
            >>> edge = Tree(torch.zeros(2, 2), torch.zeros(2, 2), torch.tensor([-1, 0]))
            >>> edge.log_prob(torch.tensor([0, 1])).exp()
            tensor(0.2500)
        """
        score = self._score(states)
        possible = score > NEG_INF
        normaliser = log_z(self._potentials, self._at).reshape(self.batch_shape).expand_as(score)
        return torch.where(possible, score - normaliser.where(possible, 0.0), NEG_INF).to(self.dtype)

    def _score(self, states: Tensor) -> Float[Tensor, "*sample_batch"]:
        states, (unary, pairwise) = self._states(states), self._potentials
        rows = torch.arange(self._rows, device=states.device).reshape(*self.batch_shape, 1)
        node = torch.arange(self.size, device=states.device)
        parents = self._parents.reshape(*self.batch_shape, self.size).expand_as(states)
        above = states.gather(-1, parents.clamp_min(0))
        own, step = rows.clamp_max(pairwise.shape[0] - 1), node.clamp_max(pairwise.shape[1] - 1)
        edges = pairwise[own, step, above, states].masked_fill(parents < 0, 0.0)
        total = unary[rows, node, states].sum(-1) + edges.sum(-1)
        return total.masked_fill(total == NEG_INF, NEG_INF)  # cuts the gradient of what is forbidden

    def _steps(self) -> Iterator[Step]:
        return downward(self._potentials, self._beliefs(), self._at)


def _weight(step: Step) -> Tensor:
    """How probable each state of the parents is; one at roots, which have none."""
    return torch.ones_like(step.single[:, :1]) if step.above is None else step.above

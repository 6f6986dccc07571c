"""Distributions over sequences of states in which neighbours interact: `LinearChain`."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from graft.errors import GraftError
from graft.ops.chain_entropy import divergence, entropy
from graft.ops.chain_gradient import expected_counts, log_z
from graft.ops.chain_kernels import best_lists, best_paths, draws, marginals, pair_marginals
from graft.ops.logspace import NEG_INF, log_normalize, safe_mul
from graft.structured.chain_potentials import ChainPotentials
from graft.structured.checks import draws_shape, positive, refuse_impossible


class LinearChain(ChainPotentials):
    r"""A distribution over sequences $y_1 \dots y_T$ of $S$ states in which neighbours interact.

    $$ p(y) = \frac{1}{Z} \exp\Big( \sum_t u_t(y_t) + \sum_{t > 1} w_t(y_{t-1}, y_t) \Big). $$

    Elements may be removed, by `lengths` or by a `mask` with holes and padding on any side. The neighbours
    of a hole become adjacent, through the pairwise entry that enters the later one. What is removed may hold
    anything, NaN included; its gradient is zero. At removed elements states are 0 and marginals are 0.

    Potentials of `-inf` forbid states and transitions exactly. A row of the batch in which nothing is
    allowed has `log_partition` and `log_prob` of `-inf` with gradient zero, and only `-inf` scores in
    `top_k`; the other queries raise.

    All queries are differentiable to any order where that makes sense, work under `torch.no_grad()` and
    `torch.inference_mode()`, and take $O(T S^2)$ time per row. Half precisions are computed in float32.

    Args:
        unary: log-potentials (..., T, S), finite or `-inf`; any number of batch dimensions.
        pairwise: log-potentials (S, S) or (..., T-1, S, S), from row (state at t-1) to column (state at t);
            entry k enters element k+1. (..., 1, S, S) is a table for all steps. Batch dimensions broadcast against
            those of `unary`.
        lengths: how many elements exist at the front of each row, integers (...).
        mask: which elements exist, bool (..., T).
        start, end: log-potentials (S,) or (..., S) of the first and of the last element that exists in each row, added
            to theirs: the start and end scores of a tagger, or `-inf` where a sequence may not begin or end.

    Attributes:
        batch_shape: the batch dimensions of `unary` and `pairwise`, broadcast.
        length: T.
        states: S.

    Raises:
        ShapeError: the shapes do not fit.
        GraftError: a potential in use is NaN or `+inf`, a length is outside 0..T, a type is wrong, or both
            `lengths` and `mask` are given.
        ImpossibleEvidence: raised by `marginals`, `pair_marginals`, `expected_counts`, `mode`, `sample`,
            `entropy` and `kl` if there are rows of probability zero; it names them.

    Source: Lafferty, McCallum and Pereira, *Conditional random fields* (2001), section 3.

    Example:
        >>> coin = LinearChain(torch.zeros(3, 2), torch.tensor([[0.0, NEG_INF], [0.0, 0.0]]))
        >>> coin.log_partition.exp()  # four sequences never go from 0 to 1
        tensor(4.)
        >>> coin.marginals[:, 1]
        tensor([0.7500, 0.5000, 0.2500])
        >>> LinearChain(torch.zeros(3, 2), torch.zeros(2, 2), end=torch.tensor([NEG_INF, 0.0])).marginals[:, 1]
        tensor([0.5000, 0.5000, 1.0000])
    """

    def __repr__(self) -> str:
        batch = tuple(self.batch_shape)
        return f"LinearChain(batch_shape={batch}, length={self.length}, states={self.states})"

    @property
    def log_partition(self) -> Float[Tensor, "*batch"]:
        r"""The log-normaliser $\log Z$ (...), by the forward algorithm; 0 for an empty row.

        Example:
            >>> LinearChain(torch.zeros(4, 3), torch.zeros(3, 3)).log_partition.exp()
            tensor(81.0000)
        """
        found = log_z(self._unary, self._tables, self._lengths)
        return found if len(self.batch_shape) == 1 else found.reshape(self.batch_shape)

    @property
    def marginals(self) -> Float[Tensor, "*batch t s"]:
        r"""The probability $p(y_t = j) = \partial \log Z / \partial u_t(j)$ of each state (..., T, S).

        Raises:
            ImpossibleEvidence: some rows have probability zero.

        Example:
            >>> LinearChain(torch.tensor([[0.0, NEG_INF], [0.0, 0.0]]), torch.zeros(2, 2)).marginals
            tensor([[1.0000, 0.0000],
                    [0.5000, 0.5000]])
        """
        if self._by_torch:
            found = log_normalize(self._forward().values + self._backward().values, -1).exp()
        else:
            found, score = marginals(self._unary, self._pairwise, self._lengths)
            refuse_impossible(score, self.batch_shape)
            if self._existence.order is None:  # the kernel gives 0 beyond lengths
                return self._by_row(found[:, : self.length])
        found = found.masked_fill(~self._existence.alive[:, :, None], 0.0)
        return self._by_row(self._existence.restore(found))

    @property
    def pair_marginals(self) -> Float[Tensor, "*batch pairs s s"]:
        r"""The probability $p(y_{t-1} = i, y_t = j)$ of each pair of neighbours (..., T-1, S, S).

        Entry k belongs to the pair that ends in element k+1, as in `pairwise`; it is zero if that element is
        removed or the first of its row. It is the derivative of $\log Z$ by the pairwise potential.

        Raises:
            ImpossibleEvidence: some rows have probability zero.

        Example:
            >>> LinearChain(torch.zeros(2, 2), torch.tensor([[0.0, NEG_INF], [NEG_INF, 0.0]])).pair_marginals
            tensor([[[0.5000, 0.0000],
                     [0.0000, 0.5000]]])
        """
        if self._by_torch:
            log_pairs = self._forward().values[:, :-1, :, None] + self._onward(self._backward())
            found = log_normalize(log_pairs, (-2, -1)).exp()
        else:
            found, score = pair_marginals(self._unary, self._pairwise, self._lengths)
            refuse_impossible(score, self.batch_shape)
        found = found.masked_fill(~self._existence.alive[:, 1:, None, None], 0.0)
        return self._by_row(self._existence.restore_steps(found))

    @property
    def expected_counts(self) -> Float[Tensor, "*batch s s"]:
        r"""How often each transition is expected, $\sum_t p(y_{t-1} = i, y_t = j)$ (..., S, S).

        Where all steps share a table it takes no more memory than the messages, and it is the derivative of $\log Z$ by
        the table.

        Raises:
            ImpossibleEvidence: some rows have probability zero.

        Example:
            >>> LinearChain(torch.zeros(9, 2), torch.zeros(2, 2)).expected_counts
            tensor([[2., 2.],
                    [2., 2.]])
        """
        if self._pairwise.shape[1] != 1:
            return self.pair_marginals.sum(-3)
        counts, score = expected_counts(self._unary, self._pairwise, self._lengths)
        refuse_impossible(score, self.batch_shape)
        return self._by_row(counts)

    def entropy(self) -> Float[Tensor, "*batch"]:
        r"""The entropy $-\sum_y p(y) \log p(y)$ (...), in nats.

        Where it is differentiated, or potentials are so large that a difference from $\log Z$ would lose its digits, it
        is summed from conditional entropies, $H(y_1) + \sum_t H(y_t \mid y_{t-1})$, none of which is negative.

        Raises:
            ImpossibleEvidence: some rows have probability zero.

        Example:
            >>> LinearChain(torch.zeros(3, 2), torch.zeros(2, 2)).entropy()  # three fair coins: 3 log 2
            tensor(2.0794)
        """
        if (found := self._moments()) is not None and (exact := entropy(found)) is not None:
            return exact.to(self._unary.dtype).reshape(self.batch_shape)
        log_marginals, onward = self._conditionals()
        first = _entropy(log_marginals[:, 0]).masked_fill(self._lengths == 0, 0.0)
        later = (log_marginals[:, :-1].exp() * _entropy(onward)).sum(-1)
        total = first + later.masked_fill(~self._existence.alive[:, 1:], 0.0).sum(-1)
        return total.reshape(self.batch_shape)

    def kl(self, other: LinearChain) -> Float[Tensor, "*batch"]:
        r"""The divergence $\sum_y p(y) \log (p(y) / q(y))$ from this chain to another (...), in nats.

        Summed from divergences of conditionals, as `entropy` is, none of which is negative; infinite where `other`
        forbids what is possible here.

        Raises:
            GraftError: the other is no chain over the same elements and states.
            ImpossibleEvidence: some rows of either have probability zero.

        Example:
            >>> fair = LinearChain(torch.zeros(3, 2), torch.zeros(2, 2))
            >>> fair.kl(LinearChain(torch.tensor([[0.0, 3.0]]).expand(3, 2), torch.zeros(2, 2)))
            tensor(2.5663)
        """
        if not isinstance(other, LinearChain) or other.states != self.states:
            raise GraftError(f"kl takes a chain of {self.states} states, not {other}")
        if not self._existence.same(other._existence):
            raise GraftError(f"kl takes a chain over the same elements: {self} and {other} differ in shape or lengths")
        mine, its = self._moments(other), other._moments(self)
        if mine is not None and its is not None and (exact := divergence(mine, its)) is not None:
            return exact.to(torch.promote_types(self._unary.dtype, other._unary.dtype)).reshape(self.batch_shape)
        log_marginals, onward = self._conditionals()
        others, other_onward = other._conditionals()
        first = _divergence(log_marginals[:, 0], others[:, 0]).masked_fill(self._lengths == 0, 0.0)
        before = log_marginals[:, :-1].exp()
        # where a state is never left from, what would follow it does not count
        never = (before == 0) | ~self._existence.alive[:, 1:, None]
        later = before * _divergence(onward, other_onward).masked_fill(never, 0.0)
        return (first + later.sum((-2, -1))).reshape(self.batch_shape)

    def mode(self) -> Int[Tensor, "*batch t"]:
        """A sequence of the highest probability (..., T), by the Viterbi algorithm.

        Raises:
            ImpossibleEvidence: some rows have probability zero.

        Example:
            >>> LinearChain(torch.tensor([[0.0, 1.0], [3.0, 0.0]]), torch.zeros(2, 2)).mode()
            tensor([1, 0])
        """
        states, score = best_paths(self._unary, self._pairwise, self._lengths)
        refuse_impossible(score, self.batch_shape)
        return self._existence.restore_states(states).reshape(*self.batch_shape, self.length)

    def top_k(self, k: Any) -> tuple[Int[Tensor, "k *batch t"], Float[Tensor, " k *batch"]]:
        """The k most probable sequences (k, ..., T), best first, all distinct, and their scores (k, ...).

        Scores are those of `score`, differentiable; subtract `log_partition` for log-probabilities. Where
        fewer than k sequences are possible, the missing ones have the score `-inf` and states 0.

        Raises:
            GraftError: k is not a positive integer.

        Example:
            >>> states, scores = LinearChain(torch.tensor([[0.0, 1.0]]), torch.zeros(2, 2)).top_k(3)
            >>> states[:, 0].tolist(), scores.tolist()
            ([1, 0, 0], [1.0, 0.0, -inf])
        """
        k = positive(k, "top_k")
        found, top = best_lists(self._unary, self._pairwise, self._lengths, k)
        missing = top == NEG_INF
        states = self._existence.restore_states(found.masked_fill(missing[..., None], 0))
        states = states.reshape(k, *self.batch_shape, self.length)
        scores = self.score(states).masked_fill(missing.reshape(k, *self.batch_shape), NEG_INF)
        # sorted once more, as these sums may be rounded otherwise than those of the sweep
        order = scores.detach().argsort(dim=0, descending=True, stable=True)
        return states.take_along_dim(order[..., None], 0), scores.gather(0, order)

    def sample(self, shape: Any = (), generator: torch.Generator | None = None) -> Int[Tensor, "*shape_batch t"]:
        """Independent exact draws, of shape `shape` + (..., T), by filtering forward and sampling backward.

        Args:
            shape: how many draws.
            generator: the source of randomness; torch's global one if none is given.

        Raises:
            ImpossibleEvidence: some rows have probability zero.

        Example:
            >>> LinearChain(torch.zeros(3, 5, 2), torch.zeros(2, 2)).sample((10,)).shape
            torch.Size([10, 3, 5])
        """
        shape = draws_shape(shape)
        states, score = draws(self._unary, self._pairwise, self._lengths, prod(shape), generator)
        refuse_impossible(score, self.batch_shape)
        return self._existence.restore_states(states).reshape(*shape, *self.batch_shape, self.length)

    def score(self, states: Shaped[Tensor, " ..."]) -> Float[Tensor, "*sample_batch"]:
        r"""The unnormalised log-probability of sequences, $\sum_t u_t(y_t) + \sum_{t > 1} w_t(y_{t-1}, y_t)$.

        Args:
            states: integers (..., T), broadcast against the batch; extra dimensions may lead. Anything may
                stand at removed elements, such as -100.

        Raises:
            ShapeError: the last dimension is not T, or the others do not broadcast with the batch.
            GraftError: the type is not an integer one, or a state of an existing element is outside 0..S-1.

        Example:
            >>> LinearChain(torch.tensor([[0.0, 1.0], [3.0, 0.0]]), torch.eye(2)).score(torch.tensor([0, 0]))
            tensor(4.)
        """
        states = self._compact_states(states)
        alive = self._by_row(self._existence.alive)
        rows = torch.arange(self._rows, device=states.device).reshape(*self.batch_shape, 1)
        time = torch.arange(states.shape[-1], device=states.device)
        nodes = self._unary[rows, time, states].masked_fill(~alive, 0.0)
        entry = rows.clamp_max(self._pairwise.shape[0] - 1)
        step = time[:-1].clamp_max(max(self._pairwise.shape[1] - 1, 0))
        edges = self._pairwise[entry, step, states[..., :-1], states[..., 1:]]
        total = nodes.sum(-1) + edges.masked_fill(~alive[..., 1:], 0.0).sum(-1)
        return total.masked_fill(total == NEG_INF, NEG_INF)  # cuts the gradient of what is forbidden

    def log_prob(self, states: Shaped[Tensor, " ..."]) -> Float[Tensor, "*sample_batch"]:
        r"""The log-probability of sequences, $\log p(y)$: `score` less `log_partition`.

        A forbidden sequence has `-inf`, with gradient zero, and so has any in a row of probability zero.
        Arguments and errors are those of `score`.

        Example:
            >>> LinearChain(torch.zeros(3, 2), torch.zeros(2, 2)).log_prob(torch.tensor([0, 1, 0])).exp()
            tensor(0.1250)
        """
        score = self.score(states)
        possible = score > NEG_INF
        normaliser = self.log_partition.expand_as(score)
        return torch.where(possible, score - normaliser.where(possible, 0.0), NEG_INF)


def _entropy(log_p: Float[Tensor, "*shape s"]) -> Float[Tensor, "*shape"]:
    return -safe_mul(log_p.exp(), log_p).sum(-1)


def _divergence(log_p: Float[Tensor, "*shape s"], log_q: Float[Tensor, "*shape s"]) -> Float[Tensor, "*shape"]:
    p = log_p.exp()
    return (safe_mul(p, log_p) - safe_mul(p, log_q)).sum(-1)

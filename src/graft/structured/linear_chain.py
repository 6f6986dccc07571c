"""Distributions over sequences of states in which neighbours interact: `LinearChain`."""

from __future__ import annotations

from math import prod

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import pad

from graft.errors import GraftError, ImpossibleEvidence, ShapeError
from graft.ops import chain
from graft.ops.chain_gradient import log_z
from graft.ops.logspace import NEG_INF, log_normalize, safe_mul


class LinearChain:
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
            entry k enters element k+1. Batch dimensions broadcast against those of `unary`.
        lengths: how many elements exist at the front of each row, integers (...).
        mask: which elements exist, bool (..., T).

    Attributes:
        batch_shape: the batch dimensions of `unary` and `pairwise`, broadcast.
        length: T.
        states: S.

    Raises:
        ShapeError: the shapes do not fit.
        GraftError: a potential in use is NaN or `+inf`, a length is outside 0..T, a type is wrong, or both
            `lengths` and `mask` are given.
        ImpossibleEvidence: raised by `marginals`, `pair_marginals`, `mode`, `sample` and `entropy` if there
            are rows of probability zero; it names them.

    Source: Lafferty, McCallum and Pereira, *Conditional random fields* (2001), section 3.

    Example:
        >>> coin = LinearChain(torch.zeros(3, 2), torch.tensor([[0.0, NEG_INF], [0.0, 0.0]]))
        >>> coin.log_partition.exp()  # four sequences never go from 0 to 1
        tensor(4.)
        >>> coin.marginals[:, 1]
        tensor([0.7500, 0.5000, 0.2500])
    """

    # The arguments are annotated loosely so that the checks below, which name the rule, see every mistake.
    def __init__(
        self,
        unary: Shaped[Tensor, " ..."],
        pairwise: Shaped[Tensor, " ..."],
        lengths: Shaped[Tensor, " ..."] | None = None,
        mask: Shaped[Tensor, " ..."] | None = None,
    ) -> None:
        self.batch_shape = _batch_shape(unary, pairwise)
        self.length, self.states = unary.shape[-2:]
        self._rows = prod(self.batch_shape)
        self._exists = self._existence(lengths, mask, unary.device)
        self._lengths = self._exists.sum(-1)
        self._order = _order(self._exists, self._lengths)
        dtype = torch.promote_types(torch.promote_types(unary.dtype, pairwise.dtype), torch.float32)
        self._unary = self._compact_unary(unary.to(dtype))
        self._pairwise = self._compact_pairwise(pairwise.to(dtype))

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
        return log_z(self._unary, self._pairwise, self._lengths).reshape(self.batch_shape)

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
        alive = self._alive[:, :, None]
        compact = self._log_marginals(self._backward()).exp().masked_fill(~alive, 0.0)
        found = compact if self._order is None else compact.gather(1, _wide(self._place, compact))
        found = found.masked_fill(~self._exists[:, :, None], 0.0)
        return self._by_row(found[:, : self.length])

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
        alpha = self._possible_forward()
        log_pairs = alpha.values[:, :-1, :, None] + self._onward(self._backward())
        compact = log_normalize(log_pairs, (-2, -1)).exp()
        compact = compact.masked_fill(~self._alive[:, 1:, None, None], 0.0)
        if self._order is not None:
            before = (self._place[:, 1:] - 1).clamp_min(0)
            compact = compact.gather(1, _wide(before, compact))
            compact = compact.masked_fill(~self._entered[:, :, None, None], 0.0)
        return self._by_row(compact)

    def entropy(self) -> Float[Tensor, "*batch"]:
        r"""The entropy $-\sum_y p(y) \log p(y)$ (...), in nats.

        It is summed from conditional entropies, $H(y_1) + \sum_t H(y_t \mid y_{t-1})$, none of which is
        negative; a difference from $\log Z$ would lose its digits when potentials are large.

        Raises:
            ImpossibleEvidence: some rows have probability zero.

        Example:
            >>> LinearChain(torch.zeros(3, 2), torch.zeros(2, 2)).entropy()  # three fair coins: 3 log 2
            tensor(2.0794)
        """
        beta = self._backward()
        log_marginals = self._log_marginals(beta)
        first = _entropy(log_marginals[:, 0])
        onward = _entropy(log_normalize(self._onward(beta), -1))
        onward = (log_marginals[:, :-1].exp() * onward).sum(-1).masked_fill(~self._alive[:, 1:], 0.0)
        total = first.masked_fill(self._lengths == 0, 0.0) + onward.sum(-1)
        return total.reshape(self.batch_shape)

    def mode(self) -> Int[Tensor, "*batch t"]:
        """A sequence of the highest probability (..., T), by the Viterbi algorithm.

        Raises:
            ImpossibleEvidence: some rows have probability zero.

        Example:
            >>> LinearChain(torch.tensor([[0.0, 1.0], [3.0, 0.0]]), torch.zeros(2, 2)).mode()
            tensor([1, 0])
        """
        states, score = chain.viterbi(self._unary.detach(), self._pairwise.detach(), self._lengths)
        self._refuse_impossible(score)
        return self._restore(states).reshape(*self.batch_shape, self.length)

    def top_k(self, k: int) -> tuple[Int[Tensor, "k *batch t"], Float[Tensor, " k *batch"]]:
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
        if not isinstance(k, int) or k < 1:
            raise GraftError(f"top_k takes a positive integer, not {k!r}")
        found, top = chain.k_best(self._unary.detach(), self._pairwise.detach(), self._lengths, k)
        missing = top == NEG_INF
        states = self._restore(found.masked_fill(missing[..., None], 0))
        states = states.reshape(k, *self.batch_shape, self.length)
        scores = self.score(states).masked_fill(missing.reshape(k, *self.batch_shape), NEG_INF)
        # sorted once more, as these sums may be rounded otherwise than those of the sweep
        order = scores.detach().argsort(dim=0, descending=True, stable=True)
        return states.take_along_dim(order[..., None], 0), scores.gather(0, order)

    def sample(
        self, shape: int | tuple[int, ...] = (), generator: torch.Generator | None = None
    ) -> Int[Tensor, "*shape_batch t"]:
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
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        with torch.no_grad():
            alpha = self._possible_forward().values
            states = chain.sample_backward(alpha, self._pairwise, self._lengths, prod(shape), generator)
        return self._restore(states).reshape(*shape, *self.batch_shape, self.length)

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
        alive = self._by_row(self._alive)
        rows = torch.arange(self._rows, device=states.device).reshape(*self.batch_shape, 1)
        time = torch.arange(states.shape[-1], device=states.device)
        nodes = self._unary[rows, time, states].masked_fill(~alive, 0.0)
        entry = rows.clamp_max(self._pairwise.shape[0] - 1)
        edges = self._pairwise[entry, time[:-1], states[..., :-1], states[..., 1:]]
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

    # Inside, rows are flat and existing elements stand at the front, so that the kernels need lengths only.

    def _existence(self, lengths: Tensor | None, mask: Tensor | None, device: torch.device) -> Bool[Tensor, "b t"]:
        """Which elements exist, in the caller's order; without elements there is one that does not exist."""
        if lengths is not None and mask is not None:
            raise GraftError("give lengths or mask, not both")
        if mask is None:
            time = torch.arange(self.length, device=device)
            mask = time < self._check_lengths(lengths, device)[..., None]
        if mask.dtype != torch.bool:
            raise GraftError(f"mask must be bool, not {mask.dtype}")
        mask = _expand(mask, (*self.batch_shape, self.length), "mask", "(..., T)")
        mask = mask.to(device).reshape(self._rows, self.length)
        return pad(mask, (0, 1 if self.length == 0 else 0))

    def _check_lengths(self, lengths: Tensor | None, device: torch.device) -> Tensor:
        if lengths is None:
            return torch.full(self.batch_shape, self.length, device=device)
        _refuse_non_integers(lengths, "lengths")
        lengths = _expand(lengths.to(device), self.batch_shape, "lengths", "the batch dimensions")
        if bool(((lengths < 0) | (lengths > self.length)).any()):
            raise GraftError(f"lengths must be in 0..{self.length}, not {_range(lengths)}")
        return lengths

    def _compact_unary(self, unary: Tensor) -> Float[Tensor, "b t s"]:
        unary = unary.expand(*self.batch_shape, self.length, self.states)
        unary = unary.reshape(self._rows, self.length, self.states)
        unary = pad(unary, (0, 0, 0, self._exists.shape[1] - self.length))
        unary = torch.where(self._exists[:, :, None], unary, 0.0)
        self._refuse_unusable(unary, "unary")
        return unary if self._order is None else unary.gather(1, _wide(self._order, unary))

    def _compact_pairwise(self, pairwise: Tensor) -> Float[Tensor, "#b pairs s s"]:
        pairs = self._exists.shape[1] - 1
        if pairwise.dim() == 2:
            self._refuse_unusable(pairwise, "pairwise")
            return pairwise.expand(1, pairs, -1, -1)
        own = 1 if prod(pairwise.shape[:-3]) == 1 else self._rows
        if own > 1:
            pairwise = pairwise.expand(*self.batch_shape, -1, -1, -1)
        pairwise = pairwise.reshape(own, pairs, self.states, self.states)
        used = self._entered if own == self._rows else self._entered.any(0, keepdim=True)
        pairwise = torch.where(used[:, :, None, None], pairwise, 0.0)
        self._refuse_unusable(pairwise, "pairwise")
        if self._order is None:
            return pairwise
        entry = (self._order[:, 1:] - 1).clamp_min(0)
        return pairwise.expand(self._rows, -1, -1, -1).gather(1, _wide(entry, pairwise))

    def _compact_states(self, states: Tensor) -> Int[Tensor, "*sample_batch t"]:
        _refuse_non_integers(states, "states")
        states = _expand_states(states, self.batch_shape, self.length)
        states = pad(states, (0, self._exists.shape[1] - self.length))
        states = torch.where(self._by_row(self._exists), states, 0).long()
        if bool(((states < 0) | (states >= self.states)).any()):
            raise GraftError(f"states must be in 0..{self.states - 1} at existing elements, not {_range(states)}")
        if self._order is None:
            return states
        return states.gather(-1, self._by_row(self._order).expand_as(states))

    def _restore(self, states: Int[Tensor, "*n b t"]) -> Int[Tensor, "*n b length"]:
        """Puts states back into the caller's order, 0 where nothing exists."""
        if self._order is not None:
            states = states.gather(-1, self._place.expand_as(states))
        return states.masked_fill(~self._exists, 0)[..., : self.length]

    def _by_row(self, x: Shaped[Tensor, " b *inner"]) -> Shaped[Tensor, " ..."]:
        return x.reshape(*self.batch_shape, *x.shape[1:])

    @property
    def _place(self) -> Int[Tensor, "b t"]:
        """Where each element of the caller's order stands among the compacted ones."""
        assert self._order is not None
        return self._order.argsort(-1)

    @property
    def _alive(self) -> Bool[Tensor, "b t"]:
        """Which of the compacted elements exist."""
        return torch.arange(self._exists.shape[1], device=self._exists.device) < self._lengths[:, None]

    @property
    def _entered(self) -> Bool[Tensor, "b pairs"]:
        """Which entries of `pairwise` enter an element that exists from an earlier one that does."""
        return self._exists[:, 1:] & (self._exists.cumsum(-1)[:, :-1] > 0)

    def _forward(self) -> chain.Messages:
        return chain.forward(self._unary, self._pairwise, self._lengths)

    def _possible_forward(self) -> chain.Messages:
        alpha = self._forward()
        self._refuse_impossible(chain.log_partition(alpha, self._lengths))
        return alpha

    def _backward(self) -> chain.Messages:
        return chain.backward(self._unary, self._pairwise, self._lengths)

    def _log_marginals(self, beta: chain.Messages) -> Float[Tensor, "b t s"]:
        return log_normalize(self._possible_forward().values + beta.values, -1)

    def _onward(self, beta: chain.Messages) -> Float[Tensor, "b pairs s s"]:
        """Log-weights of the next state given each state: those of the pair and of all that follows."""
        return self._pairwise + (self._unary + beta.values)[:, 1:, None, :]

    def _refuse_impossible(self, score: Float[Tensor, " b"]) -> None:
        dead = (score == NEG_INF).reshape(self.batch_shape)
        if bool(dead.any()):
            rows = [tuple(row) for row in dead.nonzero().tolist()]
            shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
            raise ImpossibleEvidence(f"every sequence has probability zero in batch rows {shown}", rows)

    def _refuse_unusable(self, x: Tensor, name: str) -> None:
        bad = x.isnan() | (x == -NEG_INF)
        if bool(bad.any()):
            first = bad.nonzero()[0].tolist()
            raise GraftError(
                f"{name} is NaN or +inf at existing elements, first at {first} (batch flattened);"
                " potentials are finite or -inf"
            )


def _batch_shape(unary: Tensor, pairwise: Tensor) -> torch.Size:
    rule = (
        f"unary {tuple(unary.shape)} and pairwise {tuple(pairwise.shape)} do not fit:"
        " unary is (..., T, S) with S >= 1, pairwise is (S, S) or (..., T-1, S, S)"
    )
    if not (unary.is_floating_point() and pairwise.is_floating_point()):
        raise GraftError(f"potentials must be real floating-point, not {unary.dtype} and {pairwise.dtype}")
    if unary.dim() < 2 or unary.shape[-1] == 0 or pairwise.dim() < 2:
        raise ShapeError(rule)
    length, states = unary.shape[-2:]
    core = (states, states) if pairwise.dim() == 2 else (max(length - 1, 0), states, states)
    if tuple(pairwise.shape[-3:]) != core:
        raise ShapeError(rule)
    try:
        return torch.broadcast_shapes(unary.shape[:-2], pairwise.shape[:-3])
    except RuntimeError as error:
        raise ShapeError(f"{rule}, with batch dimensions that broadcast") from error


def _order(exists: Bool[Tensor, "b t"], lengths: Int[Tensor, " b"]) -> Int[Tensor, "b t"] | None:
    """Existing elements first, otherwise in order; None if they stand so already."""
    if bool((exists == (torch.arange(exists.shape[1], device=exists.device) < lengths[:, None])).all()):
        return None
    return (~exists).to(torch.uint8).argsort(dim=-1, stable=True)


def _wide(index: Int[Tensor, "b n"], like: Tensor) -> Tensor:
    """The index, repeated along all further dimensions of `like`, as `gather` wants it."""
    inner = like.shape[2:]
    return index.reshape(*index.shape, *[1] * len(inner)).expand(-1, -1, *inner)


def _entropy(log_p: Float[Tensor, "*shape s"]) -> Float[Tensor, "*shape"]:
    return -safe_mul(log_p.exp(), log_p).sum(-1)


def _expand(x: Tensor, shape: tuple[int, ...], name: str, rule: str) -> Tensor:
    try:
        return x.expand(shape)
    except RuntimeError as error:
        message = f"{name} {tuple(x.shape)} does not fit: it is {rule}, here {tuple(shape)}"
        raise ShapeError(message) from error


def _expand_states(states: Tensor, batch: torch.Size, length: int) -> Tensor:
    rule = f"states {tuple(states.shape)} do not fit: they are (..., T) over a batch, here {(*batch, length)}"
    if states.dim() == 0 or states.shape[-1] != length:
        raise ShapeError(rule)
    try:
        return states.expand(*torch.broadcast_shapes(states.shape[:-1], batch), length)
    except RuntimeError as error:
        raise ShapeError(rule) from error


def _refuse_non_integers(x: Tensor, name: str) -> None:
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise GraftError(f"{name} must be integers, not {x.dtype}")


def _range(x: Tensor) -> str:
    return f"{int(x.min())}..{int(x.max())}"

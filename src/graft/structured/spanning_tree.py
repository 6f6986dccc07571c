"""Distributions over the spanning trees of directed graphs, such as non-projective dependency trees: `SpanningTree`."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from graft.errors import GraftError, ShapeError
from graft.ops.logspace import NEG_INF, safe_mul
from graft.ops.modes import differentiable, ordinary, plain
from graft.ops.spanning_tree_gradient import log_z
from graft.ops.spanning_tree_paths import mode, sample_heads
from graft.ops.tree import depths
from graft.structured.checks import (
    draws_shape,
    expand_states,
    integers_only,
    refuse_impossible,
    refuse_unusable,
    spread,
)
from graft.structured.existence import Existence

#: Probabilities below this may be what rounding left of zero.
_DUST = 1e-13


class SpanningTree:
    r"""A distribution over the trees that give every node a head, or make it a root.

    $$ p(h) = \frac{1}{Z} \exp \sum_n \begin{cases} a_{h(n), n} & \text{if } n \text{ has a head} \\
       r_n & \text{if it is a root} \end{cases} $$

    over all $h$ without cycles: non-projective dependency trees, where the head of a word is any other word. With
    `single_root` exactly one node is a root. A tree is given by its heads (..., N), -1 at roots: what `Tree` takes as
    `parents`.

    Sums are by the matrix-tree theorem, but not as a determinant: nodes are eliminated in log space and double
    precision without any subtraction, so log-potentials may be thousands apart. Marginals are derivatives of that,
    right to about 1e-12 absolutely. $O(N^3)$ time per row, in N steps for the whole batch; marginals and gradients take
    $O(N^3)$ memory.

    Nodes may be absent, by `lengths` or by a `mask`; what is given there may be anything. Potentials of `-inf` forbid
    arcs exactly. A row in which no tree is allowed has `log_partition` and `log_prob` of `-inf` with gradient zero; the
    other queries raise. A row without nodes has one tree, the empty one.

    Args:
        arcs: log-potentials (..., N, N), from row (the head) to column; the diagonal is not read.
        roots: log-potentials (..., N) of each node being a root.
        lengths: how many nodes exist at the front of each row, integers (...).
        mask: which nodes exist, bool (..., N).
        single_root: whether a tree has exactly one root.

    Attributes:
        batch_shape: the batch dimensions of `arcs` and `roots`, broadcast.
        size: N.
        single_root: as given.
        dtype: of all answers that are no integers.

    Raises:
        ShapeError: the shapes do not fit.
        GraftError: a potential in use is NaN or `+inf`, a length is outside 0..N, a type is wrong, or both
            `lengths` and `mask` are given.
        ImpossibleEvidence: raised by all queries but `log_partition`, `score` and `log_prob` if there are rows of
            probability zero; it names them.

    Source: Koo, Globerson, Carreras and Collins, *Structured prediction models via the matrix-tree theorem* (2007);
        Smith and Smith, *Probabilistic models of nonprojective dependency trees* (2007).

    Example:
        >>> SpanningTree(torch.zeros(3, 3), torch.zeros(3)).log_partition.exp()  # three nodes and a common root: 4²
        tensor(16.)
        >>> SpanningTree(torch.zeros(3, 3), torch.zeros(3), single_root=True).root_marginals
        tensor([0.3333, 0.3333, 0.3333])
    """

    def __init__(
        self,
        arcs: Shaped[Tensor, " ..."],
        roots: Shaped[Tensor, " ..."],
        lengths: Shaped[Tensor, " ..."] | None = None,
        mask: Shaped[Tensor, " ..."] | None = None,
        single_root: bool = False,
    ) -> None:
        self.batch_shape = _batch(arcs, roots)
        self.size, self.single_root = roots.shape[-1], single_root
        self.dtype = torch.promote_types(torch.promote_types(arcs.dtype, roots.dtype), torch.float32)
        existence = Existence(self.batch_shape, self.size, lengths, mask, arcs.device)
        self._rows = prod(self.batch_shape)
        self._exists: Bool[Tensor, "b n"] = existence.mask[:, : self.size]
        arcs = arcs.double().expand(*self.batch_shape, -1, -1).reshape(self._rows, self.size, self.size)
        roots = roots.double().expand(*self.batch_shape, -1).reshape(self._rows, self.size)
        loops = torch.eye(self.size, dtype=torch.bool, device=arcs.device)
        absent = ~self._exists
        self._arcs = arcs.masked_fill(loops | absent[:, :, None] | absent[:, None, :], NEG_INF)
        self._roots = roots.masked_fill(absent, NEG_INF)
        refuse_unusable(self._arcs, "arcs")
        refuse_unusable(self._roots, "roots")

    def __repr__(self) -> str:
        return f"SpanningTree(batch_shape={tuple(self.batch_shape)}, size={self.size}, single_root={self.single_root})"

    @property
    def log_partition(self) -> Float[Tensor, "*batch"]:
        r"""The log-normaliser $\log Z$ (...).

        Example:
            >>> SpanningTree(torch.zeros(4, 4), torch.zeros(4), single_root=True).log_partition.exp()  # 4³
            tensor(64.)
        """
        return self._log_z(self._arcs, self._roots).to(self.dtype).reshape(self.batch_shape)

    @property
    def marginals(self) -> Float[Tensor, "*batch n n"]:
        r"""The probability $\partial \log Z / \partial a_{hn}$ of each arc, from head (row) to node (..., N, N).

        Example:
            >>> SpanningTree(torch.zeros(2, 2), torch.zeros(2)).marginals
            tensor([[0.0000, 0.3333],
                    [0.3333, 0.0000]])
        """
        return self._probabilities()[0].to(self.dtype).reshape(*self.batch_shape, self.size, self.size)

    @property
    def root_marginals(self) -> Float[Tensor, "*batch n"]:
        """The probability of each node being a root (..., N).

        Example:
            >>> SpanningTree(torch.zeros(2, 2), torch.zeros(2)).root_marginals
            tensor([0.6667, 0.6667])
        """
        return self._probabilities()[1].to(self.dtype).reshape(*self.batch_shape, self.size)

    def entropy(self) -> Float[Tensor, "*batch"]:
        r"""The entropy (...), in nats: $\log Z$ less the expected score, both relative to each node's best head.

        Example:
            >>> SpanningTree(torch.zeros(3, 3), torch.zeros(3)).entropy().exp()
            tensor(16.)
        """
        by_arc, by_root = self._probabilities()
        arcs, roots = self._centred()
        expected = safe_mul(by_arc, arcs).sum((-2, -1)) + safe_mul(by_root, roots).sum(-1)
        found = self._log_z(arcs, roots) - expected
        return found.clamp_min(0).to(self.dtype).reshape(self.batch_shape)

    def kl(self, other: SpanningTree) -> Float[Tensor, "*batch"]:
        r"""The divergence $\sum_h p(h) \log (p(h) / q(h))$ to another such distribution (...), in nats.

        Infinite where `other` forbids what is possible here. Probabilities below 1e-13 count as zero for that.

        Raises:
            GraftError: the other is not over the same nodes, or only the other has a single root.
            ImpossibleEvidence: some rows of either have probability zero.

        Example:
            >>> fair = SpanningTree(torch.zeros(2, 2), torch.zeros(2))
            >>> fair.kl(SpanningTree(torch.zeros(2, 2), torch.tensor([3.0, 0.0])))
            tensor(0.6191)
        """
        if not isinstance(other, SpanningTree) or other.single_root != self.single_root:
            raise GraftError(f"kl takes trees of the same kind: {self} and {other} differ")
        if self.batch_shape != other.batch_shape or not torch.equal(self._exists, other._exists):
            raise GraftError(f"kl takes trees over the same nodes: {self} and {other} differ in shape or lengths")
        refuse_impossible(other._log_z(other._arcs, other._roots), self.batch_shape)
        mine, its = self._centred(), other._centred()
        total = other._log_z(*its) - self._log_z(*mine)
        for p, a, b in zip(self._probabilities(), mine, its, strict=True):
            p = p.masked_fill((b == NEG_INF) & (p < _DUST), 0.0).flatten(1)
            total = total + (safe_mul(p, a.flatten(1)) - safe_mul(p, b.flatten(1))).sum(-1)
        return total.clamp_min(0).to(self.dtype).reshape(self.batch_shape)

    def mode(self) -> Int[Tensor, "*batch n"]:
        """Heads of a tree of the highest probability (..., N), by contraction of cycles; row after row, on the CPU.

        Example:
            >>> SpanningTree(torch.tensor([[0.0, 9.0], [8.0, 0.0]]), torch.tensor([1.0, 3.0])).mode()
            tensor([ 1, -1])
        """
        arcs, roots, exists = (x.detach().cpu().numpy() for x in (self._arcs, self._roots, self._exists))
        found = [mode(a, r, e, self.single_root) for a, r, e in zip(arcs, roots, exists, strict=True)]
        dead = torch.tensor([heads is None for heads in found], dtype=torch.bool)
        refuse_impossible(torch.where(dead, NEG_INF, 0.0), self.batch_shape)
        heads = torch.from_numpy(np.array(found, np.int64).reshape(*self.batch_shape, self.size))
        return heads.to(self._arcs.device)

    def sample(self, shape: Any = (), generator: torch.Generator | None = None) -> Int[Tensor, "*shape_batch n"]:
        """Independent exact draws of heads, of shape `shape` + (..., N), in O(N⁴) time each.

        Args:
            shape: how many draws.
            generator: the source of randomness; torch's global one if none is given.

        Example:
            >>> SpanningTree(torch.zeros(5, 4, 4), torch.zeros(4)).sample((10,)).shape
            torch.Size([10, 5, 4])
        """
        shape = draws_shape(shape)
        refuse_impossible(self._log_z(self._arcs, self._roots), self.batch_shape)
        count = prod(shape)
        with ordinary():
            arcs, roots = (x.detach().repeat(count, *[1] * (x.dim() - 1)) for x in self._centred())
            exists = self._exists.repeat(count, 1)
        heads = sample_heads(arcs, roots, lambda a, r: log_z(a, r, exists, self.single_root), generator)
        return heads.reshape(*shape, *self.batch_shape, self.size)

    def score(self, heads: Shaped[Tensor, " ..."]) -> Float[Tensor, "*sample_batch"]:
        """The unnormalised log-probability of trees; `-inf` if a single root is asked for and there are more.

        Args:
            heads: integers (..., N), -1 at roots, broadcast against the batch; extra dimensions may lead. Anything may
                stand at absent nodes.

        Raises:
            ShapeError: the last dimension is not N, or the others do not broadcast with the batch.
            GraftError: the type is not an integer one, a head is outside -1..N-1 or absent, or heads form a cycle.

        Example:
            >>> arcs = torch.tensor([[0.0, 9.0], [8.0, 0.0]])
            >>> SpanningTree(arcs, torch.tensor([1.0, 3.0])).score(torch.tensor([-1, 0]))
            tensor(10.)
        """
        return self._score(self._heads(heads)).to(self.dtype)

    def log_prob(self, heads: Shaped[Tensor, " ..."]) -> Float[Tensor, "*sample_batch"]:
        """The log-probability of trees: `score` less `log_partition`.

        What is forbidden has `-inf`, with gradient zero, and so has anything in a row of probability zero.
        Arguments and errors are those of `score`.

        Example:
            >>> SpanningTree(torch.zeros(2, 2), torch.zeros(2)).log_prob(torch.tensor([-1, 0])).exp()
            tensor(0.3333)
        """
        score = self._score(self._heads(heads))
        possible = score > NEG_INF
        normaliser = self._log_z(self._arcs, self._roots).reshape(self.batch_shape).expand_as(score)
        return torch.where(possible, score - normaliser.where(possible, 0.0), NEG_INF).to(self.dtype)

    def _log_z(self, arcs: Tensor, roots: Tensor) -> Float[Tensor, " b"]:
        return log_z(plain(arcs), plain(roots), plain(self._exists), self.single_root)

    def _centred(self) -> tuple[Float[Tensor, "b n n"], Float[Tensor, "b n"]]:
        """Potentials relative to those of each node's best head, which only shifts all scores alike."""
        if self.size == 0:
            return self._arcs, self._roots
        top = torch.maximum(self._arcs.detach().amax(1), self._roots.detach())
        top = top.masked_fill(top == NEG_INF, 0.0)
        return self._arcs - top[:, None, :], self._roots - top

    def _probabilities(self) -> tuple[Float[Tensor, "b n n"], Float[Tensor, "b n"]]:
        """Probabilities of arcs and roots, of rows that are all possible."""
        with differentiable() as again:
            again = again and (self._arcs.requires_grad or self._roots.requires_grad)
            own = [plain(x) for x in self._centred()]
            own = [x if again and x.requires_grad else x.detach().clone().requires_grad_() for x in own]
            score = self._log_z(*own)
            refuse_impossible(score.detach(), self.batch_shape)
            arcs, roots = torch.autograd.grad(score.sum(), own, create_graph=again, materialize_grads=True)
        return arcs.clamp_min(0), roots.clamp_min(0)

    def _heads(self, heads: Tensor) -> Int[Tensor, "*sample_batch n"]:
        integers_only(heads, "heads")
        heads = expand_states(heads, self.batch_shape, self.size)
        exists = self._exists.reshape(*self.batch_shape, self.size).expand_as(heads)
        heads = torch.where(exists, heads, -1).long()
        if bool(((heads < -1) | (heads >= self.size)).any()):
            raise GraftError(f"heads must be in 0..{self.size - 1}, or -1 at roots, not {spread(heads)}")
        if bool(((heads >= 0) & ~exists.gather(-1, heads.clamp_min(0))).any()):
            raise GraftError("the head of an existing node does not exist")
        endless = depths(heads.reshape(prod(heads.shape[:-1]), self.size))[1].any(-1).reshape(heads.shape[:-1])
        if bool(endless.any()):
            raise GraftError(f"heads form a cycle in row {endless.nonzero()[0].tolist()}")
        return heads

    def _score(self, heads: Tensor) -> Float[Tensor, "*sample_batch"]:
        rows = torch.arange(self._rows, device=heads.device).reshape(*self.batch_shape, 1)
        node = torch.arange(self.size, device=heads.device)
        exists = self._exists.reshape(*self.batch_shape, self.size)
        root = heads < 0
        each = torch.where(root, self._roots[rows, node], self._arcs[rows, heads.clamp_min(0), node])
        total = each.masked_fill(~exists, 0.0).sum(-1)
        if self.single_root:
            total = total.masked_fill((root & exists).sum(-1) > 1, NEG_INF)
        return total.masked_fill(total == NEG_INF, NEG_INF)  # cuts the gradient of what is forbidden


def _batch(arcs: Tensor, roots: Tensor) -> tuple[int, ...]:
    if not (arcs.is_floating_point() and roots.is_floating_point()):
        raise GraftError(f"potentials must be real floating-point, not {arcs.dtype} and {roots.dtype}")
    misfit = ShapeError(
        f"arcs {tuple(arcs.shape)} and roots {tuple(roots.shape)} do not fit: arcs is (..., N, N) and roots (..., N),"
        " with batch dimensions that broadcast"
    )
    if arcs.dim() < 2 or roots.dim() < 1 or arcs.shape[-2:] != (roots.shape[-1], roots.shape[-1]):
        raise misfit
    try:
        return tuple(torch.broadcast_shapes(arcs.shape[:-2], roots.shape[:-1]))
    except RuntimeError as error:
        raise misfit from error

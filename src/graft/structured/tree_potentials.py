"""The potentials of a batch of trees, checked and flattened: what `Tree` computes with."""

from __future__ import annotations

from math import prod

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from graft.errors import GraftError, ShapeError
from graft.ops.chain import rescale
from graft.ops.logspace import NEG_INF
from graft.ops.tree import Beliefs, Levels, Potentials, depths, levels, log_partition, upward
from graft.structured.checks import (
    expand,
    expand_states,
    integers_only,
    refuse_impossible,
    refuse_unusable,
    spread,
    usable,
)
from graft.structured.existence import Existence


class TreePotentials:
    """Potentials with one flat batch dimension, in double precision, and the nodes sorted by depth.

    A node that does not exist is a root with one possible state. Arguments and errors are those of `Tree`.

    Attributes:
        batch_shape: the batch dimensions.
        size: N.
        states: S.
        dtype: of all answers that are no integers.
    """

    def __init__(
        self,
        unary: Shaped[Tensor, " ..."],
        pairwise: Shaped[Tensor, " ..."],
        parents: Shaped[Tensor, " ..."],
        lengths: Shaped[Tensor, " ..."] | None = None,
        mask: Shaped[Tensor, " ..."] | None = None,
    ) -> None:
        if not (unary.is_floating_point() and pairwise.is_floating_point()):
            raise GraftError(f"potentials must be real floating-point, not {unary.dtype} and {pairwise.dtype}")
        integers_only(parents, "parents")
        self.dtype = torch.promote_types(torch.promote_types(unary.dtype, pairwise.dtype), torch.float32)
        self.batch_shape = _batch(unary, pairwise, parents)
        self.size, self.states = unary.shape[-2:]
        self._rows = prod(self.batch_shape)
        self._existence = Existence(self.batch_shape, self.size, lengths, mask, unary.device)
        self._exists: Bool[Tensor, "b n"] = self._existence.mask[:, : self.size]
        self._parents = self._checked_parents(parents.to(unary.device))
        depth, endless = depths(self._parents)
        self._refuse(endless.any(-1), "parents form a cycle")
        self._at: Levels = levels(self._parents, depth)
        # what all states have in common never meets the sums: large trees keep their digits
        lines, top = rescale(self._single(unary).flatten(0, 1))
        self._common: Float[Tensor, " b"] = top.reshape(self._rows, self.size).sum(1)
        centred = lines.reshape(self._rows, self.size, self.states)
        self._potentials = Potentials(centred, self._pair(pairwise))

    def _checked_parents(self, parents: Tensor) -> Int[Tensor, "b n"]:
        parents = expand(parents, (*self.batch_shape, self.size), "parents", "(..., N)").reshape(self._rows, self.size)
        parents = torch.where(self._exists, parents, -1).long()
        if bool(((parents < -1) | (parents >= self.size)).any()):
            raise GraftError(f"parents must be in 0..{self.size - 1}, or -1 at roots, not {spread(parents)}")
        orphan = (parents >= 0) & ~self._exists.gather(1, parents.clamp_min(0))
        self._refuse(orphan.any(-1), "the parent of an existing node does not exist")
        return parents

    def _refuse(self, rows: Bool[Tensor, " b"], rule: str) -> None:
        if bool(rows.any()):
            found = [tuple(row) for row in rows.reshape(self.batch_shape).nonzero().tolist()]
            shown = ", ".join(map(str, found[:8])) + (", ..." if len(found) > 8 else "")
            raise GraftError(f"{rule} in batch rows {shown}")

    def _single(self, unary: Tensor) -> Float[Tensor, "b n s"]:
        shape = (self._rows, self.size, self.states)
        unary = unary.double().expand(*self.batch_shape, -1, -1).reshape(shape)
        absent = torch.full((self.states,), NEG_INF, dtype=unary.dtype, device=unary.device)
        absent[0] = 0.0
        unary = torch.where(self._exists[:, :, None], unary, absent)
        refuse_unusable(unary, "unary")
        return unary

    def _pair(self, pairwise: Tensor) -> Float[Tensor, "#b #n s s"]:
        x = pairwise.double()
        x = x if x.dim() > 2 else x[None]
        own = 1 if prod(x.shape[:-3]) == 1 else self._rows
        x = (x if own == 1 else x.expand(*self.batch_shape, -1, -1, -1)).reshape(own, *x.shape[-3:])
        if x.shape[1] == 0:
            return x.new_zeros(1, 1, self.states, self.states)
        if x.shape[1] > 1 and not usable(x):
            used = self._parents >= 0
            used = used if own == self._rows else used.any(0, keepdim=True)
            x = torch.where(used[:, :, None, None], x, 0.0)
        refuse_unusable(x, "pairwise")
        return x

    def _states(self, states: Tensor) -> Int[Tensor, "*sample_batch n"]:
        integers_only(states, "states")
        states = expand_states(states, self.batch_shape, self.size)
        states = torch.where(self._exists.reshape(*self.batch_shape, self.size), states, 0).long()
        if bool(((states < 0) | (states >= self.states)).any()):
            raise GraftError(f"states must be in 0..{self.states - 1} at existing nodes, not {spread(states)}")
        return states

    def _beliefs(self) -> Beliefs:
        """Upward messages of rows that are all possible."""
        found = upward(self._potentials, self._at)
        refuse_impossible(log_partition(found, self._at), self.batch_shape)
        return found


def _batch(unary: Tensor, pairwise: Tensor, parents: Tensor) -> tuple[int, ...]:
    shapes = [tuple(x.shape) for x in (unary, pairwise, parents)]
    misfit = ShapeError(
        f"unary {shapes[0]}, pairwise {shapes[1]} and parents {shapes[2]} do not fit: unary is (..., N, S) with S >= 1,"
        " pairwise is (S, S) or (..., N, S, S) or (..., 1, S, S), parents is (..., N), and batch dimensions broadcast"
    )
    if unary.dim() < 2 or unary.shape[-1] == 0 or pairwise.dim() < 2 or parents.dim() < 1:
        raise misfit
    size, states = unary.shape[-2:]
    table = pairwise.dim() == 2 or pairwise.shape[-3] in (1, size)
    if not table or pairwise.shape[-2:] != (states, states) or parents.shape[-1] != size:
        raise misfit
    try:
        return tuple(torch.broadcast_shapes(unary.shape[:-2], pairwise.shape[:-3], parents.shape[:-1]))
    except RuntimeError as error:
        raise misfit from error

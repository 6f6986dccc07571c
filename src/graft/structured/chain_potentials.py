"""The potentials of a batch of chains, checked, flattened and compacted: what `LinearChain` computes with."""

from __future__ import annotations

from functools import cached_property
from math import prod

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn.functional import pad

from graft.errors import GraftError
from graft.ops import chain
from graft.ops.chain_entropy import Moments, moments
from graft.ops.chain_kernels import chosen
from graft.ops.logspace import log_normalize
from graft.structured.checks import (
    chain_batch,
    expand,
    expand_states,
    integers_only,
    refuse_impossible,
    refuse_unusable,
    spread,
    usable,
)
from graft.structured.existence import Existence


class ChainPotentials:
    """Potentials with one flat batch dimension, existing elements at the front of each row.

    Arguments and errors are those of `LinearChain`. They are annotated loosely so that the checks, which name the rule,
    see every mistake.

    Attributes:
        batch_shape: the batch dimensions.
        length: T.
        states: S.
    """

    def __init__(
        self,
        unary: Shaped[Tensor, " ..."],
        pairwise: Shaped[Tensor, " ..."],
        lengths: Shaped[Tensor, " ..."] | None = None,
        mask: Shaped[Tensor, " ..."] | None = None,
        *,
        start: Shaped[Tensor, " ..."] | None = None,
        end: Shaped[Tensor, " ..."] | None = None,
    ) -> None:
        self.batch_shape = chain_batch(unary, pairwise)
        self.length, self.states = unary.shape[-2:]
        self._rows = prod(self.batch_shape)
        self._existence = Existence(self.batch_shape, self.length, lengths, mask, unary.device)
        self._lengths = self._existence.lengths
        if unary.dtype != pairwise.dtype or unary.dtype.itemsize < 4:
            dtype = torch.promote_types(torch.promote_types(unary.dtype, pairwise.dtype), torch.float32)
            unary, pairwise = unary.to(dtype), pairwise.to(dtype)
        self._unary = self._with_ends(self._compact_unary(unary), start, end)
        #: (S, S) or (b or 1, T-1 or 1, S, S)
        self._tables = self._compact_pairwise(pairwise)

    def _compact_unary(self, unary: Tensor) -> Float[Tensor, "b t s"]:
        shape = (self._rows, self.length, self.states)
        if unary.shape != shape:  # views cost little, but more than small chains do
            unary = unary.expand(*self.batch_shape, self.length, self.states).reshape(shape)
        if self.length == 0:
            return pad(unary, (0, 0, 0, 1))
        if not usable(unary):
            # what is removed may hold anything; only then is it worth a copy to replace it
            unary = torch.where(self._existence.mask[:, :, None], unary, 0.0)
            refuse_unusable(unary, "unary")
        return self._existence.compact(unary)

    def _with_ends(self, unary: Tensor, start: Tensor | None, end: Tensor | None) -> Float[Tensor, "b t s"]:
        """Adds the scores of the first and of the last element that exists in each row."""
        if start is None and end is None:
            return unary
        for scores, name, place in ((start, "start", torch.zeros_like(self._lengths)), (end, "end", self._lengths - 1)):
            if scores is None:
                continue
            if not scores.is_floating_point():
                raise GraftError(f"{name} must be real floating-point, not {scores.dtype}")
            scores = expand(scores, (*self.batch_shape, self.states), name, "(S,) or (..., S), scores of states")
            if not usable(scores):
                empty = (self._lengths == 0).reshape(*self.batch_shape, 1)
                scores = scores.masked_fill(empty, 0.0)
                refuse_unusable(scores, name)
            there = torch.arange(unary.shape[1], device=unary.device) == place[:, None]
            own = scores.reshape(self._rows, 1, self.states).to(unary.dtype)
            unary = unary + torch.where(there[:, :, None], own, 0.0)
        return unary

    @cached_property
    def _pairwise(self) -> Float[Tensor, "#b pairs s s"]:
        """One table for all steps is one: (b or 1, T-1 or 1, S, S)."""
        return self._tables if self._tables.dim() == 4 else self._tables.reshape(1, 1, *self._tables.shape)

    def _compact_pairwise(self, pairwise: Tensor) -> Float[Tensor, "*pairs s s"]:
        """One table for all steps stays one."""
        if pairwise.dim() == 2:
            refuse_unusable(pairwise, "pairwise")
            return pairwise
        own = 1 if prod(pairwise.shape[:-3]) == 1 else self._rows
        if own > 1:
            pairwise = pairwise.expand(*self.batch_shape, -1, -1, -1)
        steps = self._existence.slots - 1
        table = pairwise.shape[-3] != steps
        pairwise = pairwise.reshape(own, 1 if table else steps, self.states, self.states)
        if table:
            refuse_unusable(pairwise, "pairwise")
            return pairwise
        if not usable(pairwise):
            entered = self._existence.entered
            used = entered if own == self._rows else entered.any(0, keepdim=True)
            pairwise = torch.where(used[:, :, None, None], pairwise, 0.0)
            refuse_unusable(pairwise, "pairwise")
        return self._existence.compact_steps(pairwise)

    def _compact_states(self, states: Tensor) -> Int[Tensor, "*sample_batch t"]:
        integers_only(states, "states")
        states = expand_states(states, self.batch_shape, self.length)
        states = pad(states, (0, self._existence.slots - self.length))
        states = torch.where(self._by_row(self._existence.mask), states, 0).long()
        if bool(((states < 0) | (states >= self.states)).any()):
            raise GraftError(f"states must be in 0..{self.states - 1} at existing elements, not {spread(states)}")
        order = self._existence.order
        return states if order is None else states.gather(-1, self._by_row(order).expand_as(states))

    @property
    def _differentiable(self) -> bool:
        """Whether an answer may be differentiated."""
        return torch.is_grad_enabled() and (self._unary.requires_grad or self._tables.requires_grad)

    @property
    def _by_torch(self) -> bool:
        """Whether an answer is made of operations that autograd knows."""
        return self._differentiable or chosen(self._unary, self._pairwise) == "torch"

    def _moments(self, other: ChainPotentials | None = None) -> Moments | None:
        """What entropies are made of, if compiled kernels serve; refuses rows of probability zero."""
        if self._by_torch or (other is not None and other._by_torch):
            return None
        found = moments(self._unary, self._pairwise, self._lengths)
        refuse_impossible(found.log_z, self.batch_shape)
        return found

    def _by_row(self, x: Shaped[Tensor, " b *inner"]) -> Shaped[Tensor, " ..."]:
        return x.reshape(*self.batch_shape, *x.shape[1:])

    def _steps(self) -> Float[Tensor, "#b pairs s s"]:
        """The pairwise potentials with their steps written out."""
        pairs = self._existence.slots - 1
        return self._pairwise[:, :0] if pairs == 0 else self._pairwise.expand(-1, pairs, -1, -1)

    def _forward(self) -> chain.Messages:
        """Forward messages of rows that are all possible."""
        alpha = chain.forward(self._unary, self._steps(), self._lengths)
        refuse_impossible(chain.log_partition(alpha, self._lengths), self.batch_shape)
        return alpha

    def _backward(self) -> chain.Messages:
        return chain.backward(self._unary, self._steps(), self._lengths)

    def _onward(self, beta: chain.Messages) -> Float[Tensor, "b pairs s s"]:
        """Log-weights of the next state given each state: those of the pair and of all that follows."""
        return self._steps() + (self._unary + beta.values)[:, 1:, None, :]

    def _conditionals(self) -> tuple[Float[Tensor, "b t s"], Float[Tensor, "b pairs s s"]]:
        """Logarithms of the marginals and of the probabilities of each next state."""
        beta = self._backward()
        return log_normalize(self._forward().values + beta.values, -1), log_normalize(self._onward(beta), -1)

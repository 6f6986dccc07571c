"""Which elements of a batch of sequences exist, and how to move those that do to the front and back."""

from __future__ import annotations

from functools import cached_property
from math import prod

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor
from torch.nn.functional import pad

from graft.errors import GraftError
from graft.structured.checks import expand, integers_only, spread


class Existence:
    """The elements that exist in each row of a flat batch.

    Kernels need lengths only: where there are holes, elements are moved to the front in order, *compacted*. A sequence
    without elements has one slot, in which nothing exists.

    Args:
        batch_shape: the batch dimensions.
        length: T.
        lengths: how many elements exist at the front, integers of the batch shape; all if neither is given.
        mask: which elements exist, bool (..., T).
        device: where the result lives.

    Attributes:
        lengths: (b), how many elements exist.
        order: (b, slots), where each compacted element stood; `None` if they stand at the front already.

    Raises:
        ShapeError: the shapes do not fit.
        GraftError: lengths are outside 0..T, a type is wrong, or both are given.
    """

    def __init__(
        self,
        batch_shape: tuple[int, ...],
        length: int,
        lengths: Tensor | None,
        mask: Tensor | None,
        device: torch.device,
    ) -> None:
        if lengths is not None and mask is not None:
            raise GraftError("give lengths or mask, not both")
        self.batch_shape, self.length, self.slots = batch_shape, length, max(length, 1)
        self.device, self.order = device, None
        if mask is None:
            found = self._checked(lengths)
            self.lengths: Int[Tensor, " b"] = found if found.dim() == 1 else found.reshape(-1)
            return
        if mask.dtype != torch.bool:
            raise GraftError(f"mask must be bool, not {mask.dtype}")
        mask = expand(mask, (*batch_shape, length), "mask", "(..., T)").to(device)
        self.mask = pad(mask.reshape(prod(batch_shape), length), (0, self.slots - length))
        self.lengths = self.mask.sum(-1)
        if not bool((self.mask == self.alive).all()):
            self.order = (~self.mask).to(torch.uint8).argsort(dim=-1, stable=True)

    def _checked(self, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            return torch.full(self.batch_shape, self.length, device=self.device)
        integers_only(lengths, "lengths")
        lengths = lengths if lengths.device == self.device else lengths.to(self.device)
        if lengths.shape != self.batch_shape:
            lengths = expand(lengths, self.batch_shape, "lengths", "the batch dimensions")
        if lengths.numel():
            low, high = _ends(lengths)
            if low < 0 or high > self.length:
                raise GraftError(f"lengths must be in 0..{self.length}, not {spread(lengths)}")
        return lengths.long()

    @cached_property
    def mask(self) -> Bool[Tensor, "b slots"]:
        """Which elements exist, in the caller's order."""
        return self.alive

    @property
    def alive(self) -> Bool[Tensor, "b slots"]:
        """Which of the compacted elements exist."""
        return torch.arange(self.slots, device=self.device) < self.lengths[:, None]

    @property
    def entered(self) -> Bool[Tensor, "b pairs"]:
        """Which steps enter an element that exists from an earlier one that does, in the caller's order."""
        return self.mask[:, 1:] & (self.mask.cumsum(-1)[:, :-1] > 0)

    @property
    def place(self) -> Int[Tensor, "b slots"]:
        """Where each element of the caller's order stands among the compacted ones."""
        assert self.order is not None
        return self.order.argsort(-1)

    def same(self, other: Existence) -> bool:
        """Whether the same elements exist."""
        here = (self.batch_shape, self.length) == (other.batch_shape, other.length)
        return here and bool((self.mask == other.mask).all())

    def compact(self, x: Shaped[Tensor, "b slots s"]) -> Shaped[Tensor, "b slots s"]:
        """Moves existing elements to the front."""
        return x if self.order is None else x.gather(1, wide(self.order, x))

    def compact_steps(self, x: Shaped[Tensor, "#b pairs s s"]) -> Shaped[Tensor, "#b pairs s s"]:
        """Moves steps to where they lead from one compacted element to the next."""
        if self.order is None or x.shape[1] == 0:
            return x
        entry = (self.order[:, 1:] - 1).clamp_min(0)
        return x.expand(len(entry), -1, -1, -1).gather(1, wide(entry, x))

    def restore(self, x: Shaped[Tensor, "b slots s"]) -> Shaped[Tensor, "b length s"]:
        """Undoes `compact`, with 0 where nothing exists."""
        x = x if self.order is None else x.gather(1, wide(self.place, x))
        return x.masked_fill(~self.mask[:, :, None], 0)[:, : self.length]

    def restore_steps(self, x: Shaped[Tensor, "b pairs s s"]) -> Shaped[Tensor, "b pairs s s"]:
        """Undoes `compact_steps`, with 0 where no element is entered."""
        if self.order is None:
            return x
        x = x.gather(1, wide((self.place[:, 1:] - 1).clamp_min(0), x))
        return x.masked_fill(~self.entered[:, :, None, None], 0.0)

    def restore_states(self, states: Int[Tensor, "*n b slots"]) -> Int[Tensor, "*n b length"]:
        """Puts states back into the caller's order, 0 where nothing exists."""
        if self.order is not None:
            states = states.gather(-1, self.place.expand_as(states))
        return states.masked_fill(~self.mask, 0)[..., : self.length]


def _ends(x: Shaped[Tensor, " ..."]) -> tuple[int, int]:
    """The least and the greatest of some integers; lists of a few are faster than tensors."""
    if x.dim() == 1 and x.shape[0] <= 64:
        few = x.tolist()
        return min(few), max(few)
    low, high = torch.aminmax(x.cpu())
    return int(low), int(high)


def wide(index: Int[Tensor, "b n"], like: Tensor) -> Tensor:
    """The index, repeated along all further dimensions of `like`, as `gather` wants it."""
    inner = like.shape[2:]
    return index.reshape(*index.shape, *[1] * len(inner)).expand(-1, -1, *inner)

"""The frame of one call: batch shape, axis sizes, and which elements exist.

Elements that `lengths` or `mask` remove leave their axis altogether: on entry the existing ones of each row are moved
to its front (`compact`), so that inside graft existence is always a prefix and neighbours of a hole stand side by
side; results are moved back on the way out (`restore`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Existence:
    """Which elements of one axis exist.

    Attributes:
        left: the axes its lengths vary with.
        lengths: (batch, left): how many exist in each row.
        given: (batch, left, size): the mask where the user's elements stand.
        order: (batch, left, size): original place of each compact one; None if they are the same.
    """

    left: tuple[str, ...]
    lengths: Tensor
    given: Tensor
    order: Tensor | None

    @property
    def inverse(self) -> Tensor | None:
        return None if self.order is None else self.order.argsort(-1)


@dataclass(frozen=True)
class Frame:
    """What all values of one call share.

    Attributes:
        batch: the batch shape.
        sizes: of every axis, by letter.
        existence: for the axes that have lengths or a mask.
        device: where the call computes.
        dtype: of log-probabilities.
    """

    batch: tuple[int, ...]
    sizes: Mapping[str, int]
    existence: Mapping[str, Existence] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32

    @property
    def rank(self) -> int:
        return len(self.batch)

    def shape(self, letters: tuple[str, ...]) -> tuple[int, ...]:
        """Batch, then these axes."""
        return self.batch + tuple(self.sizes[x] for x in letters)

    def spread(self, tensor: Tensor, have: tuple[str, ...], want: tuple[str, ...]) -> Tensor:
        """A (batch, have, rest) tensor with its axes in the order of `want`, size 1 where it lacks one."""
        rank = self.rank
        kept = [x for x in want if x in have]
        places = [rank + have.index(x) for x in kept]
        rest = range(rank + len(have), tensor.dim())
        tensor = tensor.permute(
            (
                *range(rank),
                *places,
                *rest,
            )
        )
        for place, letter in enumerate(want):
            if letter not in have:
                tensor = tensor.unsqueeze(rank + place)
        return tensor

    def lengths(self, letter: str, letters: tuple[str, ...]) -> Tensor | None:
        """Lengths of an axis along (batch, letters), size 1 where they do not vary; None if all exist."""
        found = self.existence.get(letter)
        return None if found is None else self.spread(found.lengths, found.left, letters)

    def exists(self, letters: tuple[str, ...]) -> Tensor | None:
        """Which compact elements of (batch, letters) exist; None if all."""
        mask = None
        for place, letter in enumerate(letters):
            lengths = self.lengths(letter, letters)
            if lengths is None:
                continue
            shape = [1] * len(letters)
            shape[place] = self.sizes[letter]
            steps = torch.arange(self.sizes[letter], device=lengths.device).reshape(shape)
            mine = steps < lengths
            mask = mine if mask is None else mask & mine
        return mask

    def compact(self, tensor: Tensor, letters: tuple[str, ...]) -> Tensor:
        """Move existing elements of a (batch, letters, event) tensor to the front of their axes."""
        return self._move(tensor, letters, inverse=False)

    def restore(self, tensor: Tensor, letters: tuple[str, ...]) -> Tensor:
        """Undo `compact`."""
        return self._move(tensor, letters, inverse=True)

    def _move(self, tensor: Tensor, letters: tuple[str, ...], inverse: bool) -> Tensor:
        # an axis may lie inside another that moves too: outer ones last on the way in, first on the way out
        for letter in letters if inverse else reversed(letters):
            found = self.existence.get(letter)
            place = self.rank + letters.index(letter)
            if found is None or found.order is None or tensor.shape[place] == 1 != self.sizes[letter]:
                continue
            order = found.inverse if inverse else found.order
            assert order is not None
            index = self.spread(order, (*found.left, letter), letters)
            index = index.reshape((*index.shape, *(1,) * (tensor.dim() - index.dim())))
            tensor = torch.take_along_dim(tensor, index, place)
        return tensor

    def expanded(self, shape: tuple[int, ...]) -> Frame:
        """The frame of several draws: `shape` before the batch."""
        existence = {
            letter: Existence(
                found.left,
                found.lengths.expand((*shape, *found.lengths.shape)),
                found.given.expand((*shape, *found.given.shape)),
                None if found.order is None else found.order.expand((*shape, *found.order.shape)),
            )
            for letter, found in self.existence.items()
        }
        return Frame(shape + self.batch, self.sizes, existence, self.device, self.dtype)

    def at(self, letter: str, position: int) -> Frame:
        """The frame of one element of an axis: what it varied with is selected there."""
        existence = {}
        for other, found in self.existence.items():
            if other == letter:
                continue
            if letter in found.left:
                place = self.rank + found.left.index(letter)
                left = tuple(x for x in found.left if x != letter)
                found = Existence(
                    left, found.lengths.select(place, position), found.given.select(place, position), None
                )
            existence[other] = found
        sizes = {x: n for x, n in self.sizes.items() if x != letter}
        return Frame(self.batch, sizes, existence, self.device, self.dtype)


def existence_of(mask: Tensor, left: tuple[str, ...]) -> Existence:
    """Existence from a boolean mask (batch, left, size)."""
    lengths = mask.sum(-1)
    steps = torch.arange(mask.shape[-1], device=mask.device)
    prefix = bool((mask == (steps < lengths.unsqueeze(-1))).all())
    order = None if prefix else (~mask).to(torch.uint8).argsort(dim=-1, stable=True)
    return Existence(left, lengths, mask, order)

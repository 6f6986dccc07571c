"""Variances over data of values with axes: each position of a time axis by itself, then their mean."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from graft.errors import GraftError


class Positions:
    """Sums over data, batch by batch, for every position of the time axes.

    Args:
        axes: letters of the values.
        time: those of them whose positions are kept apart.

    Example:
        >>> found = Positions((), ())
        >>> found.add(torch.tensor([[0.0, 1.0], [2.0, 1.0]]).double(), None, None, 1)
        >>> found.variance("z")
        tensor([2., 0.], dtype=torch.float64)
    """

    def __init__(self, axes: tuple[str, ...], time: tuple[str, ...]) -> None:
        self.axes, self.time = axes, time
        #: (positions): data; (positions, event): mean, sum of squares about it, sum of noise
        self._count: Tensor | None = None
        self._sums: list[Tensor] = []

    def add(
        self,
        values: Float64[Tensor, "..."],
        noise: Float64[Tensor, "..."] | None,
        mask: Bool[Tensor, "..."] | None,
        rank: int,
    ) -> None:
        """Take in a batch.

        Args:
            values: (batch, axes, event).
            noise: the variance of each value about what it stands for; None if 0.
            mask: (batch, axes), size 1 allowed: which exist; None if all.
            rank: of the batch.
        """
        there = torch.ones((), dtype=torch.bool) if mask is None else mask.cpu()
        lead = values.shape[: rank + len(self.axes)]
        there = self._apart(there.expand(lead), rank)
        values = self._apart(values.detach().cpu(), rank)
        noisy = torch.zeros_like(values) if noise is None else self._apart(noise.detach().cpu(), rank)
        count = there.sum(-1)
        weight = there.reshape((*there.shape, *(1,) * (values.dim() - there.dim()))).double()
        place = len(self.time)
        many = count.reshape((*count.shape, *(1,) * (values.dim() - place - 1))).double()
        # what does not exist may hold anything
        values, noisy = (torch.where(weight > 0, part, 0.0) for part in (values, noisy))
        mean = values.sum(place) / many.clamp_min(1)
        squares = ((values - mean.unsqueeze(place)).square() * weight).sum(place)
        self._merge(count, [mean, squares, noisy.sum(place)])

    def variance(self, name: str) -> Float64[Tensor, "*event"]:
        """Over data, of each cell of the event, what noise adds in mean taken off.

        Raises:
            GraftError: nowhere are there two data.
        """
        if self._count is None or not bool((self._count > 1).any()):
            raise GraftError(f"a variance over data needs two of them: {name} has fewer")
        event = self._sums[0].dim() - self._count.dim()
        count = self._count.double().reshape((*self._count.shape, *(1,) * event))
        squares, noise = self._sums[1], self._sums[2]
        at_each = squares / (count - 1).clamp_min(1) - noise / count.clamp_min(1)
        # positions with more data weigh more; those with one have no variance
        weight = torch.where(count > 1, count, 0.0)
        apart = tuple(range(self._count.dim()))
        summed = (at_each * weight).sum(apart) if apart else at_each * weight
        return (summed / weight.sum()).clamp_min(0)

    def _apart(self, values: Tensor, rank: int) -> Tensor:
        """(batch, axes, event) as (time axes, data, event)."""
        order = [rank + self.axes.index(letter) for letter in self.time]
        rest = [rank + place for place, letter in enumerate(self.axes) if letter not in self.time]
        lead = rank + len(self.axes)
        values = values.permute((*order, *range(rank), *rest, *range(lead, values.dim())))
        first, data = len(order), rank + len(rest)
        return values.flatten(first, first + data - 1) if data else values.unsqueeze(first)

    def _merge(self, count: Tensor, new: list[Tensor]) -> None:
        """Add the sums of a batch (Chan, Golub & LeVeque 1983)."""
        if self._count is None:
            self._count, self._sums = count, new
            return
        size = torch.Size(map(max, zip(self._count.shape, count.shape, strict=True)))
        self._count, count = _grown(self._count, size), _grown(count, size)
        old = [_grown(part, size) for part in self._sums]
        mean, squares, noise = (_grown(part, size) for part in new)
        shape = (*size, *(1,) * (mean.dim() - len(size)))
        before, added = (one.double().reshape(shape) for one in (self._count, count))
        both = (before + added).clamp_min(1)
        shift = mean - old[0]
        self._sums = [
            old[0] + shift * added / both,
            old[1] + squares + shift.square() * before * added / both,
            old[2] + noise,
        ]
        self._count = self._count + count


def _grown(part: Tensor, size: torch.Size) -> Tensor:
    """Zeros behind what is there, up to a size of the first dimensions."""
    if part.shape[: len(size)] == size:
        return part
    found = part.new_zeros((*size, *part.shape[len(size) :]))
    found[tuple(slice(0, one) for one in part.shape[: len(size)])] = part
    return found

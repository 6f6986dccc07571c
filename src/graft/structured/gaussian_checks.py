"""What a linear-Gaussian chain refuses, and how its arguments become flat tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from graft.errors import GraftError, ShapeError


@dataclass(frozen=True)
class Argument:
    """One tensor a caller gave, and how to read it.

    Attributes:
        name: for messages.
        value: as given.
        core: the sizes of its last dimensions.
        steps: how many entries it has along time; None if it has no such dimension.
    """

    name: str
    value: Tensor
    core: tuple[int, ...]
    steps: int | None = None

    @property
    def shared(self) -> bool:
        """Whether it has neither time nor batch dimensions."""
        return self.value.dim() == len(self.core)

    @property
    def batch(self) -> tuple[int, ...]:
        """Its own batch dimensions."""
        inner = len(self.core) + (self.steps is not None and not self.shared)
        return tuple(self.value.shape[: self.value.dim() - inner])

    def owned(self) -> Argument:
        """With a copy of the tensor, so that the caller may change theirs; what is expanded stays so."""
        one = tuple(slice(0, 1) if step == 0 else slice(None) for step in self.value.stride())
        return replace(self, value=self.value[one].clone().expand(self.value.shape))

    def checked(self) -> Argument:
        """Raises unless type and shape fit."""
        if not self.value.is_floating_point():
            raise GraftError(f"{self.name} must be real floating-point, not {self.value.dtype}")
        shape, inner = tuple(self.value.shape), len(self.core)
        fits = shape[len(shape) - inner :] == self.core and len(shape) >= inner
        if fits and self.steps is not None and not self.shared:
            fits = shape[-inner - 1] in (1, self.steps)
        if not fits:
            core = ", ".join(map(str, self.core))
            most = f"({core}) or (..., {self.steps}, {core})" if self.steps is not None else f"(..., {core})"
            raise ShapeError(f"{self.name} has shape {shape}; it is {most}")
        return self

    def flat(self, batch: tuple[int, ...]) -> Tensor:
        """(rows or 1, entries, core) in float64; entries is absent if it has no time."""
        value, inner = self.value.double(), len(self.core)
        if self.steps is not None and self.shared:
            value = value.unsqueeze(0)
        inner += self.steps is not None
        tail = tuple(value.shape[value.dim() - inner :])
        if prod(self.batch) == 1 and prod(batch) != 0:
            return value.reshape(1, *tail)
        return value.expand(*batch, *tail).reshape(prod(batch), *tail)


def joint_batch(arguments: list[Argument]) -> tuple[int, ...]:
    """The batch dimensions of all arguments, broadcast.

    Raises:
        ShapeError: naming the first that does not fit those before it.
    """
    found: tuple[int, ...] = ()
    for argument in arguments:
        try:
            found = tuple(torch.broadcast_shapes(found, argument.batch))
        except RuntimeError as error:
            rule = f"{argument.name} {tuple(argument.value.shape)} has batch dimensions {argument.batch}"
            raise ShapeError(f"{rule}, which do not broadcast with {found} of the others") from error
    return found


def finite(value: Tensor, used: Tensor | None, name: str) -> Tensor:
    """A tensor with zeros where it is not used; what is used must be finite.

    Args:
        value: any shape.
        used: bool, its leading dimensions; None if all of it is.
        name: for messages.

    Raises:
        GraftError: naming the first place that is NaN or infinite.
    """
    good = torch.isfinite(value.detach())
    if bool(good.all()):
        return value
    if used is not None:
        used = used.reshape(*used.shape, *(1,) * (value.dim() - used.dim()))
        value, good = torch.where(used, value, 0.0), good | ~used
    if not bool(good.all()):
        place = (~good).nonzero()[0].tolist()
        raise GraftError(f"{name} is NaN or infinite, first at {place} (batch flattened)")
    return value


def covariance(value: Tensor, name: str, dtype: torch.dtype) -> Tensor:
    """Symmetric positive semidefinite matrices, rid of rounding.

    Args:
        value: (..., D, D) in float64.
        name: for messages.
        dtype: that of the caller's tensor, which sets what counts as rounding.

    Raises:
        GraftError: naming the tensor, if it is not symmetric or has a negative eigenvalue.
    """
    if value.numel() == 0:
        return value
    seen = value.detach()
    eps = max(torch.finfo(dtype).eps, torch.finfo(torch.float64).eps) * 16 * value.shape[-1]
    most = seen.abs().amax((-2, -1))
    skew = (seen - seen.mT).abs().amax((-2, -1))
    if bool((skew > eps * most).any()):
        raise GraftError(f"{name} is not symmetric: entries differ from their mirror images by {float(skew.max()):.3g}")
    failed = torch.linalg.cholesky_ex(seen)[1]
    if bool(failed.any()):
        least = torch.linalg.eigvalsh(seen).amin(-1)
        if bool((least < -eps * most).any()):
            worst = float((least / most.clamp_min(1e-300)).min())
            raise GraftError(f"{name} is not positive semidefinite: an eigenvalue is {worst:.3g} of its largest entry")
    return (value + value.mT) / 2

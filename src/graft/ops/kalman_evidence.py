"""Observations as a filter wants them: missing cells taken out, wide ones condensed to the size of the state."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from graft.ops.kalman_system import Readings, Weights, seen_only


@dataclass(frozen=True)
class Observed:
    r"""Observations $r_t = C_t z_t + \mathcal{N}(0, R_t)$ as they come.

    Attributes:
        loading: C (b or 1, T or 1, E, D).
        value: r, finite in missing cells too (b or 1, T or 1, E).
        noise: R (b or 1, T or 1, E, E), or its diagonal (b or 1, T or 1, E).
        seen: which cells were observed (b or 1, T or 1, E); None if all.
    """

    loading: Float[Tensor, "#b #t e d"]
    value: Float[Tensor, "#b #t e"]
    noise: Float[Tensor, "#b #t e e"] | Float[Tensor, "#b #t e"]
    seen: Bool[Tensor, "#b #t e"] | None = None

    @property
    def diagonal(self) -> bool:
        return self.noise.dim() == self.value.dim()


def evidence(found: Observed) -> tuple[Readings | None, Weights | None]:
    """Readings where they are no wider than the state, or noiseless somewhere; else what they say of the state."""
    cells, states = found.loading.shape[-2:]
    if cells == 0:
        return None, None
    if cells > states and _noisy(found):
        return None, (_by_cell(found) if found.diagonal else _whitened(found))
    return _readings(found), None


def _noisy(found: Observed) -> bool:
    """Whether the noise has full rank."""
    noise = found.noise.detach()
    if found.diagonal:
        return bool((noise > 0).all())
    scale, failed = torch.linalg.cholesky_ex(noise)
    pivots = scale.diagonal(dim1=-2, dim2=-1).square() / noise.diagonal(dim1=-2, dim2=-1)
    return not bool(failed.any()) and bool((pivots > 1e-10).all())


def _readings(found: Observed) -> Readings:
    noise = torch.diag_embed(found.noise) if found.diagonal else found.noise
    cells = noise.new_full((1, 1), float(found.value.shape[-1]))
    plain = Readings(found.loading, found.value, noise, cells)
    return plain if found.seen is None else seen_only(plain, found.seen)


def _by_cell(found: Observed) -> Weights:
    """The sum of what each cell says, where their noises are independent."""
    weight, constant = 1 / found.noise, -0.5 * (2 * pi * found.noise).log()
    if found.seen is not None:
        weight, constant = (torch.where(found.seen, x, 0.0) for x in (weight, constant))
    shift = (found.loading.mT @ (weight * found.value).unsqueeze(-1)).squeeze(-1)
    precision = found.loading.mT @ (weight.unsqueeze(-1) * found.loading)
    return Weights(precision, shift, (constant - 0.5 * weight * found.value.square()).sum(-1))


def _whitened(found: Observed) -> Weights:
    plain = _readings(found)
    scale = torch.linalg.cholesky(plain.noise)
    value = torch.linalg.solve_triangular(scale, plain.value.unsqueeze(-1), upper=False)
    loading = torch.linalg.solve_triangular(scale, plain.loading, upper=False)
    half = scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    constant = -0.5 * value.square().sum((-2, -1)) - half - 0.5 * log(2 * pi) * plain.seen
    return Weights(loading.mT @ loading, (loading.mT @ value).squeeze(-1), constant)


def added(one: Weights | None, other: Weights | None) -> Weights | None:
    """Both pieces of evidence together."""
    if one is None or other is None:
        return other if one is None else one
    return Weights(one.precision + other.precision, one.shift + other.shift, one.constant + other.constant)

"""Normal densities of full covariance, from their Cholesky factor."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch import distributions as td

from graft.distributions.density import Density
from graft.distributions.density_families import NormalDensity

_LOG_2PI = math.log(2 * math.pi)


class FullNormalDensity(Density):
    r"""$\mathcal{N}(\mu, L L^\top)$ of vectors, L lower triangular with a positive diagonal.

    Args:
        loc: (leading, d).
        factor: (leading, d, d).

    Example:
        >>> q = FullNormalDensity(torch.ones(4, 3), torch.eye(3).expand(4, 3, 3))
        >>> q.kl(NormalDensity(torch.zeros(3), torch.zeros(3), 1))
        tensor([1.5000, 1.5000, 1.5000, 1.5000])
    """

    event_rank = 1
    reparameterised = True
    family = "MultivariateNormal"

    def __init__(self, loc: Tensor, factor: Tensor) -> None:
        self.loc, self.factor = loc, factor

    @property
    def shape(self) -> tuple[int, ...]:
        return self.loc.shape

    @property
    def leading(self) -> tuple[int, ...]:
        return tuple(self.loc.shape[:-1])

    @property
    def event(self) -> tuple[int, ...]:
        return tuple(self.loc.shape[-1:])

    @property
    def log_det(self) -> Tensor:
        r"""$\log \det L$."""
        return self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        far = _solved(self.factor, value - self.loc)
        return -0.5 * (far.square().sum(-1) + self.loc.shape[-1] * _LOG_2PI) - self.log_det

    def draw(self, lead: tuple[int, ...]) -> Tensor:
        return self.rdraw(lead).detach()

    def rdraw(self, lead: tuple[int, ...]) -> Tensor:
        noise = torch.randn((*lead, *self.event), dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + (self.factor @ noise.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        return self.log_det + 0.5 * self.loc.shape[-1] * (1 + _LOG_2PI)

    def kl(self, other: Density) -> Tensor | None:
        if isinstance(other, NormalDensity) and other.event_rank == 1:
            spread, shift = self.factor.square().sum(-1), (self.loc - other.loc).square()
            cells = 0.5 * ((spread + shift) / other.scale.square() - 1) + other.log_scale
            return cells.sum(-1) - self.log_det
        if isinstance(other, FullNormalDensity):
            lead = torch.broadcast_shapes(self.leading, other.leading)
            factor = other.factor.expand(*lead, *other.factor.shape[-2:])
            own = self.factor.expand(*lead, *self.factor.shape[-2:])
            ratio = torch.linalg.solve_triangular(factor, own, upper=False).square().sum((-2, -1))
            far = _solved(factor, self.loc - other.loc).square().sum(-1)
            return 0.5 * (ratio + far - self.loc.shape[-1]) + other.log_det - self.log_det
        return super().kl(other)

    def distribution(self) -> td.Distribution:
        return td.MultivariateNormal(self.loc, scale_tril=self.factor, validate_args=False)


def _solved(factor: Tensor, value: Tensor) -> Tensor:
    r"""$L^{-1} v$."""
    lead = torch.broadcast_shapes(factor.shape[:-2], value.shape[:-1])
    wide = factor.expand(*lead, *factor.shape[-2:]), value.expand(*lead, value.shape[-1]).unsqueeze(-1)
    return torch.linalg.solve_triangular(*wide, upper=False).squeeze(-1)

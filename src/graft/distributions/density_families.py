"""The densities of the usual guides, written out: normal, Bernoulli, categorical."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor
from torch import distributions as td
from torch.nn.functional import logsigmoid

from graft.distributions.density import Density
from graft.errors import GraftError
from graft.ops.cells import HALF_LOG_2PI, normals, summed, units
from graft.ops.entries import all_finite
from graft.ops.logspace import safe_mul


class NormalDensity(Density):
    r"""$\mathcal{N}(\mu, \operatorname{diag} \sigma^2)$, from $\mu$ and $\log \sigma$ (or $\sigma$).

    Example:
        >>> q = NormalDensity(torch.zeros(4, 3), torch.zeros(4, 3), 1)
        >>> q.kl(NormalDensity(torch.ones(3), torch.zeros(3), 1))
        tensor([1.5000, 1.5000, 1.5000, 1.5000])
    """

    reparameterised = True
    family = "Normal"

    def __init__(self, loc: Tensor, log_scale: Tensor | None, event_rank: int, scale: Tensor | None = None) -> None:
        assert log_scale is not None or scale is not None
        self.loc, self.event_rank = loc, event_rank
        self.scale: Tensor = log_scale.exp() if scale is None else scale  # type: ignore[union-attr]
        self.log_scale: Tensor = self.scale.log() if log_scale is None else log_scale

    @property
    def shape(self) -> tuple[int, ...]:
        return self.loc.shape

    @property
    def leading(self) -> tuple[int, ...]:
        return tuple(self.loc.shape[: self.loc.dim() - self.event_rank])

    @property
    def event(self) -> tuple[int, ...]:
        return tuple(self.loc.shape[self.loc.dim() - self.event_rank :])

    def log_prob(self, value: Tensor) -> Tensor:
        return normals(value, self.loc, self.log_scale, self.scale, self.event_rank)

    def draw(self, lead: tuple[int, ...]) -> Tensor:
        return self.rdraw(lead).detach()

    def rdraw(self, lead: tuple[int, ...]) -> Tensor:
        noise = torch.randn((*lead, *self.event), dtype=self.loc.dtype, device=self.loc.device)
        return torch.addcmul(self.loc, self.scale, noise)

    def entropy(self) -> Tensor:
        cells = (self.log_scale + (0.5 + HALF_LOG_2PI)).expand(torch.broadcast_shapes(self.loc.shape))
        return summed(cells, self.event_rank)

    def kl(self, other: Density) -> Tensor | None:
        if not isinstance(other, NormalDensity):
            return super().kl(other)
        if isinstance(other, StandardNormal):
            cells = torch.addcmul(self.scale.square(), self.loc, self.loc).sub(1).mul(0.5) - self.log_scale
            return summed(cells, self.event_rank)
        ratio = (self.scale / other.scale).square()
        shift = ((self.loc - other.loc) / other.scale).square()
        return summed(0.5 * (ratio + shift - 1) - self.log_scale + other.log_scale, self.event_rank)

    def distribution(self) -> td.Distribution:
        return td.Independent(td.Normal(self.loc, self.scale), self.event_rank)


class StandardNormal(NormalDensity):
    """Zero mean, unit variance: two operations instead of six."""

    def __init__(self, zeros: Tensor) -> None:
        self.loc = self.log_scale = zeros
        self.event_rank = zeros.dim()

    @cached_property
    def scale(self) -> Tensor:  # type: ignore[override]
        return torch.ones_like(self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        rank = self.event_rank
        return summed(value.square(), rank) * -0.5 - HALF_LOG_2PI * self.loc.numel()


class BernoulliDensity(Density):
    """Independent units; `hard` where logits may be infinite.

    Example:
        >>> BernoulliDensity(torch.zeros(2, 3), 1).log_prob(torch.ones(2, 3))
        tensor([-2.0794, -2.0794])
    """

    reparameterised = False
    family = "Bernoulli"

    def __init__(self, logits: Tensor, event_rank: int, hard: bool = False) -> None:
        self.logits, self.event_rank, self.hard = logits, event_rank, hard

    @property
    def shape(self) -> tuple[int, ...]:
        return self.logits.shape

    @property
    def leading(self) -> tuple[int, ...]:
        return tuple(self.logits.shape[: self.logits.dim() - self.event_rank])

    @property
    def event(self) -> tuple[int, ...]:
        return tuple(self.logits.shape[self.logits.dim() - self.event_rank :])

    @property
    def like(self) -> Tensor:
        return self.logits

    @property
    def probs(self) -> Tensor:
        return self.logits.sigmoid()

    def log_prob(self, value: Tensor) -> Tensor:
        value = value.to(self.logits.dtype)
        if self._is_linear(value):
            return value @ self.logits + logsigmoid(-self.logits).sum()
        if self.hard:
            yes, no = logsigmoid(self.logits), logsigmoid(-self.logits)
            return summed(safe_mul(value, yes) + safe_mul(1 - value, no), self.event_rank)
        return units(self.logits, value, self.event_rank)

    def _is_linear(self, value: Tensor) -> bool:
        """Whether one vector of finite logits serves many values: then a product of a matrix and a vector does."""
        if self.event_rank != 1 or self.logits.dim() != 1 or value.dim() < 2 or not self.logits.is_cpu:
            return False
        return not torch.compiler.is_compiling() and all_finite(self.logits)

    def draw(self, lead: tuple[int, ...]) -> Tensor:
        with torch.no_grad():
            # a uniform number below p: twice as fast as `torch.bernoulli`
            return torch.rand((*lead, *self.event), dtype=self.logits.dtype, device=self.logits.device).lt_(self.probs)

    def rdraw(self, lead: tuple[int, ...]) -> Tensor:
        raise GraftError("Bernoulli units have no reparameterised draws")

    def entropy(self) -> Tensor:
        yes, times = self.probs, safe_mul if self.hard else torch.mul
        cells = -times(yes, logsigmoid(self.logits)) - times(1 - yes, logsigmoid(-self.logits))
        return summed(cells, self.event_rank)

    def kl(self, other: Density) -> Tensor | None:
        if not isinstance(other, BernoulliDensity):
            return super().kl(other)
        # finite logits have finite logarithms: a plain product is several times as fast
        yes, times = self.probs, safe_mul if self.hard or other.hard else torch.mul
        on = times(yes, logsigmoid(self.logits) - logsigmoid(other.logits))
        off = times(1 - yes, logsigmoid(-self.logits) - logsigmoid(-other.logits))
        return summed(on + off, self.event_rank)

    def distribution(self) -> td.Distribution:
        return td.Independent(td.Bernoulli(logits=self.logits), self.event_rank)


class CategoricalDensity(Density):
    """One of S states, from normalised log-probabilities; a relaxed value is a vector of S weights.

    Example:
        >>> q = CategoricalDensity(torch.tensor([0.25, 0.75]).log())
        >>> q.log_prob(torch.tensor(1)).exp(), q.log_prob(torch.tensor([0.0, 1.0])).exp()
        (tensor(0.7500), tensor(0.7500))
    """

    reparameterised = False
    family = "Categorical"
    event_rank = 0
    event: tuple[int, ...] = ()

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    @property
    def states(self) -> int:
        return self.logits.shape[-1]

    @property
    def leading(self) -> tuple[int, ...]:
        return tuple(self.logits.shape[:-1])

    @property
    def like(self) -> Tensor:
        return self.logits

    @property
    def probs(self) -> Tensor:
        return self.logits.exp()

    def log_prob(self, value: Tensor) -> Tensor:
        if value.is_floating_point():
            return safe_mul(value, self.logits).sum(-1)
        logits, index = torch.broadcast_tensors(self.logits, value.unsqueeze(-1))
        return logits.gather(-1, index[..., :1]).squeeze(-1)

    def draw(self, lead: tuple[int, ...]) -> Tensor:
        with torch.no_grad():
            rows = self.probs.expand((*lead, self.states))
            if not rows.numel():
                return torch.zeros(lead, dtype=torch.long, device=rows.device)
            return torch.multinomial(rows.reshape(-1, self.states), 1).reshape(lead)

    def rdraw(self, lead: tuple[int, ...]) -> Tensor:
        raise GraftError("a categorical has no reparameterised draws")

    def entropy(self) -> Tensor:
        return -safe_mul(self.probs, self.logits).sum(-1)

    def kl(self, other: Density) -> Tensor | None:
        if not isinstance(other, CategoricalDensity):
            return super().kl(other)
        return safe_mul(self.probs, self.logits - other.logits).sum(-1)

    def distribution(self) -> td.Distribution:
        return td.Categorical(logits=self.logits)

"""The log-density of the observed cells of a value, the missing ones integrated out."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.distributions import Distribution, Independent, MixtureSameFamily, MultivariateNormal

from graft.errors import GraftError


def log_prob(dist: Distribution, value: Shaped[Tensor, " ..."]) -> Float[Tensor, "..."]:
    """The log-density; of an empty batch too, which torch's `Independent` refuses.

    Example:
        >>> from torch.distributions import Normal
        >>> log_prob(Independent(Normal(torch.zeros(0, 2), 1.0), 1), torch.zeros(0, 2)).shape
        torch.Size([0])
    """
    lead = value.shape[: value.dim() - len(dist.event_shape)]
    shape = torch.broadcast_shapes(dist.batch_shape, lead)
    if 0 in shape:
        return value.new_zeros(shape, dtype=torch.promote_types(value.dtype, torch.get_default_dtype()))
    return dist.log_prob(value)


def log_prob_observed(
    dist: Distribution, value: Shaped[Tensor, "..."], observed: Bool[Tensor, "..."], who: str = "the value"
) -> Float[Tensor, "..."]:
    r"""$\log p(x_o)$ where only the cells $o$ of an event were observed.

    Independent cells drop out of the sum; a Gaussian keeps the block $\Sigma_{oo}$ of its covariance (Bishop 2006,
    eq. 2.98); a mixture does so in each component.

    Args:
        dist: batch shape B, event shape E.
        value: B + E; anything finite stands in missing cells.
        observed: B + E.
        who: named in the error.

    Returns:
        log-density, shape B; 0 where every cell is missing.

    Raises:
        GraftError: if the family has no marginal in closed form here.

    Example:
        >>> from torch.distributions import Normal
        >>> dist = Independent(Normal(torch.zeros(2), 1.0), 1)
        >>> seen = torch.tensor([True, False])
        >>> bool(log_prob_observed(dist, torch.zeros(2), seen) == Normal(0.0, 1.0).log_prob(torch.tensor(0.0)))
        True
    """
    if isinstance(dist, MultivariateNormal):
        return _gaussian(dist, value, observed)
    if isinstance(dist, MixtureSameFamily):
        parts = log_prob_observed(
            dist.component_distribution, dist._pad(value), dist._pad(observed).expand_as(dist._pad(value)), who
        )
        return torch.logsumexp(dist.mixture_distribution.logits + parts, -1)
    base = dist.base_dist if isinstance(dist, Independent) else dist
    if base.event_shape:
        rule = f"{type(base).__name__} has no marginal in closed form"
        raise GraftError(f"{who}: some cells of a vector are missing, and {rule}")
    cells = torch.where(observed, base.log_prob(value), 0.0)
    return cells.flatten(cells.dim() - len(dist.event_shape)).sum(-1) if dist.event_shape else cells


def _gaussian(dist: MultivariateNormal, value: Tensor, observed: Tensor) -> Tensor:
    """Missing cells get an independent unit Gaussian at its mean, whose constant is then taken off."""
    seen = observed.to(value.dtype)
    eye = torch.eye(value.shape[-1], dtype=value.dtype, device=value.device)
    both = seen.unsqueeze(-1) * seen.unsqueeze(-2)
    covariance = dist.covariance_matrix * both + eye * (1 - seen).unsqueeze(-1)
    centred = (value - dist.loc) * seen
    found = MultivariateNormal(torch.zeros_like(centred), covariance_matrix=covariance).log_prob(centred)
    return found + 0.5 * math.log(2 * math.pi) * (1 - seen).sum(-1)

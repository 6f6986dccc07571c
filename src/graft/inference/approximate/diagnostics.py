"""Whether chains have mixed, and how many independent draws they are worth."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def split_rhat(draws: Float[Tensor, "draws chains *rest"]) -> Float[Tensor, "*rest"]:
    r"""Split $\widehat R$: how far chain halves disagree, beyond what their own variance explains.

    For 0-1 indicators the rank-normalised form is this one: two ranks are an affine image of two values, under which
    $\widehat R$ does not change.

    Source: Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021, section 4.1.

    Args:
        draws: at least 4 per chain.

    Returns:
        1 where no draw differs from any other, infinite where chains differ that are constant each.

    Example:
        >>> split_rhat(torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]))
        tensor(inf)
    """
    halves = _halves(draws)
    count = halves.shape[0]
    within = _variance(halves).mean(0)
    between = count * _variance(halves.mean(0))
    ratio = (((count - 1) / count * within + between / count) / within).sqrt()
    ratio = torch.where(within == 0, torch.inf, ratio)
    return torch.where((within == 0) & (between == 0), 1.0, ratio)


def effective_size(draws: Float[Tensor, "draws chains *rest"]) -> Float[Tensor, "*rest"]:
    r"""Effective sample size of the mean, by Geyer's initial monotone sequence over all split chains.

    Source: Vehtari et al. 2021, section 3.2; Geyer 1992.

    Args:
        draws: at least 4 per chain.

    Returns:
        At most draws × chains × log10 of that; all draws where none differs from any other.
    """
    halves = _halves(draws)
    count, chains = halves.shape[:2]
    total = count * chains
    within = _variance(halves).mean(0)
    spread = (count - 1) / count * within + _variance(halves.mean(0))
    rho = 1.0 - (within - _autocovariance(halves).mean(1)) / torch.where(spread == 0, 1.0, spread)
    rho[0] = 1.0
    tau = -1.0 + 2.0 * _monotone(rho).sum(0)
    # antithetic chains may beat independent draws, but not by any factor (as in Stan)
    size = total / tau.clamp_min(1.0 / math.log10(max(total, 10)))
    return torch.where(spread == 0, float(total), size)


def _halves(draws: Tensor) -> Tensor:
    """(half of the draws, twice the chains, ...)."""
    half = draws.shape[0] // 2
    return torch.cat([draws[:half], draws[draws.shape[0] - half :]], 1)


def _variance(x: Tensor) -> Tensor:
    """Along the first dimension, unbiased; of nothing as well."""
    return (x - x.mean(0)).square().sum(0) / (x.shape[0] - 1)


def _autocovariance(draws: Tensor) -> Tensor:
    """At every lag, over the whole length (biased, as the estimate needs it)."""
    count = draws.shape[0]
    centred = (draws - draws.mean(0)).movedim(0, -1)
    spectrum = torch.fft.rfft(centred, n=2 * count)
    found = torch.fft.irfft(spectrum.abs().square(), n=2 * count)[..., :count]
    return found.movedim(-1, 0) / count


def _monotone(rho: Tensor) -> Tensor:
    """Sums of neighbouring autocorrelations while they are positive, each at most the one before."""
    pairs = rho[: 2 * (rho.shape[0] // 2)].unflatten(0, (-1, 2)).sum(1)
    alive: Bool[Tensor, "..."] = (pairs > 0).to(torch.int8).cumprod(0).bool()
    return torch.where(alive, pairs.cummin(0).values, 0.0)

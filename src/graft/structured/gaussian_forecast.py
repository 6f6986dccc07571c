"""What comes after the last element of a linear-Gaussian chain, and what could have come instead of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from graft.errors import GraftError
from graft.ops.kalman import Beliefs, filtered
from graft.ops.kalman_smooth import Backward, drawn, square_root
from graft.ops.kalman_system import System, apply, symmetric
from graft.structured.gaussian_normals import normals
from graft.structured.gaussian_system import GaussianSystem


class Forecast(NamedTuple):
    """Distributions of future states and observations, batch shape (..., steps).

    Attributes:
        states: over vectors of length D.
        observations: over vectors of length E; None without an emission.
    """

    states: MultivariateNormal
    observations: MultivariateNormal | None


def forecast(chain: GaussianSystem, found: Beliefs, steps: Any) -> Forecast:
    """See `LinearGaussianChain.forecast`."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise GraftError(f"steps must be a positive whole number, not {steps!r}")
    future = _future(chain, found, steps)
    ahead = filtered(future)
    states = _normal(chain, ahead.mean, ahead.covariance, "a future state")
    if "emission.loading" not in chain._arguments:
        return Forecast(states, None)
    loading, offset = _shared(chain, "emission.loading"), _shared(chain, "emission.offset")
    covariance = symmetric(loading @ ahead.covariance @ loading.mT) + _shared(chain, "emission.noise")
    return Forecast(states, _normal(chain, apply(loading, ahead.mean) + offset, covariance, "a future observation"))


def _future(chain: GaussianSystem, found: Beliefs, steps: int) -> System:
    """The system that begins after the last element."""
    step, offset, noise = (_shared(chain, name) for name in ("transition", "offset", "noise"))
    last = (chain._existence.lengths - 1).clamp_min(0)
    rows = torch.arange(chain._rows, device=last.device)
    covariance = found.covariance.expand(chain._rows, -1, -1, -1)[rows, last]
    mean = apply(step[:, 0], found.mean[rows, last]) + offset[:, 0]
    covariance = symmetric(step[:, 0] @ covariance @ step[:, 0].mT) + noise[:, 0]
    empty = chain._existence.lengths == 0
    if bool(empty.any()):
        mean = torch.where(empty[:, None], chain._flat("initial_mean"), mean)
        covariance = torch.where(empty[:, None, None], chain._flat("initial_covariance"), covariance)
    return System(mean, covariance, step, offset, noise, steps, chain._rows)


def _shared(chain: GaussianSystem, name: str) -> Tensor:
    """A parameter that is the same at all steps, (rows or 1, 1, ...)."""
    found = chain._flat(name)
    if found.shape[1] != 1:
        raise GraftError(
            f"forecast goes on with shared parameters, but {name} differs from step to step: append "
            "missing steps to the observations instead, with the parameters they have"
        )
    return found


def _normal(chain: GaussianSystem, mean: Tensor, covariance: Tensor, what: str) -> MultivariateNormal:
    mean, scale = normals(mean, covariance, None, what)
    mean, scale = (x.reshape(*chain.batch_shape, *x.shape[1:]).to(chain.dtype) for x in (mean, scale))
    return MultivariateNormal(mean, scale_tril=scale, validate_args=None if mean.numel() else False)


def simulated(chain: GaussianSystem, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor | None]:
    """States (count, rows, T, D) and observations (count, rows, T, E) of the prior, in float64."""
    system = chain._system.without_evidence()
    size = (count, system.rows, system.steps)
    noise = torch.randn(*size, system.states, generator=generator, dtype=torch.float64, device=chain._alive.device)
    states = drawn(_reversed(system), noise, "sequential", exact=True).flip(2)
    if "emission.loading" not in chain._arguments or chain.length == 0:
        return states, None if chain.cells == 0 else states.new_zeros(*size, chain.cells)
    loading, offset = chain._flat("emission.loading"), chain._flat("emission.offset")
    noise = torch.randn(*size, chain.cells, generator=generator, dtype=torch.float64, device=chain._alive.device)
    return states, apply(loading, states) + offset + apply(square_root(chain._flat("emission.noise")), noise)


def _reversed(system: System) -> Backward:
    """The prior as a chain that runs from the last place to the first, as `drawn` wants it."""
    rows, steps = system.rows, system.steps
    gain = system.transition.expand(-1, steps - 1, -1, -1)
    spread = system.noise.expand(-1, steps - 1, -1, -1)
    none = torch.zeros_like(system.covariance).unsqueeze(1)
    wide = max(len(gain), len(none), len(spread))
    offset = torch.cat([system.mean.expand(rows, -1)[:, None], system.offset.expand(rows, steps - 1, -1)], 1)
    parts = ((none, gain), (system.covariance.unsqueeze(1), spread))
    gain, spread = (torch.cat([a.expand(wide, -1, -1, -1), b.expand(wide, -1, -1, -1)], 1) for a, b in parts)
    return Backward(gain.flip(1), offset.flip(1), spread.flip(1))

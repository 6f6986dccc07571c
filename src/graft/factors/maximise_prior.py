"""Conjugate priors of parameters, for the M-step of EM: a penalised maximum in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import Any, ClassVar

import torch
from torch import Tensor

from graft.errors import GraftError


@dataclass(frozen=True, eq=False)
class PseudoCounts:
    r"""Counts added to those expected of a table: $\log p(\theta) = \sum_s c_s \log \theta_s + \text{const}$.

    It is the density of a Dirichlet (of a Beta, for binary units) with concentrations $1 + c_s$.

    Args:
        counts: c, at least 0; broadcast to the table: parents' axes, then states. For binary units: parents' axes,
            then units, then (off, on).

    Raises:
        GraftError: a count is negative or not finite.

    Source: Gauvain & Lee 1994, section III.

    Example:
        >>> PseudoCounts(0.5).counts
        tensor(0.5000, dtype=torch.float64)
    """

    counts: Any = 0.0
    lowers: ClassVar[bool] = False

    def __post_init__(self) -> None:
        counts = _numbers(self.counts, "the counts of a prior")
        if bool((counts < 0).any()):
            raise GraftError("the counts of a prior are at least 0")
        object.__setattr__(self, "counts", counts)

    @cached_property
    def none(self) -> bool:
        """Whether nothing is added."""
        return not bool(self.counts.any())


@dataclass(frozen=True, eq=False)
class GaussianPrior:
    r"""A normal prior of locations and an inverse gamma (Wishart) one of covariances, and their floor.

    $$ \log p(\mu, \Sigma) = -\tfrac{\nu}{2} \log |\Sigma|
       - \tfrac12 \mathrm{tr}\, \Sigma^{-1} \big(\Psi + \kappa (\mu - m)(\mu - m)^\top\big) + \text{const}, $$

    so that the M-step gives $\mu = (\kappa m + \sum r x) / (\kappa + \sum r)$ and
    $\Sigma = (\Psi + \kappa (\mu - m)(\mu - m)^\top + \sum r (x - \mu)(x - \mu)^\top) / (\nu + \sum r)$.

    Args:
        loc: m, broadcast to the locations.
        weight: $\kappa$, how many observations the location is worth; at least 0.
        scatter: $\Psi$, in squared units of the data; a number stands for a multiple of the identity. Of full
            covariances (D, D) or (K, D, D), of a tied one (D, D), of variances (D) or (K, D).
        degrees: $\nu$, how many observations the covariance is worth; at least 0.
        floor: no variance (no eigenvalue of a full covariance) falls below it, in squared units of the data. The
            maximum under this constraint, so that EM still never lowers the likelihood.
        added: to all variances after each maximum, as scikit-learn's `reg_covar`; EM then may lower the likelihood.

    Raises:
        GraftError: a number is negative or not finite, or floor and added are both 0.

    Source: Gauvain & Lee 1994, section II.

    Example:
        >>> GaussianPrior(weight=1.0, floor=0.01).floor
        0.01
    """

    loc: Any = 0.0
    weight: float = 0.0
    scatter: Any = 0.0
    degrees: float = 0.0
    floor: float = 1e-6
    added: float = 0.0

    @property
    def lowers(self) -> bool:
        """Whether an M-step may lower what EM climbs."""
        return self.added > 0

    @cached_property
    def none(self) -> bool:
        """Whether the density is flat."""
        return self.weight == 0 == self.degrees and not bool(self.scatter.any())

    def __post_init__(self) -> None:
        for name in ("loc", "weight", "scatter", "degrees", "floor", "added"):
            numbers = _numbers(getattr(self, name), f"{name} of a prior")
            low = name not in ("loc", "scatter") or (name == "scatter" and numbers.dim() == 0)
            if low and not bool((numbers >= 0).all()):
                raise GraftError(f"{name} of a prior is at least 0, not {getattr(self, name)}")
            object.__setattr__(self, name, numbers if name in ("loc", "scatter") else float(numbers))
        if self.floor == 0 == self.added:
            raise GraftError("a prior needs a floor of variances, or something added to them, above 0")


@dataclass(frozen=True, eq=False)
class MixturePrior:
    """What a `Mixture` takes: pseudo-counts of its weights, and a prior of its components.

    Args:
        weights: of the components' weights, broadcast to (parents, components).
        components: of every component.

    Example:
        >>> MixturePrior(components=GaussianPrior(floor=1e-3)).components.floor
        0.001
    """

    weights: PseudoCounts = field(default_factory=PseudoCounts)
    components: GaussianPrior = field(default_factory=GaussianPrior)

    @property
    def lowers(self) -> bool:
        """As of the components."""
        return self.components.lowers

    @cached_property
    def none(self) -> bool:
        """Whether both are flat."""
        return self.weights.none and self.components.none


#: What the M-step of some factor takes.
Prior = PseudoCounts | GaussianPrior | MixturePrior


def spread_over(numbers: Tensor, shape: tuple[int, ...], what: str) -> Tensor:
    """Numbers of a prior in the shape of what they are of.

    Raises:
        GraftError: they do not broadcast to it.
    """
    try:
        return numbers.expand(shape)
    except RuntimeError as error:
        raise GraftError(f"{what} of shape {tuple(numbers.shape)} does not fit {shape}") from error


def _numbers(value: Any, what: str) -> Tensor:
    try:
        found = torch.as_tensor(value, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise GraftError(f"{what} is a number or an array of numbers, not {type(value).__name__}") from error
    finite = isfinite(found.item()) if found.dim() == 0 else bool(torch.isfinite(found).all())
    if not finite:
        raise GraftError(f"{what} is finite, not {value}")
    return found

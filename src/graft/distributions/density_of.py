"""Torch distributions as densities."""

from __future__ import annotations

from torch import distributions as td

from graft.distributions.density import Density, Wrapped
from graft.distributions.density_families import BernoulliDensity, CategoricalDensity, NormalDensity
from graft.distributions.full_normal import FullNormalDensity


def density_of(dist: td.Distribution) -> Density:
    """The density of a torch distribution, written out where it is one of the usual.

    Example:
        >>> import torch
        >>> type(density_of(td.Independent(td.Normal(torch.zeros(3), 1.0), 1))).__name__
        'NormalDensity'
    """
    rank, base = 0, dist
    while isinstance(base, td.Independent):
        rank, base = rank + base.reinterpreted_batch_ndims, base.base_dist
    if type(base) is td.Normal:
        return NormalDensity(base.loc, None, rank, base.scale)
    if isinstance(base, td.Bernoulli):
        return BernoulliDensity(base.logits, rank, hard=type(base) is not td.Bernoulli)
    if type(base) is td.Categorical and not rank:
        return CategoricalDensity(base.logits)
    if type(base) is td.MultivariateNormal and not rank:
        return FullNormalDensity(base.loc, base.scale_tril)
    return Wrapped(dist)

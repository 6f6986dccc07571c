"""Models with Gaussian unknowns, and their exact answers by the curvature of the log-density at given values.

The sum of the log-factors at a full assignment is quadratic in the unknowns, so its second derivatives are minus the
precision of the posterior; only factors at known values are evaluated, no filter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from graft.distributions.supports import Real
from graft.factors import Categorical, Function, Gaussian, GaussianPotential, LinearGaussian, Normal
from graft.inference.evidence import Missing
from graft.model import Model


@dataclass
class Example:
    """A model, a call, and which unknowns are real.

    Attributes:
        model: a function that makes it.
        values: a function that makes evidence and inputs.
        unknown: the shape of each real unknown, with one row of batch in front.
        options: lengths, mask, sizes.
    """

    model: object
    values: object
    unknown: dict[str, tuple[int, ...]]
    options: dict = field(default_factory=dict)


def flat(values: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in values.values()])


@dataclass
class Exact:
    """Evidence and posterior of one call; the unknowns of all rows are one vector.

    Attributes:
        log_partition: of all rows together.
        mean: of all unknowns, those that do not exist included (0).
        covariance: likewise (identity).
        exists: which numbers of the vector exist.
    """

    log_partition: Tensor
    mean: Tensor
    covariance: Tensor
    exists: Tensor


def exact(model: Model, values: dict, unknown: dict[str, tuple[int, ...]], options: dict) -> Exact:
    """The answers by curvature."""
    sizes = {name: torch.Size(shape).numel() for name, shape in unknown.items()}

    def density(vector: Tensor) -> Tensor:
        parts = vector.split(list(sizes.values()))
        full = {name: part.reshape(unknown[name]) for name, part in zip(unknown, parts, strict=True)}
        return model.given(values | full, **options).log_partition.sum()

    zero = torch.zeros(sum(sizes.values()), dtype=torch.float64)
    with torch.enable_grad():
        precision, slope = -hessian_of(density, zero), gradient_of(density, zero)
    exists = precision.diagonal() != 0
    blank = torch.diag_embed((~exists).double())
    covariance = torch.linalg.inv(precision + blank)
    mean = covariance @ slope
    inside = precision[exists][:, exists]
    total = density(zero) + 0.5 * slope @ mean - 0.5 * torch.linalg.slogdet(inside / (2 * torch.pi))[1]
    return Exact(total, mean, covariance, exists)


def gradient_of(f, at: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(f, at)


def hessian_of(f, at: Tensor) -> Tensor:
    return torch.autograd.functional.hessian(f, at)


def _full(dim: int, given_dim: int) -> LinearGaussian:
    """Full noise that is not the identity."""
    factor = LinearGaussian(dim, given_dim, covariance="full")
    with torch.no_grad():
        factor.raw_scale.copy_(0.3 * torch.randn(dim, dim))
    return factor


def _lds(**more) -> Model:
    return Model(
        {"z[0]": Gaussian(dim=2, learn=True), "z[t] | z[t-1]": _full(2, 2), "x[t] | z[t]": LinearGaussian(3, 2)} | more
    )


def _x(*shape: int):
    return lambda: {"x": torch.randn(*shape)}


def _holes(*shape: int, whole: bool = False):
    def make():
        where = torch.rand(*(shape[:-1] if whole else shape)) < 0.4
        return {"x": Missing(torch.randn(*shape), where)}

    return make


EXAMPLES = {
    "chain": Example(_lds, _x(2, 4, 3), {"z": (2, 4, 2)}),
    "chain without batch": Example(_lds, _x(4, 3), {"z": (4, 2)}),
    "one element": Example(_lds, _x(2, 1, 3), {"z": (2, 1, 2)}),
    "lengths": Example(_lds, _x(3, 4, 3), {"z": (3, 4, 2)}, {"lengths": torch.tensor([2, 4, 0])}),
    "holes in the axis": Example(
        _lds, _x(2, 4, 3), {"z": (2, 4, 2)}, {"mask": torch.tensor([[1, 0, 1, 1], [0, 1, 0, 1]]).bool()}
    ),
    "missing cells": Example(_lds, _holes(2, 4, 3), {"z": (2, 4, 2)}),
    "missing steps": Example(
        lambda: Model({"z[0]": Gaussian(dim=2), "z[t] | z[t-1]": LinearGaussian(2, 2), "x[t] | z[t]": _full(2, 2)}),
        _holes(2, 4, 2, whole=True),
        {"z": (2, 4, 2)},
    ),
    "starts at zero": Example(
        lambda: Model({"z[t] | z[t-1]": _full(2, 2), "x[t] | z[t]": LinearGaussian(1, 2)}),
        _x(2, 3, 1),
        {"z": (2, 3, 2)},
    ),
    "first steps of their own": Example(
        lambda: Model(
            {
                "z[0]": Gaussian(dim=1),
                "z[1] | z[0]": LinearGaussian(1, 1),
                "z[t] | z[t-1], z[t-2]": LinearGaussian(1, 2),
                "x[t] | z[t]": LinearGaussian(1, 1),
            }
        ),
        _x(2, 4, 1),
        {"z": (2, 4, 1)},
        {"lengths": torch.tensor([4, 2])},
    ),
    "third order": Example(
        lambda: Model({"z[t] | z[t-1], z[t-3]": LinearGaussian(1, 2), "x[t] | z[t], z[t-1]": LinearGaussian(1, 2)}),
        _x(2, 5, 1),
        {"z": (2, 5, 1)},
    ),
    "controls": Example(
        lambda: Model(
            {
                "z[0]": Gaussian(dim=2),
                "z[t] | z[t-1], u[t]": LinearGaussian(2, 3),
                "x[t] | u[t-1], z[t], c": LinearGaussian(2, 7),
            },
            support={"u": Real(1), "c": Real(4)},
        ),
        lambda: {"x": torch.randn(2, 4, 2), "u": torch.randn(2, 4, 1), "c": torch.randn(2, 4)},
        {"z": (2, 4, 2)},
        {"lengths": torch.tensor([3, 4])},
    ),
    "feeds back": Example(
        lambda: Model(
            {
                "z[0]": Gaussian(dim=2),
                "z[t] | x[t-1], z[t-1]": LinearGaussian(2, 3),
                "x[t] | z[t], x[t-1]": LinearGaussian(1, 3),
            }
        ),
        _x(2, 4, 1),
        {"z": (2, 4, 2)},
    ),
    "a network's prior": Example(
        lambda: Model(
            {"z[t] | u[t]": Gaussian(nn.Linear(3, 4), dim=2), "x[t] | z[t]": LinearGaussian(1, 2)},
            support={"u": Real(3)},
        ),
        lambda: {"x": torch.randn(2, 4, 1), "u": torch.randn(2, 4, 3)},
        {"z": (2, 4, 2)},
        {"mask": torch.tensor([[1, 0, 1, 1], [0, 1, 0, 1]]).bool()},
    ),
    "messages": Example(
        lambda: _lds(**{"z[t] | y[t]": GaussianPotential(nn.Linear(3, 4), dim=2)}),
        lambda: {"x": torch.randn(2, 4, 3), "y": torch.randn(2, 4, 3)},
        {"z": (2, 4, 2)},
        {"lengths": torch.tensor([4, 3])},
    ),
    "messages alone": Example(
        lambda: Model(
            {"z[0]": Gaussian(dim=2), "z[t] | z[t-1]": _full(2, 2), "z[t] | y[t]": GaussianPotential(nn.Linear(3, 4))},
        ),
        lambda: {"y": torch.randn(2, 4, 3)},
        {"z": (2, 4, 2)},
    ),
    "a message at the end": Example(
        lambda: _lds(**{"z[-1] | y": GaussianPotential(nn.Linear(3, 4), dim=2), "w | z[-1]": LinearGaussian(1, 2)}),
        lambda: {"x": torch.randn(2, 4, 3), "y": torch.randn(2, 3), "w": torch.randn(2, 1)},
        {"z": (2, 4, 2)},
        {"lengths": torch.tensor([4, 2])},
    ),
    "factor analysis": Example(
        lambda: Model({"z": Gaussian(dim=2), "x | z": LinearGaussian(4, 2)}), _x(3, 4), {"z": (3, 2)}
    ),
    "factor analysis on a plate": Example(
        lambda: Model({"z[n]": Gaussian(dim=2), "x[n] | z[n]": LinearGaussian(4, 2)}),
        _holes(2, 3, 4),
        {"z": (2, 3, 2)},
        {"lengths": {"n": torch.tensor([3, 1])}},
    ),
    "several children": Example(
        lambda: Model(
            {
                "z": Gaussian(dim=2),
                "x | z": LinearGaussian(4, 2),
                "y | z": _full(2, 2),
                "w[k] | z": LinearGaussian(1, 2),
            }
        ),
        lambda: {"x": torch.randn(3, 4), "y": torch.randn(3, 2), "w": torch.randn(3, 4, 1)},
        {"z": (3, 2)},
    ),
    "a hierarchy": Example(
        lambda: Model(
            {"m": Normal(torch.zeros(2), 2.0), "z[n] | m": LinearGaussian(2, 2), "x[n] | z[n]": LinearGaussian(1, 2)}
        ),
        _x(2, 3, 1),
        {"m": (2, 2), "z": (2, 3, 2)},
        {"lengths": {"n": torch.tensor([3, 0])}},
    ),
    "a linear Bayesian network": Example(
        lambda: Model(
            {
                "a": Gaussian(dim=1),
                "b | a": LinearGaussian(2, 1),
                "c": Gaussian(dim=2, learn=True, covariance="full"),
                "d | b, a, c": LinearGaussian(1, 5),
                "x | d, c": LinearGaussian(1, 3),
            }
        ),
        _x(3, 1),
        {"a": (3, 1), "b": (3, 2), "c": (3, 2), "d": (3, 1)},
    ),
    "scalars": Example(lambda: Model({"a": Normal(0.5, 2.0), "x | a": LinearGaussian(2, 1)}), _x(3, 2), {"a": (3,)}),
    "coupled chains": Example(
        lambda: Model(
            {
                "a[0]": Gaussian(dim=1),
                "b[0] | a[0]": LinearGaussian(2, 1),
                "a[t] | a[t-1]": LinearGaussian(1, 1),
                "b[t] | a[t], b[t-1], m": LinearGaussian(2, 4),
                "m": Gaussian(dim=1),
                "x[t] | b[t]": LinearGaussian(1, 2),
                "y[t] | a[t], b[t]": LinearGaussian(2, 3),
            }
        ),
        lambda: {"x": torch.randn(2, 3, 1), "y": torch.randn(2, 3, 2)},
        {"a": (2, 3, 1), "b": (2, 3, 2), "m": (2, 1)},
        {"lengths": torch.tensor([3, 1])},
    ),
    "chains on a plate": Example(
        lambda: Model(
            {
                "z[n,0]": Gaussian(dim=1),
                "z[n,t] | z[n,t-1]": LinearGaussian(1, 1),
                "x[t,n] | z[n,t]": LinearGaussian(1, 1),
            }
        ),
        _x(2, 3, 2, 1),
        {"z": (2, 2, 3, 1)},
    ),
    "two chains that do not touch": Example(
        lambda: Model(
            {
                "a[t] | a[t-1]": LinearGaussian(1, 1),
                "x[t] | a[t]": LinearGaussian(1, 1),
                "b[t] | b[t-1]": LinearGaussian(2, 2),
                "y[t] | b[t]": LinearGaussian(1, 2),
            }
        ),
        lambda: {"x": torch.randn(2, 3, 1), "y": torch.randn(2, 3, 1)},
        {"a": (2, 3, 1), "b": (2, 3, 2)},
    ),
    "beside states": Example(
        lambda: _lds(
            **{
                "s[0]": Categorical(2),
                "s[t] | s[t-1]": Categorical(2, given=2),
                "y[t] | s[t]": Gaussian(dim=1, given=2),
                "c": Categorical(3),
                "e | c": Categorical(2, given=3),
            }
        ),
        lambda: {"x": torch.randn(2, 3, 3), "y": torch.randn(2, 3, 1), "e": torch.tensor([0, 1])},
        {"z": (2, 3, 2)},
    ),
    "a function of what is known": Example(
        lambda: _lds(**{"h[t] = u[t]": Function(nn.Linear(2, 2)), "y[t] | z[t], h[t]": LinearGaussian(1, 4)}),
        lambda: {"x": torch.randn(2, 3, 3), "u": torch.randn(2, 3, 2), "y": torch.randn(2, 3, 1)},
        {"z": (2, 3, 2)},
    ),
    "known states choose": Example(
        lambda: Model(
            {"s": Categorical(3), "z | s": Gaussian(dim=2, given=3), "x | s, z": LinearGaussian(2, 5)},
        ),
        lambda: {"x": torch.randn(3, 2), "s": torch.tensor([0, 2, 1])},
        {"z": (3, 2)},
    ),
}

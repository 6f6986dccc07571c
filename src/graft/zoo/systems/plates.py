"""Mixtures and chains with conjugate parts: plates, random weights, and networks around them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graft.factors.categorical import Categorical
from graft.factors.function import Function
from graft.factors.gaussian import Gaussian
from graft.factors.gaussian_potential import GaussianPotential
from graft.factors.linear_gaussian import LinearGaussian
from graft.factors.priors import Beta, Dirichlet, Normal
from graft.factors.scores import Scores
from graft.factors.select import Select
from graft.model import Model
from graft.ops.sticks import stick_breaking
from graft.zoo.system import System
from graft.zoo.systems.nets import Log, mlp


def bayesian_gmm() -> Model:
    """The Bayesian Gaussian mixture."""
    # a component is its location, then its log-scale
    return Model({
        "pi": Dirichlet(torch.ones(3)),
        "theta[k]": Normal(torch.zeros(4), torch.tensor([3.0, 3.0, 0.5, 0.5])),
        "c[n] | pi": Categorical(Log(), 3),
        "y[n] | c[n], theta": Select(Gaussian(nn.Identity(), dim=2)),
    })  # fmt: skip


def gmm_svae() -> Model:
    """The GMM-SVAE."""
    return Model({
        "pi": Dirichlet(torch.ones(3)),
        "theta[k]": Normal(torch.zeros(4), torch.tensor([3.0, 3.0, 0.5, 0.5])),
        "c[n] | pi": Categorical(Log(), 3),
        "y[n] | c[n], theta": Select(Gaussian(nn.Identity(), dim=2)),
        "x[n] | y[n]": Gaussian(mlp(2, 8, 6), dim=3),
    })  # fmt: skip


def gmm_recognition() -> Model:
    """The guide of the GMM-SVAE."""
    return Model({"y[n] | x[n]": GaussianPotential(mlp(3, 8, 4), dim=2)})


def lds_svae() -> Model:
    """The LDS-SVAE."""
    return Model({
        "z[0]": Gaussian(dim=2, learn=True),
        "z[t] | z[t-1]": LinearGaussian(2, 2),
        "x[t] | z[t]": Gaussian(mlp(2, 8, 6), dim=3),
    })  # fmt: skip


def lds_recognition() -> Model:
    """The guide of the LDS-SVAE."""
    return Model({"z[t] | x[t]": GaussianPotential(mlp(3, 8, 4), dim=2)})


def hmm_svae() -> Model:
    """The HMM-SVAE."""
    return Model({
        "z[0]": Categorical(3),
        "z[t] | z[t-1]": Categorical(3, given=3),
        "x[t] | z[t]": Gaussian(mlp(3, 8, 6), dim=3),
    })  # fmt: skip


def hmm_recognition() -> Model:
    """The guide of the HMM-SVAE."""
    return Model({"z[t] | x[t]": Scores(mlp(3, 8, 3), states=3)})


class Sticks(nn.Module):
    """Weights of components from fractions (rows, components, 1); the last fraction is not read."""

    def forward(self, v: Tensor) -> Tensor:
        return stick_breaking(v[..., :-1, 0])


def stick_breaking_prior() -> Model:
    """The stick-breaking prior."""
    return Model({
        "v[k]": Beta(1.0, 2.0),
        "pi = v": Function(Sticks(), dim=4),
        "mu[k]": Normal(torch.zeros(2), torch.full((2,), 3.0)),
        "c[n] | pi": Categorical(Log(), 4),
        "z[n] | c[n], mu": Select(Gaussian(nn.Identity(), dim=2, scale=1.0)),
        "x[n] | z[n]": Gaussian(mlp(2, 8, 6), dim=3),
    })  # fmt: skip


def stick_breaking_guide() -> Model:
    """The guide of the stick-breaking prior."""
    return Model({
        "c[n] | x[n]": Categorical(mlp(3, 8, 4), 4),
        "z[n] | x[n]": Gaussian(mlp(3, 8, 4), dim=2),
    })  # fmt: skip


class NestedSticks(nn.Module):
    """Logits of the leaves of a tree of two levels: a stick for the branches, one per branch for its leaves."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        branches, leaves = stick_breaking(first[..., :-1, 0]), stick_breaking(second[..., :-1, 0])
        return (branches.unsqueeze(-1) * leaves).flatten(-2).log()


def nested_crp() -> Model:
    """The nested-CRP prior."""
    return Model({
        "v1[i]": Beta(1.0, 2.0),
        "v2[i,j]": Beta(1.0, 2.0),
        "m1[i]": Normal(torch.zeros(2), torch.full((2,), 3.0)),
        "m2[i,j] | m1[i]": Gaussian(nn.Identity(), dim=2, scale=1.0),
        "c[n] | v1, v2": Categorical(NestedSticks(), 6, concat=False),
        "z[n] | c[n], m2": Select(Gaussian(nn.Identity(), dim=2, scale=0.5)),
        "x[n] | z[n]": Gaussian(mlp(2, 8, 6), dim=3),
    })  # fmt: skip


def nested_crp_guide() -> Model:
    """The guide of the nested-CRP prior."""
    return Model({
        "c[n] | x[n]": Categorical(mlp(3, 8, 6), 6),
        "z[n] | x[n]": Gaussian(mlp(3, 8, 4), dim=2),
    })  # fmt: skip


PLATES = (
    System(
        "bayesian_gmm",
        "Bayesian Gaussian mixture",
        "A mixture whose weights and components are random (Attias 1999).",
        bayesian_gmm,
        sizes={"k": 3, "n": 5},
    ),
    System(
        "gmm_svae",
        "GMM-SVAE",
        "A mixture seen through a network; the guide's network sends Gaussian messages (Johnson et al. 2016).",
        gmm_svae,
        gmm_recognition,
        sizes={"k": 3, "n": 5},
    ),
    System(
        "lds_svae",
        "LDS-SVAE",
        "A linear dynamical system seen through a network (Johnson et al. 2016).",
        lds_svae,
        lds_recognition,
        sizes={"t": 5},
    ),
    System(
        "hmm_svae",
        "HMM-SVAE",
        "A hidden Markov chain seen through a network, which the guide scores (Johnson et al. 2016).",
        hmm_svae,
        hmm_recognition,
        sizes={"t": 5},
    ),
    System(
        "stick_breaking",
        "stick-breaking prior",
        "A VAE whose codes form clusters of a truncated Dirichlet process (Nalisnick and Smyth 2017).",
        stick_breaking_prior,
        stick_breaking_guide,
        sizes={"k": 4, "n": 5},
    ),
    System(
        "nested_crp",
        "nested-CRP prior",
        "A VAE whose codes lie on the leaves of a truncated random tree (Goyal et al. 2017).",
        nested_crp,
        nested_crp_guide,
        sizes={"i": 2, "j": 3, "n": 5},
    ),
)

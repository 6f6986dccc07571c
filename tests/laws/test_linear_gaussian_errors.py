"""What linear-Gaussian chains and models refuse, and how they say it."""

from __future__ import annotations

import pytest
import torch
from tests.reference.gaussian_models import EXAMPLES
from torch import nn

from graft.distributions.supports import Real
from graft.errors import GraftError, IntractableError, ShapeError
from graft.factors import Bernoulli, Categorical, Energy, Function, Gaussian, LinearGaussian, Mixture
from graft.inference.evidence import Missing
from graft.model import Model
from graft.structured.gaussian_parameters import Dynamics, Emission, GaussianEvidence
from graft.structured.linear_gaussian_chain import LinearGaussianChain

NAN = float("nan")


def _walk(**changes):
    eye = torch.eye(2)
    parts = {"initial_mean": torch.zeros(2), "initial_covariance": eye, "transition": eye, "noise": eye} | changes
    return Dynamics(**parts)


SEEN = Emission(torch.ones(1, 2), torch.eye(1))
SKEW = torch.tensor([[1.0, 0.5], [0.0, 1.0]])
LAYER = {
    "not symmetric": (lambda: LinearGaussianChain(_walk(noise=SKEW), length=3), GraftError, "^noise is not symmetric"),
    "negative": (
        lambda: LinearGaussianChain(_walk(initial_covariance=-torch.eye(2)), length=3),
        GraftError,
        "initial_covariance is not positive semidefinite",
    ),
    "indefinite reading": (
        lambda: LinearGaussianChain(_walk(), Emission(torch.ones(2, 2), SKEW + SKEW.T - 3), torch.zeros(3, 2)),
        GraftError,
        "emission.noise is not positive",
    ),
    "NaN parameter": (
        lambda: LinearGaussianChain(_walk(transition=torch.full((2, 2), NAN)), length=3),
        GraftError,
        "transition is NaN",
    ),
    "NaN observation": (
        lambda: LinearGaussianChain(_walk(), SEEN, torch.tensor([[0.0], [NAN]])),
        GraftError,
        r"observations is NaN or infinite, first at \[0, 1, 0\]",
    ),
    "shape": (lambda: LinearGaussianChain(_walk(transition=torch.eye(3)), length=3), ShapeError, "transition has"),
    "steps": (
        lambda: LinearGaussianChain(_walk(noise=torch.eye(2).expand(3, 2, 2)), length=3),
        ShapeError,
        r"noise has shape \(3, 2, 2\); it is \(2, 2\) or \(..., 2, 2, 2\)",
    ),
    "batch": (
        lambda: LinearGaussianChain(_walk(initial_mean=torch.zeros(3, 2)), SEEN, torch.zeros(4, 5, 1)),
        ShapeError,
        "do not broadcast",
    ),
    "integers": (lambda: LinearGaussianChain(_walk(), SEEN, torch.zeros(3, 1).long()), GraftError, "observations must"),
    "no emission": (lambda: LinearGaussianChain(_walk(), None, torch.zeros(3, 1)), GraftError, "need an emission"),
    "no length": (lambda: LinearGaussianChain(_walk(), SEEN), GraftError, "how many steps"),
    "two lengths": (lambda: LinearGaussianChain(_walk(), SEEN, torch.zeros(3, 1), length=4), ShapeError, "differs"),
    "negative length": (lambda: LinearGaussianChain(_walk(), length=-1), GraftError, "at least 0"),
    "missing shape": (
        lambda: LinearGaussianChain(_walk(), SEEN, torch.zeros(3, 1), missing=torch.zeros(1, dtype=torch.bool)),
        ShapeError,
        "missing has shape",
    ),
    "missing type": (
        lambda: LinearGaussianChain(_walk(), SEEN, torch.zeros(3, 1), missing=torch.zeros(3, 1)),
        GraftError,
        "missing must be bool",
    ),
    "missing of nothing": (
        lambda: LinearGaussianChain(_walk(), SEEN, missing=torch.zeros(3, 1, dtype=torch.bool)),
        GraftError,
        "not given",
    ),
    "too long": (
        lambda: LinearGaussianChain(_walk(), length=3, lengths=torch.tensor(4)),
        GraftError,
        "lengths must be in 0..3",
    ),
    "negative precision": (
        lambda: LinearGaussianChain(_walk(), evidence=GaussianEvidence(-torch.ones(3, 2), torch.zeros(3, 2))),
        GraftError,
        "precision is negative",
    ),
    "evidence without time": (
        lambda: LinearGaussianChain(_walk(), length=2, evidence=GaussianEvidence(torch.eye(2), torch.zeros(2))),
        ShapeError,
        "evidence.shift has shape",
    ),
    "method": (lambda: LinearGaussianChain(_walk(), length=3, method="fast"), GraftError, "method is"),
    "moments": (lambda: LinearGaussianChain(_walk(), length=3).moments("all"), GraftError, "smoothed"),
    "states": (lambda: LinearGaussianChain(_walk(), length=3).log_prob(torch.zeros(2, 2)), ShapeError, "do not fit"),
    "NaN states": (
        lambda: LinearGaussianChain(_walk(), length=1).log_prob(torch.full((1, 2), NAN)),
        GraftError,
        "states are NaN",
    ),
    "forecast": (lambda: LinearGaussianChain(_walk(), length=3).forecast(0), GraftError, "positive whole number"),
    "singular, in parallel": (
        lambda: LinearGaussianChain(
            _walk(noise=torch.zeros(2, 2)),
            Emission(torch.eye(2), 0 * torch.eye(2)),
            torch.zeros(3, 2),
            method="parallel",
        ).mode(),
        GraftError,
        "in parallel, readings need noise",
    ),
    "no density of a state": (
        lambda: LinearGaussianChain(_walk(initial_covariance=torch.zeros(2, 2)), length=3).marginals,
        GraftError,
        "a smoothed state has no density: its covariance is singular",
    ),
    **{
        f"draws, {n!r}": (
            lambda n=n: LinearGaussianChain(_walk(), length=3).sample(n),
            GraftError,
            "the shape of draws is a whole number",
        )
        for n in (-1, 2.0, True, (2, -1))
    },
    **{
        f"overflow, {method}": (
            lambda method=method: LinearGaussianChain(
                _walk(transition=3 * torch.eye(2)), length=1000, method=method
            ).moments("predicted"),
            GraftError,
            "overflows at step",
        )
        for method in ("sequential", "parallel")
    },
    "no moments of a reading": (
        lambda: LinearGaussianChain(
            _walk(initial_covariance=torch.zeros(2, 2)),
            Emission(torch.eye(2), torch.zeros(2, 2)),
            torch.zeros(3, 2),
        ).moments(),
        GraftError,
        "observation at step 0 has no density",
    ),
    "no density of a reading": (
        lambda: (
            LinearGaussianChain(
                _walk(initial_covariance=torch.zeros(2, 2)),
                Emission(torch.eye(2), torch.zeros(2, 2)),
                torch.zeros(3, 2),
            ).log_partition
        ),
        GraftError,
        "observation at step 0 has no density",
    ),
}


@pytest.mark.parametrize("what", LAYER)
def test_bad_arguments_are_named(what):
    make, kind, text = LAYER[what]
    with pytest.raises(kind, match=text):
        make()


def _ask(model, ask=lambda posterior: posterior.log_partition, **values):
    def run():
        if ask is None:
            return model().log_prob(**values)
        return ask(model().given(**values))

    return run


def _chain(**more):
    return lambda: Model(
        {"z[0]": Gaussian(dim=2), "z[t] | z[t-1]": LinearGaussian(2, 2), "x[t] | z[t]": LinearGaussian(2, 2)} | more
    )


X = torch.zeros(2, 3, 2)
MODELS = {
    "switching": (
        _ask(
            lambda: Model({"s": Categorical(2), "z | s": Gaussian(dim=2, given=2), "x | z": LinearGaussian(2, 2)}),
            x=torch.zeros(2),
        ),
        IntractableError,
        r"unknowns: z.*z \| s couples z with s, which is unknown",
    ),
    "switching, the same by log_prob": (
        _ask(
            lambda: Model({"s": Categorical(2), "z": Gaussian(dim=2), "x | z, s": LinearGaussian(2, 4)}),
            None,
            x=torch.zeros(2),
        ),
        IntractableError,
        r"unknowns: z.*couples z with s",
    ),
    "a network": (
        _ask(lambda: Model({"z": Gaussian(dim=2), "x | z": Gaussian(nn.Linear(2, 4))}), x=torch.zeros(2)),
        IntractableError,
        r"unknowns: z.*x \| z is a Gaussian, not a LinearGaussian of z",
    ),
    "a Bernoulli child": (
        _ask(lambda: Model({"z": Gaussian(dim=2), "x | z": Bernoulli(nn.Linear(2, 4))}), x=torch.zeros(4)),
        IntractableError,
        r"x \| z is a Bernoulli",
    ),
    "not Gaussian": (
        _ask(lambda: Model({"z": Mixture(2, dim=2), "x | z": LinearGaussian(2, 2)}), x=torch.zeros(2)),
        IntractableError,
        "z is a Mixture, not Gaussian",
    ),
    "not Gaussian when called": (
        _ask(lambda: Model({"z": Laplace(), "x | z": LinearGaussian(2, 2)}, support={"z": Real(2)}), x=torch.zeros(2)),
        IntractableError,
        "z is a Laplace: only Gaussians",
    ),
    "a function": (
        _ask(_chain(**{"h[t] = z[t]": Function(nn.Tanh()), "y[t] | h[t]": LinearGaussian(1, 2)}), x=X, y=X[..., :1]),
        IntractableError,
        r"h\[t\] = z\[t\] is a function of z",
    ),
    "looks ahead": (
        _ask(lambda: Model({"z[t] | z[t+1]": LinearGaussian(2, 2), "x[t] | z[t]": LinearGaussian(2, 2)}), x=X),
        IntractableError,
        "ahead of itself",
    ),
    "two axes": (
        _ask(
            lambda: Model(
                {
                    "a[n]": Gaussian(dim=1),
                    "b[m]": Gaussian(dim=1),
                    "x[n,m] | a[n], b[m]": LinearGaussian(1, 2),
                }
            ),
            x=torch.zeros(2, 3, 1),
        ),
        IntractableError,
        "coupled along several axes, n and m",
    ),
    "top_k": (_ask(_chain(), lambda p: p.top_k(2), x=X), GraftError, "z is real"),
    "decide": (_ask(_chain(), lambda p: p.decide("hamming", "z"), x=X), GraftError, "decide is of discrete unknowns"),
    "given": (_ask(_chain(), lambda p: p.marginals["x"], x=X), GraftError, "x is evidence"),
    "given already": (_ask(_chain(), lambda p: p.log_prob(x=X), x=X), GraftError, "x is evidence already"),
    "partly given": (
        _ask(_chain(), lambda p: p.marginals["x"], x=Missing(X, X == 0)),
        GraftError,
        "x is known in part",
    ),
    "unknown name": (_ask(_chain(), lambda p: p.marginals["q"], x=X), GraftError, "q"),
    "no time axis": (
        _ask(EXAMPLES["factor analysis"].model, lambda p: p.filtered["z"], x=torch.zeros(4)),
        GraftError,
        "no time axis",
    ),
    "far apart": (_ask(_chain(), lambda p: p.marginals["z[t-2], z[t]"], x=X), GraftError, "spans 2 steps"),
    "budget": (
        lambda: _chain()().given(x=X, budget=100),
        IntractableError,
        "too large: the moments of z take at least",
    ),
    "not a message": (
        _ask(_chain(**{"z[t]": Energy(nn.Linear(2, 1))}), x=X),
        IntractableError,
        "is a Energy, not a GaussianPotential of one vector alone",
    ),
}


class Laplace(nn.Module):
    """A bare module whose family is seen when it is called."""

    def forward(self):
        return torch.distributions.Independent(torch.distributions.Laplace(torch.zeros(2), torch.ones(2)), 1)


@pytest.mark.parametrize("what", MODELS)
def test_what_cannot_be_answered_is_said(what):
    ask, kind, text = MODELS[what]
    with pytest.raises(kind, match=text):
        ask()

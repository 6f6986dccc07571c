"""Guides that are not amortised: parameters of their own for every row, and variational EM with them."""

import pytest
import torch
from torch import nn

from graft.errors import GraftError
from graft.factors import Bernoulli, Categorical, Gaussian, LinearGaussian
from graft.model import Model
from graft.objectives import ELBO, Alternating, ImportanceWeighted, Likelihood
from graft.objectives.estimators import REBAR

ROWS, DIM = 40, 4


def data():
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(ROWS, 1, generator=generator)
    return hidden @ torch.randn(1, DIM, generator=generator) + 0.7 * torch.randn(ROWS, DIM, generator=generator) + 1


def factor_analysis(latent=1):
    torch.manual_seed(0)
    return Model({"z": Gaussian(dim=latent), "x | z": LinearGaussian(DIM, latent)})


def own_parameters(rows=ROWS, latent=1):
    """Location and log-scale of each row's posterior, one line of a table."""
    return Model({"z | row": Gaussian(nn.Embedding(rows, 2 * latent), dim=latent)})


def best_likelihood(x):
    """The maximum of the exact likelihood, in nats a row, by L-BFGS."""
    exact = Likelihood(factor_analysis().double())
    optimiser = torch.optim.LBFGS(exact.parameters(), max_iter=300, tolerance_grad=1e-7, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = exact({"x": x.double()})
        loss.backward()
        return loss

    optimiser.step(closure)
    return -closure().item()


def climbed(objective, batch, steps, rate):
    optimiser = torch.optim.Adam(objective.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        objective.step(batch)
        optimiser.step()
        schedule.step()


def test_variational_em_reaches_the_maximum_of_the_likelihood():
    """The family holds the posterior, so the bound is tight where it is highest.

    The seed is fixed. Of four seeds the worst stops 0.003 nats a row below the maximum, and its bound (a mean over
    20,000 draws) 0.013 below that: margins are five times as wide.
    """
    x = data()
    model, guide = factor_analysis(), own_parameters()
    bound = ELBO(model, guide, samples=8)
    batch = {"x": x, "row": torch.arange(ROWS)}
    torch.manual_seed(1)
    climbed(Alternating(bound), batch, 600, 0.1)
    with torch.no_grad():
        reached = -Likelihood(model)({"x": x}).item()
        gap = reached + ELBO(model, guide, samples=500)(batch).item()
    best = best_likelihood(x)
    assert best - 0.015 < reached < best + 1e-4
    assert gap < 0.065


def test_rows_keep_to_themselves():
    """A minibatch moves the lines of its rows alone, wherever they stand."""
    model, guide = factor_analysis(), own_parameters()
    for make in (ELBO, ImportanceWeighted):
        guide.zero_grad()
        picked = torch.tensor([7, 3, 31])
        make(model, guide, samples=2)({"x": data()[picked], "row": picked}).backward()
        moved = guide.factors[0].net.weight.grad.abs().sum(-1).nonzero().flatten()
        assert moved.tolist() == [3, 7, 31]


def test_a_row_sees_its_own_line():
    """The divergence of each row is that of its line of the table."""
    model, guide = factor_analysis(), own_parameters(3)
    with torch.no_grad():
        guide.factors[0].net.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, -1.0]]))
    run = ELBO(model, guide).terms({"x": data()[:3], "row": torch.tensor([2, 0, 1])})
    expected = torch.tensor([0.5 * (torch.e**-2.0 - 1) + 1.0, 0.0, 0.5])
    torch.testing.assert_close(-run["-KL(z)"], expected)


def test_states_have_lines_too():
    """Logits for every row, beside a variable that is enumerated; in phases."""
    torch.manual_seed(0)
    model = Model({"h": Bernoulli(dim=3), "c": Categorical(2), "x | h, c": Bernoulli(nn.Linear(5, 4), dim=4)})
    guide = Model(
        {"h | row": Bernoulli(nn.Embedding(6, 3), dim=3), "c | row": Categorical(nn.Embedding(6, 2), 2)},
    )
    turns = Alternating(ELBO(model, guide, estimators={"h": REBAR()}))
    batch = {"x": torch.ones(2, 4), "row": torch.tensor([4, 1])}
    assert turns.step(batch) == "guide"
    assert all(p.grad is None for p in model.parameters())
    for factor in guide.factors:
        assert factor.net.weight.grad.abs().sum(-1).nonzero().flatten().tolist() == [1, 4]
    assert turns.step(batch) == "model"
    assert all(p.grad is None for p in guide.parameters())
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters())


BAD = {
    "no row": ({}, "row"),
    "too few": ({"row": torch.arange(3)}, "row"),
    "not a tensor": ({"row": [0, 1]}, "row"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_row_is_named(bad):
    more, message = BAD[bad]
    with pytest.raises(GraftError, match=message):
        ELBO(factor_analysis(), own_parameters())({"x": data()[:2], **more})

"""Gibbs draws have the right frequencies, and the diagnostics tell when they have not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.reference import chains
from tests.reference.approximate import NETS

import graft
from graft.factors import Table
from graft.inference.approximate.diagnostics import effective_size, split_rhat

SEED = 7
#: Networks whose possible assignments hang together by single changes.
NAMES = ["one element", "tree of triples", "ring", "grid", "triples in loops"]
ENGINE = graft.Gibbs(draws=300, warmup=40, chains=12, rhat=1.05)


@pytest.mark.parametrize("name", NAMES)
def test_frequencies_are_within_their_errors(name):
    """5 standard errors: some 6e-7 to fail by chance per cell, 1e-3 over 1500 cells, were seeds not fixed."""
    net, values = NETS[name], NETS[name].values(SEED, 6)
    exact, found = net.model().given(values), net.model().given(values, using=ENGINE)
    assert bool(found.converged.all()) and found.kind == "estimate"
    for x in net.states:
        told = found.diagnostics(x)
        wrong = (found.marginals[x].probs - exact.marginals[x].probs).abs()
        assert told.rhat.shape == told.effective_size.shape == wrong.shape
        assert bool((wrong <= 5 * told.standard_error).all()), (name, x)
    for scope in net.scopes:
        if len(scope) > 1:
            table, wanted = found.marginals[", ".join(scope)], exact.marginals[", ".join(scope)]
            # 5 sigma of as many independent draws as the worst cell of any network here is worth
            assert bool(((table - wanted).abs() <= 5 * (wanted * (1 - wanted) / 250).sqrt() + 0.01).all())


def test_errors_are_neither_too_small_nor_too_large():
    """Squared errors over squared standard errors average 1: within 0.7 to 1.3 for 400 loosely dependent cells."""
    net, values = NETS["ring"], NETS["ring"].values(SEED, 100)
    exact, found = net.model().given(values), net.model().given(values, using=ENGINE)
    ratios = [
        ((found.marginals[x].probs - exact.marginals[x].probs) / found.diagnostics(x).standard_error).square()[:, 0]
        for x in net.states
    ]
    assert 0.7 <= float(torch.cat(ratios).detach().mean()) <= 1.3


def test_the_diagnostics_are_those_of_the_literature():
    """On indicators the rank-normalised R-hat and effective size are the plain ones."""
    made = np.random.default_rng(0)
    for stick in (0.0, 0.5, 0.9):
        draws = np.zeros((200, 4))
        for t in range(1, 200):
            draws[t] = np.where(made.random(4) < stick, draws[t - 1], made.random(4) < 0.3)
        tensor = torch.from_numpy(draws)
        assert abs(float(split_rhat(tensor)) - chains.rhat(draws)) < 1e-9
        assert abs(float(effective_size(tensor)) / chains.ess(draws) - 1) < 1e-9


def test_chains_on_islands_are_found_out():
    """Either both on or both off: no single change leads from one to the other."""
    model = graft.Model({"a, b": Table(values=torch.tensor([[0.0, -math.inf], [-math.inf, 0.0]]))})
    found = model.given(using=graft.Gibbs(chains=16, draws=20))
    assert not bool(found.converged) and found.diagnostics("a").rhat.max() == math.inf
    assert bool((found.sample(50, seed=0)["a"] == found.sample(50, seed=0)["b"]).all())


def test_a_start_is_found_among_hard_zeros():
    """A proper colouring of a grid by four colours: random assignments have none of their 112 edges right for long."""
    proper = torch.zeros(4, 4).masked_fill(torch.eye(4, dtype=torch.bool), -math.inf)
    model = graft.Model({"y[i-1,j], y[i,j]": Table(values=proper), "y[i,j-1], y[i,j]": Table(values=proper)})
    found = model.given(sizes={"i": 8, "j": 8}, using=graft.Gibbs(draws=4, warmup=0, chains=3))
    y = found.sample(12, seed=1)["y"]
    assert bool((y[:, 1:] != y[:, :-1]).all()) and bool((y[..., 1:] != y[..., :-1]).all())


def test_impossible_rows_are_named():
    never = torch.full((2, 2), -math.inf)
    never[0, 0] = 0.0
    model = graft.Model({"a, b": Table(values=never), "b, c": Table(2, 2)})
    a = torch.tensor([0, 1])
    for engine in (graft.Gibbs(), graft.MeanField()):
        found = model.given(a=a, using=engine)
        with pytest.raises(graft.ImpossibleEvidence) as error:
            _ = found.marginals["b"]
        assert error.value.rows == [(1,)]
    ring = graft.Model(
        {"a, b": Table(values=unlike(2)), "b, c": Table(values=unlike(2)), "c, a": Table(values=unlike(2))}
    )
    for engine in (graft.Gibbs(), graft.MeanField()):
        with pytest.raises(graft.GraftError, match="no possible assignment to start from in rows 0"):
            _ = ring.given(using=engine).marginals["a"]


def unlike(count):
    return torch.zeros(count, count).masked_fill(torch.eye(count, dtype=torch.bool), -math.inf)


def test_draws_are_repeatable_and_leave_the_global_state():
    net, values = NETS["ring"], NETS["ring"].values(SEED, 2)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = net.model().given(values, using=graft.Gibbs(draws=10, seed=3)).marginals["a"].probs
    two = net.model().given(values, using=graft.Gibbs(draws=10, seed=3)).marginals["a"].probs
    other = net.model().given(values, using=graft.Gibbs(draws=10, seed=4)).marginals["a"].probs
    assert bool((one == two).all()) and not bool((one == other).all())
    assert bool((torch.random.get_rng_state() == before).all())


def test_draws_that_would_not_fit_are_refused():
    model = graft.Model({"y[i-1,j], y[i,j]": Table(2, 2), "y[i,j-1], y[i,j]": Table(2, 2)})
    with pytest.raises(graft.IntractableError, match="draws"):
        _ = model.given(sizes={"i": 100, "j": 100}, using=graft.Gibbs(), budget=10_000_000).marginals["y"]

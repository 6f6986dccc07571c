"""Bounds, Bethe values and exactness on trees, over a table of named networks with a batch of random rows each."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from tests.reference.approximate import COUPLINGS, NETS, TREES, torus
from tests.reference.libdai_grid import grid

import graft
from graft.inference.approximate.mean_field import Ascent
from graft.inference.approximate.network import flatten
from graft.inference.approximate.tree_reweighted import TreeReweighted
from graft.inference.problem import pose

SEED = 3
BP = graft.LoopyBP(tolerance=1e-8, iterations=300)
ABOVE = TreeReweighted(tolerance=1e-6, iterations=250)


@cache
def exact(name: str) -> graft.Posterior:
    return NETS[name].model().given(NETS[name].values(SEED))


@cache
def solved(name: str, engine) -> graft.ApproximatePosterior:
    with torch.no_grad():
        found = NETS[name].model().given(NETS[name].values(SEED), using=engine)
        _ = found.log_partition
    return found


@pytest.mark.parametrize("name", NETS)
def test_converged_upper_bounds_hold(name):
    found, log_z = solved(name, ABOVE), exact(name).log_partition
    assert bool((found.log_partition - log_z >= -1e-6)[found.converged].all())
    assert found.kind == ("upper bound" if bool(found.converged.all()) else "estimate")


def test_few_upper_bounds_do_not_converge():
    rows = torch.cat([solved(name, ABOVE).converged for name in NETS])
    assert (~rows).float().mean() <= 0.05, rows


@pytest.mark.parametrize("name", NETS)
def test_lower_bounds_hold_and_restarts_only_raise_them(name):
    one, two = solved(name, graft.MeanField()), solved(name, graft.MeanField(restarts=2))
    log_z = exact(name).log_partition
    assert bool((one.log_partition <= log_z + 1e-9).all()) and bool((two.log_partition <= log_z + 1e-9).all())
    if not NETS[name].zeros:  # the starts are drawn alike, the first of them is the same
        assert bool((two.log_partition >= one.log_partition - 1e-6).all())
    assert one.kind == "lower bound"


@pytest.mark.parametrize("name", NETS)
def test_every_step_of_mean_field_raises_its_bound(name):
    """Two elements of one factor renewed at once may lower it: the colouring is what this law holds to account."""
    network = flatten(pose(NETS[name].model().settled(NETS[name].values(SEED))), 2**31)
    with torch.no_grad():
        process = Ascent(network)
        process.start = graft.MeanField().starts(network)
        state, value = process.init(), process.value(process.init())
        for _ in range(6):
            state = process.step(state)
            before, value = value, process.value(state)
            assert bool((value >= before - 1e-9).all()), (before, value)


def test_moving_appearances_tightens_the_bound():
    plain, moved = solved("strong grid", ABOVE), solved("strong grid", MOVED)
    gap = (plain.log_partition - exact("strong grid").log_partition).mean()
    closer = (moved.log_partition - exact("strong grid").log_partition).mean()
    assert moved.kind == "upper bound" and -1e-6 <= closer < 0.99 * gap


MOVED = TreeReweighted(tolerance=1e-6, iterations=150, optimise=2)


#: Two tables on one scope have beliefs of their own, which no name tells apart.
SIMPLE = [name for name, net in NETS.items() if len(set(net.scopes)) == len(net.scopes)]


@pytest.mark.parametrize("name", SIMPLE)
def test_the_value_is_the_bethe_value_of_the_beliefs(name):
    """Expected log-factors and entropies put together by hand from the marginals."""
    net, values, found = NETS[name], NETS[name].values(SEED), solved(name, BP)
    log_factor = [net.model().factors[i].net(values[f"w{i}"]) for i in range(len(net.scopes))]
    degrees = {x: sum(x in scope for scope in net.scopes if len(scope) > 1) for x in net.states}
    total = torch.zeros(found.log_partition.shape, dtype=torch.float64)
    for scope, table in zip(net.scopes, log_factor, strict=True):
        tau = belief(found, scope)
        dims = tuple(range(1, tau.dim()))
        total += torch.where(tau > 0, tau * (table.detach() - tau.clamp_min(1e-300).log() * (len(scope) > 1)), 0).sum(
            dims
        )
    for x, degree in degrees.items():
        tau = belief(found, (x,))
        total += (degree - 1) * torch.where(tau > 0, tau * tau.clamp_min(1e-300).log(), 0).sum(-1)
    error = (total - found.log_partition).abs()[found.converged]
    assert found.converged.float().mean() > 0.9 and bool((error < 1e-6).all())


def belief(found, scope):
    return found.marginals[scope[0]].probs if len(scope) == 1 else found.marginals[", ".join(scope)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", TREES)
def test_message_passing_is_exact_on_trees(name, dtype):
    net = NETS[name]
    tolerance = 1e-4 if dtype == torch.float32 else 1e-7
    model = net.model().to(dtype)
    values = {x: v.to(dtype) for x, v in net.values(SEED).items()}
    found = model.given(values, using=graft.LoopyBP(damping=0.0, tolerance=1e-6))
    assert bool(found.converged.all()) and found.log_partition.dtype == dtype
    near(found.log_partition, exact(name).log_partition, tolerance)
    near(found.entropy(), exact(name).entropy(), 10 * tolerance)
    for x in net.states:
        near(found.marginals[x].probs, exact(name).marginals[x].probs, tolerance)
    for scope in net.scopes:
        if len(scope) > 1:
            text = ", ".join(reversed(scope))
            near(found.marginals[text], exact(name).marginals[text], tolerance)


def near(found, wanted, tolerance):
    assert bool(((found.double() - wanted).abs() <= tolerance * wanted.abs().clamp_min(1)).all()), (found, wanted)


@pytest.mark.parametrize("name", TREES)
def test_max_product_finds_the_mode_of_trees(name):
    values = NETS[name].values(SEED)
    best = exact(name).mode()
    found = NETS[name].model().given(values, using=graft.LoopyBP(temperature=0.0, damping=0.0)).mode()
    assert all(bool((found[x] == best[x]).all()) for x in NETS[name].states)


@pytest.mark.parametrize("name", TREES)
def test_gradients_are_exact_on_trees(name):
    net, grads = NETS[name], []
    for using in (None, graft.LoopyBP(damping=0.0), graft.LoopyBP(damping=0.0, gradient="implicit")):
        values = {x: v.requires_grad_() for x, v in net.values(SEED).items()}
        posterior = net.model().given(values, using=using)
        loss = posterior.log_partition.sum() + sum(posterior.marginals[x].probs.square().sum() for x in net.states)
        grads.append(torch.autograd.grad(loss, list(values.values())))
    for other in grads[1:]:
        for one, two in zip(grads[0], other, strict=True):
            assert bool(((one - two).abs() < 1e-6).all())


def test_modes_of_any_network_are_no_worse_than_their_neighbours():
    """Coordinate ascent has the last word: no single change betters a mode, max-product or mean field."""
    for name in ("ring with hard zeros",):
        net, values = NETS[name], NETS[name].values(SEED)
        model = net.model()
        for engine in (graft.LoopyBP(temperature=0.0), graft.MeanField()):
            best = model.given(values, using=engine).mode()
            score = model.score({**values, **best})
            assert bool((score > -math.inf).all())
            for x, count in net.states.items():
                for state in range(count):
                    other = {**best, x: torch.full_like(best[x], state)}
                    assert bool((model.score({**values, **other}) <= score + 1e-9).all()), (name, engine, x)


def test_a_tempered_network_lies_between_sums_and_maxima():
    """At temperature 1/2 all tables count twice."""
    net, values = NETS["chain"], NETS["chain"].values(SEED)
    half = net.model().given(values, using=graft.LoopyBP(damping=0.0, temperature=0.5))
    twice = net.model().given({x: 2 * v for x, v in values.items()})
    for x in net.states:
        near(half.marginals[x].probs, twice.marginals[x].probs, 1e-6)


#: Marginals of the first state as libDAI prints them, of its torus and its grid: exact, and by belief propagation.
EXACT = "3888 5556 4587 5480 6660 2107 8178 2327 2171 2052 7665 1217 4214 5348 6291 1357"
BETHE = "4233 5422 4662 5424 6042 1845 8203 2292 3119 2975 7268 1485 4512 5266 6033 1558"
GRID_EXACT = "2883 6971 5107 2892 2860 6996 6299 5437 2141 7759 5787 5338 2969 9482 1871 7347"
GRID_BETHE = "2852 6928 5129 2846 2790 6998 6345 5456 2017 7845 5661 5261 2922 9480 2051 7243"


def printed(exact, bethe, error, digits, marginals):
    """Whether Bethe's error of log Z and all marginals are as printed, to half their last digit and some rounding."""
    assert bool(bethe.converged.all())
    assert abs(float(bethe.log_partition - exact.log_partition) - error) < digits
    for found, rows in zip((exact, bethe), marginals, strict=True):
        assert len(rows.split()) == 16
        for i, row in enumerate(rows.split()):
            assert abs(float(found.marginals[f"x{i}"].probs[0, 0]) - int(row) / 1e4) < 6e-5


def test_the_torus_of_libdai():
    """Printed to four digits in its `testfast.out`: log Z errors +2.969e-01 (Bethe) and -1.608e+00 (mean field)."""
    values, model = torus()
    exact = model.given(values)
    with torch.no_grad():
        bethe = model.given(values, using=graft.LoopyBP(tolerance=1e-8))
        printed(exact, bethe, 0.2969, 6e-5, (EXACT, BETHE))
        field = model.given(values, using=graft.MeanField(restarts=8, iterations=60))
        gap = float(field.log_partition - exact.log_partition)
        assert -1.608 - 6e-4 < gap <= 0, "one of many starts is as good as libDAI's"
        above = model.given(values, using=ABOVE)
        assert bool(above.converged.all()) and float(above.log_partition) > float(exact.log_partition)
    assert len(COUPLINGS) == 32


def test_the_grid_of_libdai():
    """Its belief propagation has a log Z error of +8.382e-03."""
    values, model = grid()
    with torch.no_grad():
        bethe = model.given(values, using=graft.LoopyBP(tolerance=1e-9))
        printed(model.given(values), bethe, 8.382e-3, 6e-7, (GRID_EXACT, GRID_BETHE))

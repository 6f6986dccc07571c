"""The flat form of every family of models is that model, and message passing on it is exact where it has no loops."""

from __future__ import annotations

import math

import torch
from tests.reference.bulk import cases, close, given, probabilities
from tests.reference.case import Case
from tests.reference.flat import is_forest, joint

import graft
from graft.inference.approximate.network import Network, flatten
from graft.inference.problem import pose

SEEDS = 1
#: Assignments of one row that are listed.
MOST = 2**14


def flat(one: Case) -> Network:
    options = {name: value for name, value in one.options.items() if name != "budget"}
    return flatten(pose(one.model.settled(one.values, **options)), 2**31)


def test_the_flat_form_adds_up_to_log_z(family):
    """Ends that rows have at different places, holes, elements outside, slots that meet: all are in some family."""
    for one in cases(family, SEEDS):
        network = flat(one)
        if math.prod(layer.states**layer.count for layer in network.layers) <= MOST:
            found = torch.logsumexp(joint(network).flatten(1), 1).reshape(one.space.batch)
            close(found, one.log_partition, one)


def test_bounds_enclose_and_forests_are_exact(family):
    with torch.no_grad():
        for one in cases(family, SEEDS):
            forest = is_forest(flat(one))
            above = solved(one, graft.TreeReweighted(damping=0.0 if forest else 0.5, tolerance=1e-8, iterations=200))
            high, exact = above.log_partition, one.log_partition
            good = above.converged & (exact > -math.inf)
            assert bool((high - exact)[good].ge(-1e-6).all()), (one, high, exact)
            if forest:
                close(high, exact, one, 1e-6)
                check_marginals(one, solved(one, graft.LoopyBP(damping=0.0, tolerance=1e-9)))
            check_lower(one)


def check_lower(one: Case) -> None:
    try:
        low = solved(one, graft.MeanField()).log_partition
    except graft.GraftError:
        # a random search proves nothing; it may give up only where something is impossible
        assert one.dead, one
        return
    assert bool((low <= one.log_partition + 1e-9).all()), (one, low)


def check_marginals(one: Case, posterior: graft.ApproximatePosterior) -> None:
    close(posterior.log_partition, one.log_partition, one, 1e-6)
    if not one.dead:
        exact = given(one)
        for name in one.unknown:
            found = probabilities(one, name, posterior.marginals[name])
            close(found, probabilities(one, name, exact.marginals[name]), (one, name), 1e-6)


def solved(one: Case, engine) -> graft.ApproximatePosterior:
    return one.model.given(one.values, **one.options, using=engine)

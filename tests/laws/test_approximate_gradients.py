"""Gradients through the iterations, at the fixed point, and by finite differences are one."""

from __future__ import annotations

import pytest
import torch
from tests.reference.approximate import NETS

import graft

SEED = 5
ROWS = 2
#: Engines that have gradients, with enough iterations to converge.
ENGINES = {
    "belief propagation": lambda **more: graft.LoopyBP(tolerance=1e-9, iterations=300, **more),
    "tree-reweighted": lambda **more: graft.TreeReweighted(tolerance=1e-9, iterations=300, **more),
    "mean field": lambda **more: graft.MeanField(tolerance=1e-9, iterations=300, **more),
}
NAMES = ["triples in loops", "ring with hard zeros"]


def loss(net, values, engine):
    """The log-partition, and something of marginals."""
    posterior = net.model().given(values, using=engine)
    single = sum((i + 1) * posterior.marginals[x].probs[:, 0].sum() for i, x in enumerate(net.states))
    pair = posterior.marginals[", ".join(net.scopes[0])].square().sum()
    assert bool(posterior.converged.all())
    return posterior.log_partition.sum() + single + pair


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_implicit_gradients_are_unrolled_ones_are_finite_differences(name, engine):
    net, grads = NETS[name], []
    for how in ("unrolled", "implicit"):
        values = {x: v.requires_grad_() for x, v in net.values(SEED, ROWS).items()}
        found = torch.autograd.grad(loss(net, values, ENGINES[engine](gradient=how)), list(values.values()))
        assert all(bool(torch.isfinite(g).all()) for g in found)
        grads.append(found)
    for one, two in zip(*grads, strict=True):
        assert bool(((one - two).abs() <= 1e-6).all()), (one, two)
    check_differences(net, ENGINES[engine](), grads[0])


def check_differences(net, engine, grads):
    """Along one random direction that moves no potential across the share of hard zeros."""
    made = torch.Generator().manual_seed(0)
    values = net.values(SEED, ROWS)
    way = {x: torch.randn(v.shape, generator=made, dtype=v.dtype) * 1e-5 for x, v in values.items()}
    with torch.no_grad():
        up = loss(net, {x: v + way[x] for x, v in values.items()}, engine)
        down = loss(net, {x: v - way[x] for x, v in values.items()}, engine)
    along = sum((g * w).sum() for g, w in zip(grads, way.values(), strict=True))
    assert abs(float((up - down) / 2 - along)) <= 1e-4 * (abs(float(along)) + 1e-6)


def bytes_saved(engine) -> int:
    """What autograd keeps for the way back."""
    net, kept = NETS["grid"], {}
    values = {x: v.requires_grad_() for x, v in net.values(SEED, ROWS).items()}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        posterior = net.model().given(values, using=engine)
        _ = posterior.log_partition
    return sum(tensor.numel() * tensor.element_size() for tensor in kept.values())


def test_implicit_gradients_keep_one_step_whatever_the_iterations():
    few, many = (graft.LoopyBP(iterations=n, tolerance=0.0, gradient="implicit") for n in (20, 200))
    long, longer = (graft.LoopyBP(iterations=n, tolerance=0.0) for n in (20, 200))
    assert bytes_saved(many) == bytes_saved(few)
    assert bytes_saved(longer) > 3 * bytes_saved(long) > 3 * bytes_saved(few)


def test_implicit_gradients_refuse_rows_that_have_not_converged():
    net = NETS["strong complete"]
    values = {x: v.requires_grad_() for x, v in net.values(SEED, ROWS).items()}
    posterior = net.model().given(values, using=graft.LoopyBP(iterations=8, tolerance=1e-9, gradient="implicit"))
    assert not bool(posterior.converged.any())
    with pytest.raises(graft.GraftError, match=r"rows 0, 1 .* have not converged after 8 steps"):
        posterior.marginals["a"].probs.square().sum().backward()


def test_implicit_gradients_have_no_second_derivative_and_say_so():
    net = NETS["ring"]
    values = {x: v.requires_grad_() for x, v in net.values(SEED, ROWS).items()}
    posterior = net.model().given(values, using=graft.LoopyBP(gradient="implicit"))
    with pytest.raises(graft.GraftError, match="unrolled"):
        torch.autograd.grad(posterior.marginals["a"].probs.square().sum(), list(values.values()), create_graph=True)


def test_answers_made_without_gradients_are_made_anew_for_who_wants_them():
    net = NETS["ring"]
    values = {x: v.requires_grad_() for x, v in net.values(SEED, ROWS).items()}
    for engine in ENGINES.values():
        posterior = net.model().given(values, using=engine())
        with torch.inference_mode():
            first = posterior.log_partition.clone()
        value = posterior.log_partition
        assert torch.allclose(first, value.detach()) and value.requires_grad
        value.sum().backward()

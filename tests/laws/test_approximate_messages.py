"""Factors that send their own messages: the displacement kernel by FFT equals its table."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import graft
from graft.distributions.supports import Finite, Real
from graft.factors import Displacement, Scores
from graft.factors.base import Call
from graft.factors.messages import MessagePotential
from graft.ops.logspace import logsumexp

#: Height, width, standard deviation of kernel and maps, and the share of hard zeros.
KERNELS = {
    "mild": (4, 5, 0.5, 0.0),
    "tall": (7, 1, 1.0, 0.0),
    "one cell": (1, 1, 1.0, 0.0),
    "wide range": (5, 6, 40.0, 0.0),
    "hard zeros": (4, 6, 2.0, 0.3),
    "mostly forbidden": (6, 5, 5.0, 0.9),
}


def kernel_and_maps(name, dtype):
    height, width, scale, zeros = KERNELS[name]
    made = torch.Generator().manual_seed(len(name))
    limb = Displacement(height, width).to(dtype)
    with torch.no_grad():
        values = scale * torch.randn(limb.kernel.shape, generator=made, dtype=torch.float64)
        hard = torch.rand(values.shape, generator=made) < zeros
        limb.kernel.copy_(values.masked_fill(hard, -math.inf))
    maps = scale * torch.randn(2, height * width, 3, generator=made, dtype=torch.float64)
    maps = maps.masked_fill(torch.rand(maps.shape, generator=made) < zeros, -math.inf)
    return limb, maps.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", KERNELS)
def test_messages_are_those_of_the_table(name, dtype):
    """To 1e-6 absolute in the logarithm, hard zeros exactly, gradients too; float32 adds its own rounding."""
    limb, maps = kernel_and_maps(name, dtype)
    maps.requires_grad_()
    table = limb.table((), Call(None))
    wanted = (
        logsumexp(table[:, :, None] + maps[1][None], 1),
        logsumexp(table[:, :, None] + maps[0][:, None], 0),
    )
    tolerance = 1e-6 if dtype == torch.float64 else 1e-4
    grads = []
    for found in (wanted, limb.messages((maps[0], maps[1])), by_table(limb, maps)):
        for one, two in zip(found, wanted, strict=True):
            assert one.dtype == dtype and bool(((one == -math.inf) == (two == -math.inf)).all())
            alive = two > -math.inf
            assert bool(((one - two)[alive].abs() <= tolerance * two[alive].abs().clamp_min(1)).all())
        total = sum(part[part > -math.inf].sin().sum() for part in found)
        grads.append(torch.autograd.grad(total, [maps, limb.kernel], retain_graph=True, allow_unused=True))
    for other in grads[1:]:
        for one, two in zip(grads[0], other, strict=True):
            if one is not None:
                assert bool(((one - two).abs() <= 100 * tolerance).all())


def by_table(limb, maps):
    other = Displacement(limb.height, limb.width, method="table").to(maps.dtype)
    other.kernel = limb.kernel
    return other.messages((maps[0], maps[1]))


def body(method, dtype=torch.float64):
    """Three joints on a grid, two limbs: a tree."""
    torch.manual_seed(0)
    support = {"wrist": Finite((6, 5)), "heat": Real(30), "warm": Real(30)}
    factors = {
        "wrist | heat": Scores(nn.Identity()),
        "shoulder | warm": Scores(nn.Identity()),
        "shoulder, elbow": Displacement(6, 5, method=method),
        "elbow, wrist": Displacement(6, 5, method=method),
    }
    return graft.Model(factors, support={**support, "shoulder": Finite((6, 5))}).to(dtype)


@pytest.mark.parametrize("method", ["fft", "table"])
def test_a_body_is_inferred_without_tables(method):
    model = body(method)
    heat, warm = torch.randn(2, 4, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact = model.given(heat=heat, warm=warm)
    found = model.given(heat=heat, warm=warm, using=graft.LoopyBP(damping=0.0))
    near(found.log_partition, exact.log_partition)
    near(found.entropy(), exact.entropy())
    near(found.marginals["elbow"].probs, exact.marginals["elbow"].probs)
    near(found.marginals["shoulder, elbow"], exact.marginals["shoulder, elbow"])
    parameters = list(model.parameters())
    for one, two in zip(
        torch.autograd.grad(found.log_partition.sum(), parameters),
        torch.autograd.grad(exact.log_partition.sum(), parameters),
        strict=True,
    ):
        near(one, two)


def near(one, two):
    assert bool(((one - two).abs() <= 1e-6).all()), (one - two).abs().max()


class Untabled(MessagePotential):
    """Equality of two states, whose table nobody may ask for."""

    def __init__(self, states):
        super().__init__()
        self.supports = (Finite(states),) * 2

    def table(self, inputs, call):
        raise AssertionError("the table was asked for")

    def messages(self, incoming):
        return incoming[1], incoming[0]


def test_no_table_is_made_of_a_factor_that_sends_messages():
    """Two states that must be equal: their log-weights add up."""
    model = graft.Model(
        {"a | x": Scores(nn.Identity()), "b | z": Scores(nn.Identity()), "a, b": Untabled(4)},
        support={"x": Real(4), "z": Real(4)},
    )
    x, z = torch.randn(2, 3, 4)
    found = model.given(x=x, z=z, using=graft.LoopyBP(damping=0.0))
    assert torch.allclose(found.log_partition, torch.logsumexp(x + z, -1), atol=1e-5)
    assert torch.allclose(found.marginals["b"].probs, torch.softmax(x + z, -1), atol=1e-5)


def test_a_body_of_many_cells_does_not_need_its_table():
    """64 x 48 positions: a table of 9.4 million pairs, which a budget of 4 MB refuses."""
    model = graft.Model(
        {"wrist | heat": Scores(nn.Identity()), "wrist, elbow": Displacement(64, 48)},
        support={"heat": Real(64 * 48)},
    )
    heat = torch.randn(1, 64 * 48)
    with pytest.raises(graft.IntractableError, match=r"wrist"):
        model.given(heat=heat, budget=4_000_000)
    found = model.given(heat=heat, using=graft.LoopyBP(damping=0.0), budget=4_000_000)
    assert found.marginals["elbow"].probs.shape == (1, 64 * 48)


def test_no_such_method():
    with pytest.raises(graft.GraftError, match="'fft' or 'table'"):
        Displacement(3, 4, method="dct")

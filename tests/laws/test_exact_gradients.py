"""Derivatives of exact sums: against the plain reference, finite differences, and to second order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.reference.bulk import FEW, cases, close, drawable, given, possible, probabilities
from tests.reference.case import Case
from torch import Tensor
from torch.autograd import grad

import graft
from graft.factors import Categorical


def parameters(one: Case) -> list[Tensor]:
    return [p for p in one.model.parameters() if p.requires_grad]


def gradients(value: Tensor, at: list[Tensor], **options: bool) -> list[Tensor]:
    """With zeros where nothing depends on a parameter."""
    if not value.requires_grad:
        return [torch.zeros_like(x) for x in at]
    return list(grad(value, at, allow_unused=True, materialize_grads=True, **options))


def alive(value: Tensor) -> Tensor:
    return value[value > -torch.inf].sum()


def test_gradients_are_those_of_the_plain_reference(family):
    for one in cases(family):
        at = parameters(one)
        found = gradients(given(one).log_partition.sum(), at)
        sums = [one.joint(row).log_partition for row in one.rows if row not in one.dead]
        wanted = gradients(torch.stack(sums).sum(), at) if sums else [torch.zeros_like(x) for x in at]
        for a, b, name in zip(found, wanted, dict(one.model.named_parameters()), strict=True):
            close(a, b, (one, name))


def directions(one: Case, seed: int) -> list[Tensor]:
    """A random step for every finite entry of every parameter."""
    generator = torch.Generator().manual_seed(seed)
    steps = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters(one)]
    return [torch.where(p.isfinite(), s, 0.0) for p, s in zip(parameters(one), steps, strict=True)]


def moved(one: Case, steps: list[Tensor], scale: float) -> None:
    with torch.no_grad():
        for parameter, step in zip(parameters(one), steps, strict=True):
            parameter.copy_(torch.where(parameter.isfinite(), parameter + scale * step, parameter))


def slope(one: Case, steps: list[Tensor], of: Callable[[], Tensor], width: float = 1e-5) -> Tensor:
    """A central difference along a direction."""
    moved(one, steps, width)
    above = of()
    moved(one, steps, -2 * width)
    below = of()
    moved(one, steps, width)
    return (above - below) / (2 * width)


def test_gradients_are_finite_differences(family):
    for seed, one in enumerate(cases(family, FEW)):
        steps = directions(one, seed)
        found = gradients(alive(one.model.log_prob(one.values, **one.options)), parameters(one))
        along = sum((g * s).sum() for g, s in zip(found, steps, strict=True))
        with torch.no_grad():
            wanted = slope(one, steps, lambda: alive(one.model.log_prob(one.values, **one.options)))
        close(along, wanted, one, 1e-7)


def test_second_derivatives_are_differences_of_first_ones(family):
    for seed, one in enumerate(cases(family, FEW)):
        steps, at = directions(one, seed), parameters(one)

        def along(keep: bool) -> Tensor:
            first = gradients(alive(given(one).log_partition), at, create_graph=keep)
            return sum((g * s).sum() for g, s in zip(first, steps, strict=True))

        second = gradients(along(True), at)
        found = sum((g * s).sum() for g, s in zip(second, steps, strict=True))
        close(found, slope(one, steps, lambda: along(False).detach()), one, 1e-6)


def test_entropies_and_marginals_are_differentiable(family):
    for seed, one in enumerate(possible(family, FEW)):
        steps = directions(one, seed)
        found = gradients(given(one).entropy().sum(), parameters(one))
        along = sum((g * s).sum() for g, s in zip(found, steps, strict=True))
        with torch.no_grad():
            wanted = slope(one, steps, lambda: given(one).entropy().sum())
        close(along, wanted, one, 1e-6)


def test_inputs_that_do_not_exist_have_zero_gradient(family):
    for one in cases(family):
        floats = {n: v for n, v in one.values.items() if isinstance(v, Tensor) and v.dtype == torch.float64}
        inputs = {n: v.clone().requires_grad_() for n, v in floats.items()}
        if not inputs:
            continue
        value = one.model.given({**one.values, **inputs}, **one.options).log_partition.sum()
        for name, found in zip(inputs, gradients(value, list(inputs.values())), strict=True):
            gone = ~one.existing(name)
            assert bool(found.isfinite().all()), (one, name)
            assert not bool(found[gone].any()), (one, name)


def test_rows_of_probability_zero_have_zero_gradient():
    logits = torch.tensor([0.3, -torch.inf], dtype=torch.float64)
    table = torch.tensor([[0.1, 0.2], [-0.3, 0.4]], dtype=torch.float64)
    model = graft.Model({"a": Categorical(logits=logits), "b | a": Categorical(logits=table)})
    found = model.log_prob(a=torch.tensor([0, 1]), b=torch.tensor([1, 1]))
    assert found[1] == -torch.inf
    both = grad(found.sum(), list(model.parameters()))
    alone = grad(model.log_prob(a=torch.tensor([0]), b=torch.tensor([1])).sum(), list(model.parameters()))
    for a, b in zip(both, alone, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_every_query_works_without_gradients(family, mode):
    for one in drawable(family, FEW):
        want = given(one)
        with mode():
            found = given(one)
            close(found.log_partition, want.log_partition, one)
            close(found.entropy(), want.entropy(), one)
            for name in one.unknown:
                close(*(probabilities(one, name, p.marginals[name]) for p in (found, want)), (one, name))
            for values in (found.mode(), found.sample(2), found.top_k(2)[0]):
                assert set(one.unknown) <= values.keys()

"""Densities of the hot path against torch's own distributions, in values, draws and gradients."""

import itertools

import pytest
import torch
from torch import distributions as td

from graft.distributions.density_of import density_of
from graft.distributions.full_normal import FullNormalDensity

D = 3


def parameters(lead, dtype):
    generator = torch.Generator().manual_seed(len(lead))
    loc, raw = torch.randn(2, *lead, D, generator=generator, dtype=dtype)
    square = torch.randn(*lead, D, D, generator=generator, dtype=dtype)
    factor = square.tril(-1) + torch.diag_embed((0.3 * square.diagonal(dim1=-2, dim2=-1)).exp())
    return [one.requires_grad_() for one in (loc, raw, factor)]


FAMILIES = {
    "normal": lambda loc, raw, factor: td.Independent(td.Normal(loc, raw.exp()), 1),
    "full normal": lambda loc, raw, factor: td.MultivariateNormal(loc, scale_tril=factor),
    "bernoulli": lambda loc, raw, factor: td.Independent(td.Bernoulli(logits=loc), 1),
    "categorical": lambda loc, raw, factor: td.Categorical(logits=raw),
}
LEADS = {"none": (), "batch": (4,), "two": (2, 3)}
EACH = [
    pytest.param(name, lead, dtype, id=f"{name}-{what}-{str(dtype)[6:]}")
    for (name, (what, lead), dtype) in itertools.product(FAMILIES, LEADS.items(), (torch.float32, torch.float64))
]


def near(one, two, dtype):
    tolerance = 1e-10 if dtype == torch.float64 else 2e-4
    torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)


def gradients(value, given):
    found = torch.autograd.grad(value.sum(), given, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, given, strict=True)]


def alike(one, two, given, dtype):
    """In value and gradients."""
    near(one, two, dtype)
    if one.requires_grad:
        for a, b in zip(gradients(one, given), gradients(two, given), strict=True):
            near(a, b, dtype)


@pytest.mark.parametrize(("name", "lead", "dtype"), EACH)
def test_log_prob_and_entropy(name, lead, dtype):
    given = parameters(lead, dtype)
    dist = FAMILIES[name](*given)
    density = density_of(dist)
    for more in ((), (5,)):
        value = dist.sample(more)
        alike(density.log_prob(value), dist.log_prob(value), given, dtype)
    alike(density.entropy(), dist.entropy(), given, dtype)
    assert tuple(density.shape) == (*lead, *dist.event_shape) and density.leading == lead


def test_an_empty_batch_has_an_empty_density():
    """Which torch's own checks refuse."""
    density = FullNormalDensity(torch.zeros(0, D), torch.eye(D).expand(0, D, D))
    value = density.rdraw((0,))
    assert value.shape == (0, D) and density.log_prob(value).shape == density.entropy().shape == (0,)


@pytest.mark.parametrize("pair", [(a, b) for a in ("normal", "full normal") for b in ("normal", "full normal")])
@pytest.mark.parametrize("leads", [((4,), (4,)), ((2, 3), ()), ((), (2,)), ((3, 1), (2,))])
def test_divergences_between_normals(pair, leads):
    """Against torch's between two of full covariance, which a diagonal one is too."""
    given = [parameters(lead, torch.float64) for lead in leads]
    own = [density_of(FAMILIES[name](*p)) for name, p in zip(pair, given, strict=True)]

    def full(name, p):
        return td.MultivariateNormal(p[0], scale_tril=torch.diag_embed(p[1].exp()) if name == "normal" else p[2])

    wanted = td.kl_divergence(*(full(name, p) for name, p in zip(pair, given, strict=True)))
    found = own[0].kl(own[1])
    if found is None:  # from a diagonal one to a full one: nobody asks for it
        assert pair == ("normal", "full normal")
        return
    alike(found, wanted, [*given[0], *given[1]], torch.float64)


@pytest.mark.parametrize("lead", [(), (4,)])
def test_draws_of_a_full_normal_have_its_moments(lead):
    """Fails by chance about once in a million seeds, and the seed is fixed."""
    given = parameters(lead, torch.float64)
    dist = FAMILIES["full normal"](*given)
    torch.manual_seed(0)
    draws = density_of(dist).rdraw((40_000, *lead))
    assert draws.requires_grad
    mean, centred = draws.mean(0), draws - draws.mean(0)
    covariance = (centred.unsqueeze(-1) * centred.unsqueeze(-2)).mean(0)
    scale = dist.covariance_matrix.diagonal(dim1=-2, dim2=-1)
    assert bool(((mean - dist.loc).abs() < 5.5 * (scale / 40_000).sqrt()).all())
    spread = (scale.unsqueeze(-1) * scale.unsqueeze(-2) + dist.covariance_matrix.square()) / 40_000
    assert bool(((covariance - dist.covariance_matrix).abs() < 5.5 * spread.sqrt()).all())

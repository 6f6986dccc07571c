"""The compiled log-densities of many cells against torch's operations: values, gradients, second derivatives."""

import itertools

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.functional import binary_cross_entropy_with_logits

from graft.distributions.density_families import BernoulliDensity, NormalDensity
from graft.ops import cells

pytest.importorskip("numba")

#: Full shape, event rank, shape of the values: many rows, one row, no row, a row beyond a block, rows that repeat, odd
#: widths, events of two dimensions.
SHAPES = {
    "rows": ((6, 37), 1, (6, 37)),
    "one cell": ((3, 1), 1, (3, 1)),
    "one row": ((1, 5), 1, (1, 5)),
    "no lead": ((19,), 1, (19,)),
    "beyond a block": ((2, 2049), 1, (2, 2049)),
    "a register": ((4, 64), 1, (4, 64)),
    "samples": ((3, 5, 7), 1, (5, 7)),
    "samples with a one": ((3, 5, 7), 1, (1, 5, 7)),
    "samples apart": ((3, 5, 7), 1, (3, 1, 7)),
    "matrices": ((4, 3, 5), 2, (4, 3, 5)),
    "two batches": ((2, 3, 4, 5), 2, (3, 4, 5)),
    "empty": ((0, 7), 1, (0, 7)),
}
TYPES = (torch.float32, torch.float64)
EACH = [
    pytest.param(shape, rank, values, dtype, id=f"{name}-{str(dtype)[6:]}")
    for (name, (shape, rank, values)), dtype in itertools.product(SHAPES.items(), TYPES)
]


@pytest.fixture(autouse=True)
def always_compiled(monkeypatch):
    monkeypatch.setattr(cells, "_WORTHWHILE", 1)


def numbers(shape, dtype, seed, spread=4.0):
    generator = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def near(found, wanted, dtype):
    """In single precision a sum of n cells may be off by the rounding of its largest ones."""
    tolerance = 1e-11 if dtype == torch.float64 else 1e-5
    scale = float(wanted.detach().abs().max()) if wanted.numel() else 1.0
    torch.testing.assert_close(found.double(), wanted, rtol=tolerance, atol=tolerance * max(1.0, scale))


def units(logits, values, rank):
    whole = -binary_cross_entropy_with_logits(*torch.broadcast_tensors(logits, values), reduction="none")
    return whole.sum(tuple(range(-rank, 0)))


def normals(value, loc, log_scale, rank):
    return torch.distributions.Normal(loc, log_scale.exp()).log_prob(value).sum(tuple(range(-rank, 0)))


def alike(own, wanted, given, dtype):
    """Values and gradients by all that is given, weighted by rows; the reference is in double precision."""
    exact = [one.detach().double().requires_grad_() for one in given]
    found, true = own(*given), wanted(*exact)
    near(found, true, dtype)
    weights = numbers(true.shape, torch.float64, 99, 1.0)
    got = torch.autograd.grad((found * weights.to(dtype)).sum(), given)
    want = torch.autograd.grad((true * weights).sum(), exact)
    for one, other in zip(got, want, strict=True):
        near(one, other, dtype)


@pytest.mark.parametrize(("shape", "rank", "of_values", "dtype"), EACH)
def test_units(shape, rank, of_values, dtype):
    logits = numbers(shape, dtype, 1).requires_grad_()
    values = (numbers(of_values, dtype, 2) > 0).to(dtype)
    alike(lambda x: cells.units(x, values, rank), lambda x: units(x, values.double(), rank), [logits], dtype)
    with torch.no_grad():
        near(cells.units(logits, values, rank), units(logits.double(), values.double(), rank), dtype)


@pytest.mark.parametrize(("shape", "rank", "of_values", "dtype"), EACH)
def test_relaxed_values_have_gradients(shape, rank, of_values, dtype):
    logits, values = numbers(shape, dtype, 1).requires_grad_(), numbers(of_values, dtype, 2).sigmoid().requires_grad_()
    alike(lambda x, y: cells.units(x, y, rank), lambda x, y: units(x, y, rank), [logits, values], dtype)


@pytest.mark.parametrize(("shape", "rank", "smaller", "dtype"), EACH)
@pytest.mark.parametrize("which", ["locations", "scales"])
def test_normals(shape, rank, smaller, dtype, which):
    value = numbers(shape, dtype, 1).requires_grad_()
    loc = numbers(smaller if which == "locations" else shape, dtype, 2).requires_grad_()
    log_scale = numbers(smaller if which == "scales" else shape, dtype, 3, 0.7).requires_grad_()
    alike(
        lambda y, m, s: cells.normals(y, m, s, s.exp(), rank),
        lambda y, m, s: normals(y, m, s, rank),
        [value, loc, log_scale],
        dtype,
    )


@pytest.mark.parametrize("dtype", TYPES)
def test_columns_of_a_wider_tensor(dtype):
    """As a network's output is cut into halves."""
    both, value = numbers((6, 2 * 9), dtype, 1, 0.5).requires_grad_(), numbers((6, 9), dtype, 2)

    def own(both):
        loc, log_scale = both.chunk(2, -1)
        return cells.normals(value, loc, log_scale, log_scale.exp(), 1)

    alike(own, lambda both: normals(value.double(), *both.chunk(2, -1), 1), [both], dtype)
    turned = numbers((9, 6), dtype, 3).requires_grad_()
    yes = (value > 0).to(dtype)
    alike(lambda x: cells.units(x.T, yes, 1), lambda x: units(x.T, yes.double(), 1), [turned], dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_large_logits_keep_their_digits(dtype):
    """A sure unit costs exp(-|l|), not the rounding of l."""
    large = torch.tensor([5.0, 15.0, 30.0, 60.0, 90.0, 1e4, 1e30], dtype=dtype)
    right = torch.stack([cells.units(x.view(1), torch.ones(1, dtype=dtype), 1) for x in large])
    wrong = torch.stack([cells.units(-x.view(1), torch.ones(1, dtype=dtype), 1) for x in large])
    torch.testing.assert_close(right.double(), -torch.exp(-large.double()).log1p(), rtol=1e-6, atol=1e-37)
    torch.testing.assert_close(wrong.double(), -large.double() - torch.exp(-large.double()).log1p(), rtol=1e-6, atol=0)


def test_what_is_no_number_stays_none():
    for bad in (torch.nan, torch.inf, -torch.inf):
        logits = torch.tensor([0.0, bad]).requires_grad_()
        found = cells.units(logits, torch.tensor([1.0, 1.0 if bad == torch.inf else 0.0]), 1)
        assert not torch.isfinite(found)
    assert not torch.isfinite(cells.normals(torch.tensor([torch.nan]), *[torch.ones(1)] * 3, 1))


def test_second_derivatives():
    logits, values = numbers((3, 4), torch.float64, 1).requires_grad_(), torch.ones(3, 4, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(lambda x: cells.units(x, values, 1), [logits])
    given = [numbers((3, 4), torch.float64, k, 0.7).requires_grad_() for k in (1, 2, 3)]
    assert torch.autograd.gradgradcheck(lambda y, m, s: cells.normals(y, m, s, s.exp(), 1), given)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_transformations_of_functions():
    """Which look through torch's operations alone."""
    logits, values = numbers((5, 7), torch.float64, 1), torch.ones(5, 7, dtype=torch.float64)

    def loss(x, y):
        return cells.units(x, y, 1).sum()

    wanted = values - logits.sigmoid()
    torch.testing.assert_close(torch.func.grad(loss)(logits, values), wanted)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(logits[:, None], values[:, None])[:, 0], wanted)
    torch.testing.assert_close(torch.func.jvp(lambda x: loss(x, values), (logits,), (torch.ones_like(logits),))[1],
                               wanted.sum())  # fmt: skip


def test_transformations_around_it():
    """What is made outside a transformation looks like any tensor inside."""
    logits, values = numbers((3, 4), torch.float64, 1).requires_grad_(), torch.ones(3, 4, dtype=torch.float64)
    plain = cells.units(logits, values, 1)
    scaled = torch.func.vmap(lambda s: s * cells.units(logits, values, 1))(torch.arange(3.0, dtype=torch.float64))
    torch.testing.assert_close(scaled, torch.arange(3.0, dtype=torch.float64)[:, None] * plain)
    torch.func.grad(lambda s: (s * cells.units(logits, values, 1)).sum())(torch.tensor(2.0, dtype=torch.float64))


@pytest.mark.filterwarnings("ignore")
def test_what_stands_in_for_numbers_is_torchs():
    logits, values = numbers((3, 4), torch.float64, 1), torch.ones(3, 4, dtype=torch.float64)
    wanted = units(logits, values, 1)
    traced = torch.jit.trace(lambda x: cells.units(x, values, 1), logits)
    torch.testing.assert_close(traced(2 * logits), units(2 * logits, values, 1))
    graph = make_fx(lambda x: cells.units(x, values, 1))(logits)
    torch.testing.assert_close(graph(2 * logits), units(2 * logits, values, 1))
    torch.testing.assert_close(cells.units(torch._neg_view(logits), values, 1), units(-logits, values, 1))
    nothing = torch._efficientzerotensor((3, 4), dtype=torch.float64)
    torch.testing.assert_close(cells.units(logits, nothing, 1), units(logits, torch.zeros(3, 4).double(), 1))
    assert cells.units(logits, values[None], 1).shape == (1, 3)
    torch.testing.assert_close(cells.units(logits, values, 1), wanted)


def test_denormal_scales():
    value, scale = torch.full((1, 4), 3e-39), torch.full((1, 4), 1e-39)
    found = cells.normals(value, torch.zeros(1, 4), scale.log(), scale, 1)
    torch.testing.assert_close(found, normals(value.double(), torch.zeros(1, 4), scale.double().log(), 1).float(),
                               rtol=1e-4, atol=0)  # fmt: skip


def test_threads_change_nothing():
    logits, values = numbers((4000, 64), torch.float64, 1), (numbers((4000, 64), torch.float64, 2) > 0).double()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = cells.units(logits, values, 1)
        torch.set_num_threads(1)
        assert torch.equal(two, cells.units(logits, values, 1))
    finally:
        torch.set_num_threads(before)


def test_densities_take_the_compiled_way(monkeypatch):
    """A density of many cells calls a kernel, one on a meta device does not."""
    called = []
    run = cells._run
    monkeypatch.setattr(cells, "_run", lambda *told: called.append(1) or run(*told))
    BernoulliDensity(torch.zeros(4, 3), 1).log_prob(torch.ones(4, 3))
    NormalDensity(torch.zeros(4, 3), torch.zeros(4, 3), 1).log_prob(torch.ones(4, 3))
    assert len(called) == 2
    there = BernoulliDensity(torch.zeros(4, 3, device="meta"), 1).log_prob(torch.ones(4, 3, device="meta"))
    assert there.shape == (4,) and len(called) == 2

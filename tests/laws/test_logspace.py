"""Laws of log-space arithmetic."""

import math

import pytest
import torch
from torch.autograd import grad, gradcheck, gradgradcheck

from graft.ops.logspace import NEG_INF, dead_rows, log_normalize, logsumexp, safe_mul

TABLE = {
    "plain": [[0.5, -1.0, 2.0], [3.0, 3.0, 3.0]],
    "some zeros": [[0.5, NEG_INF, 2.0], [NEG_INF, NEG_INF, 1.0]],
    "dead row": [[NEG_INF, NEG_INF, NEG_INF], [0.0, 1.0, NEG_INF]],
    "all dead": [[NEG_INF] * 3, [NEG_INF] * 3],
    "huge": [[1e4, -1e4, 1e4], [-1e4, -1e4, -2e4]],
    "far apart": [[0.0, -800.0, -1600.0], [0.0, -120.0, NEG_INF]],
}
cases = pytest.mark.parametrize("name", TABLE)
DIMS = [0, 1, -1, (0, 1), (1,), (-1, -2)]


def case(name, dtype=torch.float64):
    return torch.tensor(TABLE[name], dtype=dtype)


def holding_zeros(x):
    """A function of the finite entries only: finite differences cannot move an infinite one."""
    zero = x == NEG_INF
    return x.masked_fill(zero, 0.0).requires_grad_(), lambda free: free.masked_fill(zero, NEG_INF)


@cases
@pytest.mark.parametrize("dim", DIMS, ids=str)
def test_value_is_that_of_torch(name, dim):
    x = case(name)
    torch.testing.assert_close(logsumexp(x, dim), torch.logsumexp(x, dim), rtol=1e-14, atol=0)
    torch.testing.assert_close(logsumexp(x, dim, True), torch.logsumexp(x, dim, True), rtol=1e-14, atol=0)


@cases
@pytest.mark.parametrize("dim", DIMS, ids=str)
def test_gradient_is_the_softmax_and_zero_in_dead_rows(name, dim):
    x = case(name).requires_grad_()
    (g,) = grad(logsumexp(x, dim).sum(), x)
    y = torch.logsumexp(x, dim, keepdim=True).detach()
    want = torch.where(dead_rows(x.detach(), dim), 0.0, (x - y).exp().nan_to_num())
    torch.testing.assert_close(g, want.detach(), rtol=1e-14, atol=0)


@cases
@pytest.mark.parametrize("dim", [-1, (0, 1)], ids=str)
def test_derivatives_of_logsumexp_to_second_order(name, dim):
    free, fill = holding_zeros(case(name))
    shown = logsumexp(fill(free.detach()), dim) > NEG_INF  # infinite values have no finite differences
    assert gradcheck(lambda x: logsumexp(fill(x), dim)[shown], (free,))
    assert gradgradcheck(lambda x: logsumexp(fill(x), dim)[shown], (free,))


@cases
def test_second_derivative_is_never_nan(name):
    x = case(name).requires_grad_()
    (first,) = grad(logsumexp(x, -1).sum(), x, create_graph=True)
    (second,) = grad((first * torch.arange(3.0)).sum(), x)
    assert second.isfinite().all()
    assert (second[x == NEG_INF] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_any_dtype(dtype):
    got = logsumexp(case("dead row", dtype), -1)
    assert got.dtype == dtype
    assert got.tolist() == pytest.approx([NEG_INF, math.log1p(math.e)], rel=1e-2)


@pytest.mark.parametrize(("shape", "dim"), [((0,), 0), ((2, 0), 1), ((0, 3), (0, 1)), ((0, 3), 0)], ids=str)
def test_nothing_sums_to_zero(shape, dim):
    x = torch.zeros(shape, requires_grad=True)
    total = logsumexp(x, dim)
    assert (total == NEG_INF).all()
    assert grad(total.sum(), x)[0].shape == shape


def test_no_dimension_is_no_sum():
    x = case("plain")
    assert torch.equal(logsumexp(x, ()), x)


@cases
@pytest.mark.parametrize("dim", DIMS, ids=str)
def test_normalised_sums_to_one_or_stays_dead(name, dim):
    x = case(name).requires_grad_()
    y = log_normalize(x, dim)
    total = logsumexp(y, dim).detach()
    assert ((total.abs() < 1e-12) | (total == NEG_INF)).all()
    assert torch.equal(total == NEG_INF, logsumexp(x, dim) == NEG_INF)
    assert grad(y.exp().square().sum(), x)[0].isfinite().all()


@pytest.mark.parametrize(
    ("p", "log_f", "value", "grad_p", "grad_f"),
    [
        (0.5, -2.0, -1.0, -2.0, 0.5),
        (0.0, -2.0, 0.0, -2.0, 0.0),
        (0.0, NEG_INF, 0.0, 0.0, 0.0),
        (0.5, NEG_INF, NEG_INF, 0.0, 0.0),
        (-0.5, NEG_INF, -NEG_INF, 0.0, 0.0),
    ],
)
def test_safe_mul(p, log_f, value, grad_p, grad_f):
    p, log_f = torch.tensor([p], requires_grad=True), torch.tensor([log_f], requires_grad=True)
    y = safe_mul(p, log_f)
    assert y.item() == value
    assert [g.item() for g in grad(y.sum(), (p, log_f))] == [grad_p, grad_f]


@cases
def test_entropy_has_no_nan_to_second_order(name):
    x = case(name).requires_grad_()
    log_p = log_normalize(x, -1)
    entropy = -safe_mul(log_p.exp(), log_p).sum()
    (first,) = grad(entropy, x, create_graph=True)
    (second,) = grad(first.square().sum(), x)
    assert torch.stack([first, second]).isfinite().all()

"""Laws that every factor keeps, over a table of named examples."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.distributions import Normal as TorchNormal
from torch.testing import assert_close

from graft import factors as gf
from graft.distributions.supports import Binary, Finite, Real, Support
from graft.errors import GraftError, ShapeError
from graft.factors.base import Argument, Call, Conditional, Factor, apply_network
from graft.model import Model
from graft.ops.sticks import stick_breaking


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@dataclass(frozen=True)
class Example:
    """A factor, what it reads (a potential: its left terms, then inputs), and the event it should have."""

    make: Callable[[], Factor]
    reads: tuple[Argument, ...] = ()
    event: tuple[int, ...] = ()
    terms: int = 0


def reads(*supports: Support | tuple[Support, int]) -> tuple[Argument, ...]:
    pairs = [s if isinstance(s, tuple) else (s, 0) for s in supports]
    return tuple(Argument(f"x{k}", support, whole) for k, (support, whole) in enumerate(pairs))


def call_of(example: Example, leading: int | None, as_given: bool = False) -> Call:
    return Call(leading, example.reads, as_given)


class Noisy(nn.Module):
    """A bare module: a normal whose location is the product of its inputs."""

    def forward(self, *inputs: Tensor) -> TorchNormal:
        loc = inputs[0]
        for other in inputs[1:]:
            loc = loc * other
        return TorchNormal(loc, 1.0)


class Dot(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3))

    def forward(self, v: Tensor, x: Tensor) -> Tensor:
        return (v * x * self.weight).sum(-1)


def image_net(channels: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, channels * 4), nn.Unflatten(-1, (channels, 2, 2)))


CONDITIONALS: dict[str, Example] = {
    "categorical prior": Example(lambda: gf.Categorical(4)),
    "categorical table": Example(lambda: gf.Categorical(4, given=3), reads(Finite(3))),
    "categorical table of two": Example(lambda: gf.Categorical(4, given=(3, 2)), reads(Finite(3), Binary())),
    "categorical table of units": Example(lambda: gf.Categorical(4, given=8), reads(Binary(3))),
    "categorical probs": Example(
        lambda: gf.Categorical(probs=torch.tensor([[0.2, 0.8], [0.5, 0.5]])), reads(Finite(2))
    ),
    "categorical logits": Example(lambda: gf.Categorical(logits=torch.randn(3, 5)), reads(Finite(3))),
    "categorical net": Example(lambda: gf.Categorical(nn.Linear(3 + 2, 4), 4), reads(Real(3), Finite(2))),
    "categorical embedding": Example(lambda: gf.Categorical(nn.Embedding(3, 4), 4, onehot=False), reads(Finite(3))),
    "bernoulli prior": Example(lambda: gf.Bernoulli()),
    "bernoulli table": Example(lambda: gf.Bernoulli(given=(2, 3)), reads(Binary(), Finite(3))),
    "bernoulli probs": Example(
        lambda: gf.Bernoulli(probs=torch.tensor([[0.1, 0.2], [0.3, 0.4]])), reads(Binary(), Binary())
    ),
    "bernoulli units": Example(lambda: gf.Bernoulli(dim=5), (), (5,)),
    "bernoulli units table": Example(lambda: gf.Bernoulli(dim=5, given=3), reads(Finite(3)), (5,)),
    "bernoulli net": Example(lambda: gf.Bernoulli(nn.Linear(3, 5)), reads(Real(3)), (5,)),
    "bernoulli scalar net": Example(lambda: gf.Bernoulli(nn.Linear(4, 1), scalar=True), reads(Real(3), Real())),
    "bernoulli image": Example(lambda: gf.Bernoulli(image_net(1), shape=(1, 2, 2)), reads(Real(3)), (1, 2, 2)),
    "gaussian standard": Example(lambda: gf.Gaussian(dim=4), (), (4,)),
    "gaussian learnt": Example(lambda: gf.Gaussian(dim=4, learn=True), (), (4,)),
    "gaussian learnt full": Example(lambda: gf.Gaussian(dim=2, learn=True, covariance="full"), (), (2,)),
    "gaussian table": Example(lambda: gf.Gaussian(dim=4, given=(3, 2)), reads(Finite(3), Binary()), (4,)),
    "gaussian table full": Example(lambda: gf.Gaussian(dim=2, given=3, covariance="full"), reads(Finite(3)), (2,)),
    "gaussian scalar": Example(lambda: gf.Gaussian(shape=(), given=3), reads(Finite(3))),
    "gaussian net": Example(lambda: gf.Gaussian(nn.Linear(3, 8)), reads(Real(3)), (4,)),
    "gaussian net of dim": Example(lambda: gf.Gaussian(nn.Linear(3 + 5, 8), dim=4), reads(Real(3), Binary(5)), (4,)),
    "gaussian net full": Example(
        lambda: gf.Gaussian(nn.Linear(3 + 2, 9), dim=3, covariance="full"), reads(Real(3), Finite(2)), (3,)
    ),
    "gaussian net full of one": Example(
        lambda: gf.Gaussian(nn.Linear(3, 2), dim=1, covariance="full"), reads(Real(3)), (1,)
    ),
    "gaussian fixed scale": Example(lambda: gf.Gaussian(nn.Linear(3, 4), scale=0.1), reads(Real(3)), (4,)),
    "gaussian image": Example(lambda: gf.Gaussian(image_net(6), shape=(3, 2, 2)), reads(Real(3)), (3, 2, 2)),
    "gaussian whole full": Example(
        lambda: gf.Gaussian(nn.Sequential(nn.Flatten(), nn.Linear(6, 5)), dim=2, covariance="full"),
        reads((Real(3), 1)),
        (2,),
    ),
    "gaussian whole": Example(
        lambda: gf.Gaussian(nn.Sequential(nn.Flatten(), nn.Linear(6, 8))), reads((Real(3), 1)), (4,)
    ),
    "linear gaussian": Example(lambda: gf.LinearGaussian(2, 5), reads(Real(3), Real(2)), (2,)),
    "linear gaussian full": Example(lambda: gf.LinearGaussian(2, 3, covariance="full"), reads(Real(3)), (2,)),
    "mixture": Example(lambda: gf.Mixture(3, dim=2), (), (2,)),
    "mixture table": Example(lambda: gf.Mixture(3, dim=2, given=3), reads(Finite(3)), (2,)),
    "mixture full": Example(lambda: gf.Mixture(3, dim=2, given=3, covariance="full"), reads(Finite(3)), (2,)),
    "mixture net": Example(lambda: gf.Mixture(nn.Linear(3, 15), components=3, dim=2), reads(Real(3)), (2,)),
    "select": Example(lambda: gf.Select(gf.Gaussian(nn.Linear(3, 8), dim=4)), reads(Finite(2), (Real(3), 1)), (4,)),
    "select of two axes": Example(
        lambda: gf.Select(gf.Gaussian(nn.Linear(3 + 1, 8), dim=4)),
        reads(Real(), Finite(4), (Real(3), 2)),
        (4,),
    ),
    "select by a bit": Example(lambda: gf.Select(gf.Bernoulli(nn.Linear(1, 5))), reads((Real(), 1), Binary()), (5,)),
    "dirichlet": Example(lambda: gf.Dirichlet(torch.ones(4)), (), (4,)),
    "beta": Example(lambda: gf.Beta(torch.ones(4), 2.0), (), (4,)),
    "normal": Example(lambda: gf.Normal(0.0, 1.0)),
}

FUNCTIONS: dict[str, Example] = {
    "function": Example(lambda: gf.Function(nn.Linear(3 + 2, 4), dim=4), reads(Real(3), Finite(2)), (4,)),
    "function image": Example(lambda: gf.Function(image_net(1), shape=(1, 2, 2)), reads(Real(3)), (1, 2, 2)),
    "function apart": Example(lambda: gf.Function(torch.add, concat=False), reads(Real(3), Real(3)), (3,)),
    "gru": Example(lambda: gf.Recurrent(nn.GRUCell(3 + 2, 4)), reads(Real(3), Finite(2), Real(4)), (4,)),
    "rnn": Example(lambda: gf.Recurrent(nn.RNNCell(3, 4)), reads(Real(3), Real(4)), (4,)),
}

POTENTIALS: dict[str, Example] = {
    "bilinear": Example(lambda: gf.Bilinear(3, 2), reads(Binary(3), Real(2)), terms=2),
    "bilinear of a category": Example(lambda: gf.Bilinear(3, 4), reads(Real(3), Finite(4)), terms=2),
    "bias": Example(lambda: gf.Bias(3), reads(Binary(3)), terms=1),
    "energy": Example(lambda: gf.Energy(nn.Bilinear(3, 2, 1)), reads(Real(3), Finite(2)), terms=1),
    "energy of rows": Example(lambda: gf.Energy(Dot()), reads(Real(3), Real(3)), terms=2),
    "gaussian potential": Example(lambda: gf.GaussianPotential(nn.Linear(4, 6)), reads(Real(3), Real(4)), terms=1),
}

TABLES: dict[str, Example] = {
    "table": Example(lambda: gf.Table(3, 4), (), (3, 4)),
    "table of values": Example(lambda: gf.Table(values=torch.zeros(3)), (), (3,)),
    "scores": Example(lambda: gf.Scores(nn.Linear(3, 5), states=5), reads(Real(3)), (5,)),
    "scores of pairs": Example(
        lambda: gf.Scores(nn.Sequential(nn.Linear(3, 6), nn.Unflatten(-1, (2, 3)))), reads(Real(3)), (2, 3)
    ),
    "displacement": Example(lambda: gf.Displacement(2, 3), (), (6, 6)),
}

LEADINGS: list[tuple[int, ...]] = [(), (3,), (2, 3), (2, 3, 2), (0, 3)]
LEARNERS = {**CONDITIONALS, **FUNCTIONS, **POTENTIALS, **TABLES}


def value(argument: Argument, leading: tuple[int, ...]) -> Tensor:
    support = argument.support
    shape = (*leading, *(2,) * argument.whole)
    if support.states is None:
        return torch.randn(shape + support.event_shape)
    return support.decode(torch.randint(support.states, shape))


def inputs_of(example: Example, leading: tuple[int, ...], broadcast: bool = False) -> tuple[Tensor, ...]:
    """Random inputs; if broadcast, each lacks every other axis, another one than its neighbour lacks."""
    found = []
    for k, argument in enumerate(example.reads):
        sizes = [1 if broadcast and (i + k) % 2 else n for i, n in enumerate(leading)]
        found.append(value(argument, tuple(sizes)))
    return tuple(found)


def expected_batch(example: Example, inputs: tuple[Tensor, ...], leading: int) -> tuple[int, ...]:
    return tuple(torch.broadcast_shapes(*(x.shape[:leading] for x in inputs)))


def evaluate(factor: Factor, example: Example, inputs: tuple[Tensor, ...], call: Call) -> Tensor:
    """Any factor as one tensor: the log-probability of a draw, what it computes, or its log-potentials."""
    if isinstance(factor, Conditional):
        law = factor.distribution(inputs, call)
        return law.log_prob(law.sample())
    if factor.kind == "function":
        return factor.compute(inputs, call)
    if example in TABLES.values():
        return factor.table(inputs, call)
    return factor.log_potential(inputs[: example.terms], inputs[example.terms :], call)


def table(examples: dict[str, Example]):
    return pytest.mark.parametrize("example", examples.values(), ids=examples.keys())


@table(CONDITIONALS)
@pytest.mark.parametrize("broadcast", [False, True], ids=["full", "broadcast"])
def test_conditional_shapes(example, broadcast):
    factor = example.make()
    for leading in LEADINGS:
        inputs = inputs_of(example, leading, broadcast)
        law = factor.distribution(inputs, call_of(example, len(leading)))
        assert law.batch_shape == expected_batch(example, inputs, len(leading))
        assert law.event_shape == example.event


@table({**FUNCTIONS, **POTENTIALS, **TABLES})
@pytest.mark.parametrize("broadcast", [False, True], ids=["full", "broadcast"])
def test_tensor_shapes(example, broadcast):
    factor = example.make()
    for leading in LEADINGS:
        inputs = inputs_of(example, leading, broadcast)
        out = evaluate(factor, example, inputs, call_of(example, len(leading)))
        assert out.shape == expected_batch(example, inputs, len(leading)) + example.event


@table(CONDITIONALS)
def test_samples_lie_in_the_support_and_have_a_density(example):
    factor = example.make()
    law = factor.distribution(inputs_of(example, (3,)), call_of(example, 1))
    sample = law.sample()
    support = factor.support
    if support is not None:
        assert support.event_shape == example.event
        assert support.check(sample).all()
    assert law.log_prob(sample).isfinite().all()


def test_a_network_alone_does_not_tell_its_support():
    assert gf.Bernoulli(nn.Linear(3, 5)).support is None
    assert gf.Gaussian(nn.Linear(3, 8)).support is None
    assert gf.Bernoulli(nn.Linear(3, 1), scalar=True).support == Binary()


@table(LEARNERS)
def test_every_parameter_receives_a_finite_gradient(example):
    factor = example.make()
    # many leading elements, so that every state of every parent occurs
    out = evaluate(factor, example, inputs_of(example, (200,)), call_of(example, 1))
    if not list(factor.parameters()):
        assert not out.requires_grad
        return
    (out.reshape(-1) * torch.randn(out.numel())).sum().backward()
    for name, parameter in factor.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@table({name: e for name, e in LEARNERS.items() if e.reads and not any(a.whole for a in e.reads)})
def test_leading_dimensions_only_batch(example):
    factor = example.make()
    inputs = inputs_of(example, (2, 3))
    whole = parameters_of(factor, example, inputs, call_of(example, 2))
    for i, j in product(range(2), range(3)):
        one = parameters_of(factor, example, tuple(x[i, j] for x in inputs), call_of(example, 0))
        for a, b in zip(whole, one, strict=True):
            assert_close(a[i, j], b)


@table({name: e for name, e in CONDITIONALS.items() if e.reads and not any(a.whole for a in e.reads)})
def test_inputs_as_given_keep_their_axes(example):
    factor = example.make()
    inputs = inputs_of(example, (2, 3))
    plain = parameters_of(factor, example, inputs, call_of(example, 2))
    # the batch flattened alone, and nothing flattened
    for call in (call_of(example, 1, True), call_of(example, None, True)):
        for a, b in zip(parameters_of(factor, example, inputs, call), plain, strict=True):
            assert_close(a, b)


def parameters_of(factor: Factor, example: Example, inputs: tuple[Tensor, ...], call: Call) -> list[Tensor]:
    """What a factor says, without chance."""
    if not isinstance(factor, Conditional):
        return [evaluate(factor, example, inputs, call)]
    law = factor.distribution(inputs, call)
    state = factor.support.event_shape if factor.support else example.event
    return [law.log_prob(torch.zeros(state)), law.log_prob(torch.ones(state))]


def discrete(example: Example) -> list[int]:
    return [k for k, a in enumerate(example.reads) if a.support.states is not None and not a.whole]


@table({name: e for name, e in CONDITIONALS.items() if discrete(e) and not any(a.whole for a in e.reads)})
def test_enumerated_parents_equal_a_loop(example):
    factor, places = example.make(), discrete(example)
    counts = [example.reads[k].support.states for k in places]
    loose = inputs_of(example, (1,) * len(places))
    lists = list(loose)
    for axis, k in enumerate(places):
        shape = [1] * len(places)
        shape[axis] = counts[axis]
        lists[k] = example.reads[k].support.decode(torch.arange(counts[axis]).reshape(shape))
    whole = parameters_of(factor, example, tuple(lists), call_of(example, len(places)))
    for states in product(*map(range, counts)):
        one = [x.reshape(x.shape[len(places) :]) for x in loose]
        for k, state in zip(places, states, strict=True):
            one[k] = example.reads[k].support.decode(torch.tensor(state))
        for a, b in zip(whole, parameters_of(factor, example, tuple(one), call_of(example, 0)), strict=True):
            assert_close(a[states], b)


@table({name: e for name, e in LEARNERS.items() if name != "dirichlet"})
def test_parameters_survive_a_state_dict(example):
    factor, other = example.make(), example.make()
    other.load_state_dict(factor.state_dict())
    inputs, call = inputs_of(example, (3,)), call_of(example, 1)
    for a, b in zip(
        parameters_of(factor, example, inputs, call), parameters_of(other, example, inputs, call), strict=True
    ):
        assert_close(a, b)
    copy.deepcopy(factor)


def test_enumerating_a_table_copies_nothing():
    factor = gf.Bernoulli(dim=5, given=(3, 2))
    call = Call(2, reads(Finite(3), Finite(2)))
    logits = factor.logits((torch.arange(3).reshape(3, 1), torch.arange(2).reshape(1, 2)), call)
    assert logits.shape == (3, 2, 5)
    assert logits.data_ptr() == factor.table.data_ptr()


def test_a_network_receives_rows():
    seen = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(tuple(x.shape))
            return x

    inputs = (torch.zeros(2, 1, 3, 4), torch.zeros(1, 5, 3, dtype=torch.long))
    call = Call(3, reads(Real(4), Finite(2)))
    law = gf.Gaussian(Spy()).distribution(inputs, call)
    assert seen == [(30, 6)]
    assert law.batch_shape == (2, 5, 3)


def test_a_network_without_inputs_is_called_with_nothing():
    class Constant(nn.Module):
        def forward(self) -> Tensor:
            return torch.arange(4.0)

    law = gf.Gaussian(Constant()).distribution((), Call(2))
    assert law.mean.tolist() == [0.0, 1.0]


def test_no_state_is_a_zero_row_for_a_network():
    factor = gf.Categorical(nn.Linear(3, 4), 4)
    law = factor.distribution((torch.tensor([-1]),), Call(1, reads(Finite(3))))
    assert_close(law.logits[0], factor.net.bias.log_softmax(-1))


# values against scipy


def test_categorical_values():
    probs = torch.tensor([[0.2, 0.8], [0.5, 0.5], [1.0, 0.0]])
    law = gf.Categorical(probs=probs).distribution((torch.tensor([2, 0]),), Call(1, reads(Finite(3))))
    assert_close(law.probs, probs[[2, 0]])


def test_categorical_probabilities_are_renormalised():
    factor = gf.Categorical(probs=torch.tensor([0.33333, 0.33333, 0.33333]))
    assert_close(factor.table.exp().sum(), torch.tensor(1.0))


def test_bernoulli_values():
    factor = gf.Bernoulli(probs=torch.tensor([[0.1, 0.2], [0.3, 0.4]]))
    law = factor.distribution((torch.tensor([1.0]), torch.tensor([0.0])), Call(1, reads(Binary(), Binary())))
    assert_close(law.log_prob(torch.ones(1)), torch.tensor([0.3]).log())
    assert_close(law.log_prob(torch.zeros(1)), torch.tensor([0.7]).log())
    assert law.entropy().item() == pytest.approx(stats.bernoulli(0.3).entropy(), rel=1e-5)


def test_gaussian_values():
    net = nn.Linear(3, 4)
    x, y = torch.randn(5, 3), torch.randn(5, 2)
    law = gf.Gaussian(net).distribution((x,), Call(1, reads(Real(3))))
    out = net(x).detach().numpy()
    want = stats.norm(out[:, :2], np.exp(out[:, 2:])).logpdf(y.numpy()).sum(-1)
    assert law.log_prob(y).detach().numpy() == pytest.approx(want, rel=1e-4)


def test_gaussian_full_values():
    loc, tril = torch.tensor([1.0, -1.0]), torch.tensor([[2.0, 0.0], [0.5, 0.3]])
    factor = gf.Gaussian(dim=2, learn=True, covariance="full", loc=loc, scale=tril)
    want = stats.multivariate_normal(loc.numpy(), (tril @ tril.T).numpy()).logpdf([0.3, 0.2])
    got = factor.distribution((), Call(0)).log_prob(torch.tensor([0.3, 0.2]))
    assert got.item() == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_gaussian_net_full_values_and_gradients(dim):
    """Against a covariance put together entry by entry."""
    net = nn.Linear(3, dim + dim * (dim + 1) // 2).double()
    x, y = torch.randn(2, 4, 3).double(), torch.randn(2, 4, dim).double()
    law = gf.Gaussian(net, dim=dim, covariance="full").distribution((x,), Call(2, reads(Real(3))))
    out = net(x)
    entries = iter(range(dim, out.shape[-1]))
    factor = torch.zeros(2, 4, dim, dim).double()
    for row in range(dim):
        for column in range(row + 1):
            entry = out[..., next(entries)]
            factor[..., row, column] = entry.exp() if row == column else entry
    want = torch.distributions.MultivariateNormal(out[..., :dim], factor @ factor.mT).log_prob(y)
    got = law.log_prob(y)
    assert_close(got, want)
    weights = torch.randn(2, 4).double()
    for a, b in zip(
        *(torch.autograd.grad((v * weights).sum(), list(net.parameters())) for v in (got, want)), strict=True
    ):
        assert_close(a, b)


def test_a_full_network_with_a_flat_triangle_is_the_diagonal_one():
    out = torch.tensor([0.3, -0.2, 0.5, 0.0, -0.7])
    full = gf.Gaussian(nn.Identity(), dim=2, covariance="full").distribution((out,), Call(0, reads(Real(5))))
    diag = gf.Gaussian(nn.Identity(), dim=2).distribution((out[[0, 1, 2, 4]],), Call(0, reads(Real(4))))
    y = torch.randn(7, 2)
    assert_close(full.log_prob(y), diag.log_prob(y))


def test_a_full_network_in_a_model_is_a_loop_over_batch_and_time():
    def build():
        return Model(
            {"z": gf.Gaussian(dim=2), "x[t] | z, u[t]": gf.Gaussian(nn.Linear(5, 9), dim=3, covariance="full")}
        )

    model, other = build(), build()
    z, u, x = torch.randn(4, 2, 2), torch.randn(4, 2, 5, 3), torch.randn(4, 2, 5, 3)
    assert str(model.shapes(z=z, u=u)["x[t] | z, u[t]"].returns) == "4,2 | 5 | 3"
    law = torch.distributions.MultivariateNormal
    total = law(torch.zeros(2), torch.eye(2)).log_prob(z)
    for i, j, t in product(range(4), range(2), range(5)):
        out = model.factors[1].net(torch.cat([z[i, j], u[i, j, t]]))
        tril = torch.zeros(3, 3)
        tril[[0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2]] = out[3:]
        factor = tril.tril(-1) + tril.diagonal().exp().diag()
        total[i, j] += law(out[:3], scale_tril=factor).log_prob(x[i, j, t])
    assert_close(model.log_prob(x=x, z=z, u=u), total)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.log_prob(x=x, z=z, u=u), model.log_prob(x=x, z=z, u=u))
    drawn = model.sample((), u=u, seed=0)
    assert (drawn["z"].shape, drawn["x"].shape) == ((4, 2, 2), (4, 2, 5, 3))


def test_gaussian_table_starts_where_it_is_told():
    factor = gf.Gaussian(dim=2, given=3, loc=torch.eye(3, 2), scale=torch.tensor([[0.5], [1.0], [2.0]]))
    law = factor.distribution((torch.arange(3),), Call(1, reads(Finite(3))))
    assert_close(law.mean, torch.eye(3, 2))
    assert_close(law.stddev, torch.tensor([[0.5, 0.5], [1.0, 1.0], [2.0, 2.0]]))


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_linear_gaussian_values(covariance):
    factor = gf.LinearGaussian(2, 3, covariance=covariance)
    nn.init.normal_(factor.raw_scale)
    x, y = torch.randn(3), torch.randn(2)
    weight, bias = factor.linear.weight.detach().numpy(), factor.linear.bias.detach().numpy()
    tril = factor.noise().detach().numpy()
    want = stats.multivariate_normal(weight @ x.numpy() + bias, tril @ tril.T).logpdf(y.numpy())
    assert factor.distribution((x,), Call(0, reads(Real(3)))).log_prob(y).item() == pytest.approx(want, rel=1e-4)


def test_mixture_net_values():
    net = nn.Linear(3, 2 * (1 + 2 * 2))
    x, y = torch.randn(3), torch.randn(2)
    out = net(x).detach().numpy().astype(float)
    weights = np.exp(out[:2]) / np.exp(out[:2]).sum()
    density = sum(
        w * stats.norm(loc, np.exp(log_scale)).pdf(y.numpy()).prod()
        for w, loc, log_scale in zip(weights, out[2:6].reshape(2, 2), out[6:].reshape(2, 2), strict=True)
    )
    law = gf.Mixture(net, components=2, dim=2).distribution((x,), Call(0, reads(Real(3))))
    assert law.log_prob(y).item() == pytest.approx(np.log(density), rel=1e-4)


def test_prior_values():
    v = torch.tensor([0.2, 0.3, 0.5])
    dirichlet = gf.Dirichlet(torch.tensor([1.0, 2.0, 3.0])).distribution((), Call(0))
    assert dirichlet.log_prob(v).item() == pytest.approx(stats.dirichlet([1, 2, 3]).logpdf([0.2, 0.3, 0.5]), rel=1e-4)
    beta = gf.Beta(torch.tensor([1.0, 2.0, 3.0]), 4.0).distribution((), Call(0))
    want = stats.beta([1, 2, 3], 4).logpdf(v.numpy()).sum()
    assert beta.log_prob(v).item() == pytest.approx(want, rel=1e-4)


# hard zeros


def test_impossible_states_have_zero_gradient():
    factor = gf.Categorical(probs=torch.tensor([[0.0, 0.4, 0.6], [0.2, 0.3, 0.5]]))
    call = Call(1, reads(Finite(2)))
    law = factor.distribution((torch.tensor([0, 0, 1]),), call)
    out = law.log_prob(torch.tensor([0, 1, 0]))
    assert out[0] == -torch.inf
    out.sum().backward()
    assert_close(factor.table.grad[0], torch.tensor([0.0, 0.6, -0.6]))
    assert law.entropy().isfinite().all()


def test_certain_bits_are_exact():
    factor = gf.Bernoulli(probs=torch.tensor([0.0, 1.0, 0.25]))
    call = Call(1, reads(Finite(3)))
    law = factor.distribution((torch.tensor([0, 0, 1, 1, 2]),), call)
    out = law.log_prob(torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0]))
    assert out[:4].tolist() == [0.0, -torch.inf, -torch.inf, 0.0]
    (out.sum() + law.entropy().sum()).backward()
    assert factor.table.grad[:2].tolist() == [0.0, 0.0]
    assert factor.table.grad[2].isfinite()
    assert law.sample((10,))[:, :4].unique(dim=0).tolist() == [[0.0, 0.0, 1.0, 1.0]]


def test_forbidden_entries_of_a_table_have_zero_gradient():
    factor = gf.Table(values=torch.tensor([[0.0, -torch.inf], [1.0, 2.0]]))
    factor.table((), Call(0)).sum().backward()
    assert factor.values.grad.tolist() == [[1.0, 0.0], [1.0, 1.0]]


# potentials


@pytest.mark.parametrize("name", ["bilinear", "bilinear of a category"])
@pytest.mark.parametrize("position", [0, 1])
def test_linear_coefficients_of_bilinear(name, position):
    example = POTENTIALS[name]
    factor, call = example.make(), call_of(example, 2)
    values = inputs_of(example, (2, 3))
    others = tuple(None if k == position else v for k, v in enumerate(values))
    c = factor.linear(position, others, (), call)
    vector = apply_network(nn.Identity(), (values[position],), Call(2, (example.reads[position],)))
    assert_close((c * vector).sum(-1), factor.log_potential(values, (), call))


def test_linear_coefficients_of_bias():
    factor, call = gf.Bias(3), Call(2, reads(Real(3)))
    v = torch.randn(2, 4, 3)
    c = factor.linear(0, (None,), (), call)
    assert c.dim() == 3
    assert_close((c * v).sum(-1), factor.log_potential((v,), (), call))


def test_bilinear_values():
    factor = gf.Bilinear(3, 2)
    a, b = torch.randn(3), torch.randn(2)
    got = factor.log_potential((a, b), (), Call(0, reads(Real(3), Real(2))))
    assert_close(got, a @ factor.weight @ b)


def test_gaussian_potential_is_a_gaussian():
    factor = gf.GaussianPotential(nn.Linear(4, 6))
    x, v = torch.randn(5, 4), torch.randn(2, 5, 3)
    h, precision = factor.natural((x,), Call(1, reads(Real(4))))
    law = TorchNormal(h / precision, precision**-0.5)
    got = factor.log_potential((v,), (x.unsqueeze(0),), Call(2, reads(Real(3), Real(4))))
    difference = got - law.log_prob(v).sum(-1)
    assert_close(difference[0], difference[1])


def test_displacement_values():
    factor = gf.Displacement(2, 3)
    found = factor.table((), Call(0)).reshape(2, 3, 2, 3)
    for i, j, k, m in product(range(2), range(3), range(2), range(3)):
        assert found[i, j, k, m] == factor.kernel[k - i + 1, m - j + 2]


# recurrent


@pytest.mark.parametrize("learn", [False, True], ids=["zeros", "learnt"])
def test_lstm_keeps_its_pair(learn):
    cell = nn.LSTMCell(3, 4)
    factor = gf.Recurrent(cell, learn_initial=learn)
    call = Call(2, reads(Real(3), Real(4)))
    x, state = torch.randn(2, 5, 3), factor.initial((2, 1))
    for _ in range(2):
        state = factor.step((x,), state, call)
    pair = (torch.zeros(10, 4), torch.zeros(10, 4))
    for _ in range(2):
        pair = cell(x.reshape(10, 3), pair)
    assert_close(factor.output(state), pair[0].reshape(2, 5, 4))
    assert_close(state[1], pair[1].reshape(2, 5, 4))
    factor.output(state).sum().backward()
    assert all(p.grad is not None for p in factor.parameters())


def test_a_cell_is_called_with_input_and_past():
    cell = nn.GRUCell(3 + 2, 4)
    factor = gf.Recurrent(cell)
    x, c, past = torch.randn(6, 3), torch.randint(2, (6,)), torch.randn(6, 4)
    call = Call(1, reads(Real(3), Finite(2), Real(4)))
    joined = torch.cat([x, nn.functional.one_hot(c, 2).float()], -1)
    assert_close(factor.compute((x, c, past), call), cell(joined, past))


def test_initial_follows_the_cell():
    factor = gf.Recurrent(nn.GRUCell(3, 4).double())
    assert factor.initial((2, 5)).dtype == torch.float64
    assert factor.initial(()).shape == (4,)


def test_a_recurrence_may_read_nothing_but_its_past():
    class Rotate(nn.Module):
        def forward(self, nothing: Tensor, past: Tensor) -> Tensor:
            return past.roll(1, -1)

    factor = gf.Recurrent(Rotate(), dim=3)
    out = factor.compute((torch.tensor([[1.0, 2.0, 3.0]]),), Call(1, reads(Real(3))))
    assert out.tolist() == [[3.0, 1.0, 2.0]]


# select


def test_select_equals_a_loop():
    c, mu = torch.randint(4, (2, 3)), torch.randn(2, 1, 2, 2, 5)
    call = Call(2, (Argument("c[n]", Finite(4)), Argument("mu", Real(5), whole=2)))
    law = gf.Select(gf.Gaussian(nn.Identity(), scale=1.0)).distribution((c, mu), call)
    for i, j in product(range(2), range(3)):
        assert_close(law.mean[i, j], mu[i, 0].reshape(4, 5)[c[i, j]])


def test_select_by_enumerated_states():
    c, mu = torch.arange(2).reshape(2, 1, 1), torch.randn(1, 6, 1, 2, 5)
    call = Call(3, (Argument("c[n]", Finite(2)), Argument("mu", Real(5), whole=1)))
    law = gf.Select(gf.Gaussian(nn.Identity(), scale=1.0)).distribution((c, mu), call)
    assert_close(law.mean, mu[0].movedim(2, 0))


def test_select_passes_other_inputs_to_a_bare_module():
    c, mu, x = torch.tensor([1, 0]), torch.tensor([[2.0, 3.0]]), torch.tensor([10.0, 20.0])
    call = Call(1, (Argument("c", Finite(2)), Argument("mu", Real(), whole=1), Argument("x", Real())))
    assert gf.Select(Noisy()).distribution((c, mu, x), call).mean.tolist() == [30.0, 40.0]


def test_select_reads_inputs_as_given():
    c, mu = torch.randint(4, (2, 3)), torch.randn(2, 4, 5)
    arguments = (Argument("c[n]", Finite(4)), Argument("mu", Real(5), whole=1))
    inner = gf.Select(gf.Gaussian(nn.Identity(), scale=1.0))
    for call in (Call(1, arguments, as_given=True), Call(None, arguments, as_given=True)):
        law = inner.distribution((c, mu), call)
        assert_close(law.mean, torch.stack([mu[i][c[i]] for i in range(2)]))


# parents given without an axis


def test_parents_as_given_align_on_the_batch():
    factor = gf.Categorical(4, given=(3, 2))
    call = Call(1, reads(Finite(3), Finite(2)), as_given=True)
    a, b = torch.tensor([0, 1, 2]), torch.randint(2, (3, 3))
    assert_close(factor.log_probs((a, b), call), factor.table.log_softmax(-1)[a.unsqueeze(-1).expand(3, 3), b])


# sticks


def test_sticks_sum_to_one_and_are_exact_at_the_ends():
    assert_close(stick_breaking(torch.rand(4, 6)).sum(-1), torch.ones(4))
    v = torch.tensor([0.5, 1.0, 0.3, 0.0], requires_grad=True)
    weights = stick_breaking(v)
    assert weights.tolist() == [0.5, 0.5, 0.0, 0.0, 0.0]
    jacobian = torch.autograd.functional.jacobian(stick_breaking, v)
    assert jacobian.isfinite().all()
    assert_close(jacobian.sum(0), torch.zeros(4))


# errors

TWO = reads(Finite(3), Binary())
ERRORS: dict[str, tuple[Callable[[], object], str]] = {
    "negative probability": (lambda: gf.Categorical(probs=torch.tensor([1.5, -0.5])), "not be negative"),
    "not summing": (lambda: gf.Categorical(probs=torch.tensor([[0.5, 0.5], [0.5, 0.4]])), "sums to 0.9"),
    "no states": (lambda: gf.Categorical(), "one of: a number of states"),
    "states twice": (lambda: gf.Categorical(2, probs=torch.ones(1)), "one of: a number of states"),
    "second number": (lambda: gf.Categorical(8, 8), "given=8"),
    "net without states": (lambda: gf.Categorical(nn.Identity()), r"Categorical\(net, 8\)"),
    "net and table": (lambda: gf.Categorical(nn.Identity(), 8, given=2), "leave no room"),
    "given mismatch": (lambda: gf.Categorical(probs=torch.full((3, 2), 0.5), given=2), "given=2"),
    "nan logits": (lambda: gf.Categorical(logits=torch.tensor([0.0, torch.nan])), "numbers or -inf"),
    "dead row": (lambda: gf.Categorical(logits=torch.tensor([-torch.inf, -torch.inf])), "one finite entry"),
    "no parent state": (lambda: gf.Categorical(2, given=0), "at least one state"),
    "bit outside": (lambda: gf.Bernoulli(probs=torch.tensor([1.2])), "between 0 and 1"),
    "bits misfit": (lambda: gf.Bernoulli(probs=torch.zeros(2, 3), given=3), "do not fit"),
    "scalar array": (lambda: gf.Bernoulli(nn.Identity(), dim=3, scalar=True), "scalar=True"),
    "dim and shape": (lambda: gf.Gaussian(dim=3, shape=(3,)), "same thing"),
    "no dim": (lambda: gf.Gaussian(), "needs dim="),
    "start of a standard": (lambda: gf.Gaussian(dim=2, loc=torch.zeros(2)), "learn=True"),
    "full image": (lambda: gf.Gaussian(shape=(2, 2), learn=True, covariance="full"), "needs a vector"),
    "flat scale": (lambda: gf.Gaussian(dim=2, learn=True, scale=0.0), "positive"),
    "upper factor": (
        lambda: gf.Gaussian(dim=2, learn=True, covariance="full", scale=torch.ones(2, 2)),
        "lower triangular",
    ),
    "start misfit": (lambda: gf.Gaussian(dim=2, given=3, loc=torch.zeros(4)), "does not broadcast"),
    "net and given": (lambda: gf.Gaussian(nn.Identity(), given=2), "leaves no room"),
    "full net of no length": (
        lambda: gf.Gaussian(nn.Identity(), covariance="full"),
        r'covariance="full" needs dim=, and no scale=',
    ),
    "full net of an image": (lambda: gf.Gaussian(nn.Identity(), shape=(2, 2), covariance="full"), "needs dim="),
    "full net of a scalar": (lambda: gf.Gaussian(nn.Identity(), shape=(), covariance="full"), "needs dim="),
    "full net and scale": (lambda: gf.Gaussian(nn.Identity(), dim=2, scale=1.0, covariance="full"), "no scale="),
    "full net and given": (lambda: gf.Gaussian(nn.Identity(), dim=2, given=3, covariance="full"), "leaves no room"),
    "tied net": (lambda: gf.Gaussian(nn.Identity(), dim=2, covariance="tied"), 'but "diag" and "full"'),
    "no components": (lambda: gf.Mixture(nn.Identity(), dim=2), "how many components"),
    "empty table": (lambda: gf.Table(), "numbers of states"),
    "infinite table": (lambda: gf.Table(values=torch.tensor([torch.inf])), "numbers or -inf"),
    "grid without rows": (lambda: gf.Displacement(0, 3), "height of a Displacement .* not 0"),
    "grid of less than nothing": (lambda: gf.Displacement(3, -1), "width of a Displacement .* not -1"),
    "grid of a truth": (lambda: gf.Displacement(True, 2), "height of a Displacement .* not True"),
    "cell of no size": (lambda: gf.Recurrent(nn.Identity()), "hidden_size"),
    "cell of two sizes": (lambda: gf.Recurrent(nn.GRUCell(2, 3), dim=4), "hidden_size is 3"),
}


@pytest.mark.parametrize(("build", "match"), ERRORS.values(), ids=ERRORS.keys())
def test_wrong_constructions(build, match):
    with pytest.raises(GraftError, match=match):
        build()


def run(factor: Conditional, inputs: tuple[Tensor, ...], arguments: tuple[Argument, ...], leading: int = 1):
    return lambda: factor.distribution(inputs, Call(leading, arguments))


X, S = torch.zeros(4, 3), torch.zeros(4, dtype=torch.long)
CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "one parent of two": (
        run(gf.Categorical(4, given=(3, 2)), (S,), reads(Finite(3))),
        r"received 1 inputs \(x0\)",
    ),
    "parent of a prior": (
        run(gf.Categorical(4), (S,), reads(Finite(3))),
        "without parents received 1 inputs",
    ),
    "parent of another size": (run(gf.Categorical(4, given=(3, 3)), (S, S), TWO), r"x1 is Binary\(\)"),
    "real parent": (run(gf.Gaussian(dim=2, given=3), (X,), reads(Real(3))), r"x0 is Real\(3\)"),
    "whole parent": (run(gf.Gaussian(dim=2, given=3), (X.long(),), reads((Finite(3), 1))), "read whole"),
    "no state": (run(gf.Gaussian(dim=2, given=3), (S - 1,), reads(Finite(3))), r"-1 is \*no state\*"),
    "state too high": (run(gf.Gaussian(dim=2, given=3), (S + 3,), reads(Finite(3))), "from 3 to 3"),
    "parents apart": (
        run(gf.Categorical(4, given=(3, 2)), (S, S[:3]), TWO),
        r"do not broadcast against each other: x0 \(4,\), x1 \(3,\)",
    ),
    "logits of another size": (
        run(gf.Categorical(nn.Identity(), 4), (X,), reads(Real(3))),
        r"\(4, 3\) from \(x0\)",
    ),
    "units of another size": (run(gf.Bernoulli(nn.Identity(), dim=4), (X,), reads(Real(3))), r"\(4, 3\)"),
    "scalar of size three": (run(gf.Bernoulli(nn.Identity(), scalar=True), (X,), reads(Real(3))), "size 1"),
    "odd halves": (run(gf.Gaussian(nn.Identity()), (X,), reads(Real(3))), "odd"),
    "wrong dim": (run(gf.Gaussian(nn.Identity(), dim=3), (X,), reads(Real(3))), r"\(6,\)"),
    "narrow triangle": (
        run(gf.Gaussian(nn.Identity(), dim=2, covariance="full"), (X,), reads(Real(3))),
        r"location and lower triangle, needs 1 leading dimensions, then \(5,\).*returned \(4, 3\) from \(x0\)",
    ),
    "wide triangle": (run(gf.Gaussian(nn.Identity(), dim=1, covariance="full"), (X,), reads(Real(3))), r"\(2,\)"),
    "linear misfit": (run(gf.LinearGaussian(2, 4), (X,), reads(Real(3))), "needs 4 elements"),
    "mixture misfit": (run(gf.Mixture(nn.Identity(), 2, dim=2), (X,), reads(Real(3))), r"\(10,\)"),
    "rows lost": (run(gf.Gaussian(nn.Flatten(0)), (X,), reads(Real(3))), "received 4 rows"),
    "prior with inputs": (run(gf.Beta(1.0, 1.0), (X,), reads(Real(3))), "Beta takes no inputs"),
    "nothing selects": (
        run(gf.Select(gf.Bernoulli(nn.Identity())), (X,), reads(Real(3))),
        "needs a discrete input",
    ),
    "rows to select": (
        run(gf.Select(gf.Bernoulli(nn.Identity())), (S, X.unsqueeze(1)), reads(Finite(3), (Real(3), 1))),
        "x0 has 3 states, but x1 .* has 1 rows",
    ),
    "no row": (
        run(gf.Select(gf.Bernoulli(nn.Identity())), (S - 1, X.unsqueeze(1)), reads(Finite(1), (Real(3), 1))),
        "no state",
    ),
    "energy of vectors": (
        lambda: gf.Energy(nn.Identity()).log_potential((X,), (), Call(1, reads(Real(3)))),
        "one number per row",
    ),
    "bilinear misfit": (
        lambda: gf.Bilinear(2, 3).log_potential((X, X), (), Call(1, reads(Real(3), Real(3)))),
        "x0 has shape",
    ),
    "table with inputs": (lambda: gf.Table(3).table((X,), Call(1, reads(Real(3)))), "takes no inputs"),
    "scores misfit": (
        lambda: gf.Scores(nn.Identity(), states=4).table((X,), Call(1, reads(Real(3)))),
        r"\(4, 3\)",
    ),
    "scores of nothing": (
        lambda: gf.Scores(nn.Flatten(0)).table((X[:1, 0],), Call(1, (Argument("x"),))),
        "an axis of states",
    ),
    "potential misfit": (
        lambda: gf.GaussianPotential(nn.Identity()).natural((X,), Call(1, reads(Real(3)))),
        "odd size",
    ),
    "function misfit": (
        lambda: gf.Function(nn.Identity(), dim=4).compute((X,), Call(1, reads(Real(3)))),
        r"\(4, 3\) from \(x0\)",
    ),
    "lstm from its output": (
        lambda: gf.Recurrent(nn.LSTMCell(3, 4)).compute((X, torch.zeros(4, 4)), Call(1, reads(Real(3), Real(4)))),
        "pair of states",
    ),
    "past of another size": (
        lambda: gf.Recurrent(nn.GRUCell(3, 4)).compute((X, X), Call(1, reads(Real(3), Real(3)))),
        "a past of length 4",
    ),
}


@pytest.mark.parametrize(("attempt", "match"), CALLS.values(), ids=CALLS.keys())
def test_wrong_calls(attempt, match):
    with pytest.raises(ShapeError, match=match):
        attempt()

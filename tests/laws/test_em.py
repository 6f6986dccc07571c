"""Laws of EM: what every step must do, for models of all kinds, and for data that break others."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
import torch
from tests.reference.baum_welch import HMM, GaussianStates, SymbolStates
from torch import nn

from graft import Missing, Model, Partial
from graft.distributions.supports import Finite
from graft.errors import GraftError, ImpossibleEvidence
from graft.factors import Bernoulli, Categorical, Function, Gaussian, LinearGaussian, Mixture, Table
from graft.factors.maximise_points import points
from graft.factors.maximise_prior import GaussianPrior, MixturePrior, PseudoCounts
from graft.objectives import EM, Likelihood, StepwiseEM

HMM_FORMULAS = ("s[0]", "s[t] | s[t-1]", "y[t] | s[t]")
NAN = float("nan")


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def hmm(emission: nn.Module, states: int = 3) -> Model:
    factors = (Categorical(states), Categorical(states, given=states), emission)
    return Model(dict(zip(HMM_FORMULAS, factors, strict=True)))


def twice(one: nn.Module) -> Model:
    return Model({"a": Categorical(3), "b | a": one, "c | b": one, "x | c": Gaussian(dim=1, given=3)})


def vectors(*shape: int) -> torch.Tensor:
    """Two clumps, so that states differ."""
    return torch.randn(*shape) + 3 * torch.randint(0, 2, shape[:-1]).unsqueeze(-1)


def with_holes(*shape: int) -> Missing:
    return Missing(vectors(*shape), torch.rand(shape) < 0.3)


@dataclass(frozen=True)
class Case:
    """A model, its data, and priors of some factors."""

    model: Callable[[], Model]
    data: Callable[[], dict]
    priors: dict = field(default_factory=dict)


LENGTHS = torch.tensor([7, 1, 0, 4])
GAUSS = GaussianPrior(loc=0.5, weight=1.0, scatter=0.3, degrees=2.0)
TABLE = {
    **{
        f"HMM, {kind}": Case(
            lambda kind=kind: hmm(Gaussian(dim=2, given=3, covariance=kind, loc=torch.randn(3, 2))),
            lambda: {"y": vectors(4, 7, 2), "lengths": LENGTHS},
            {"y[t] | s[t]": GAUSS, "s[t] | s[t-1]": PseudoCounts(0.5), "s[0]": PseudoCounts([0.1, 0.0, 2.0])},
        )
        for kind in ("diag", "full", "spherical", "tied")
    },
    **{
        f"HMM, {kind}, missing cells": Case(
            lambda kind=kind: hmm(Gaussian(dim=3, given=3, covariance=kind, loc=torch.randn(3, 3))),
            lambda: {"y": with_holes(4, 7, 3), "lengths": LENGTHS},
            {"y[t] | s[t]": GAUSS},
        )
        for kind in ("diag", "full")
    },
    **{
        f"HMM, {kind}, {states} states in 3 dimensions": Case(
            lambda kind=kind, states=states: hmm(Gaussian(dim=3, given=states, covariance=kind), states),
            lambda: {"y": vectors(4, 7, 3), "lengths": LENGTHS},
            {"y[t] | s[t]": GAUSS},
        )
        for kind, states in (("full", 1), ("full", 2), ("tied", 2))
    },
    "HMM of symbols": Case(
        lambda: hmm(Categorical(logits=torch.randn(3, 4))),
        lambda: {"y": torch.randint(0, 4, (4, 7)), "mask": torch.rand(4, 7) < 0.7},
        {"y[t] | s[t]": PseudoCounts(0.3)},
    ),
    "HMM of symbols, some missing": Case(
        lambda: hmm(Categorical(logits=torch.randn(3, 4))), lambda: {"y": torch.randint(-1, 4, (4, 7))}
    ),
    "HMM of bits": Case(
        lambda: hmm(Bernoulli(dim=3, given=3)),
        lambda: {"y": Missing(torch.randint(0, 2, (4, 7, 3)).double(), torch.rand(4, 7) < 0.2)},
        {"y[t] | s[t]": PseudoCounts([0.5, 1.0])},
    ),
    "HMM of mixtures": Case(
        lambda: hmm(Mixture(2, dim=2, given=3)),
        lambda: {"y": with_holes(4, 7, 2), "lengths": LENGTHS},
        {"y[t] | s[t]": MixturePrior(PseudoCounts(0.2), GAUSS)},
    ),
    "HMM of full mixtures, states partly known": Case(
        lambda: hmm(Mixture(2, dim=2, given=3, covariance="full")),
        lambda: {"y": vectors(4, 7, 2), "s": Partial((torch.rand(4, 7, 3) < 0.6) | torch.tensor([True, False, False]))},
        {"y[t] | s[t]": MixturePrior(components=GAUSS)},
    ),
    "HMM with an input": Case(
        lambda: Model(
            {
                "s[0]": Categorical(2),
                "s[t] | s[t-1], u[t]": Categorical(2, given=(2, 3)),
                "y[t] | s[t], u[t]": Gaussian(shape=(2, 2), given=(2, 3)),
            },
            support={"u": Finite(3)},
        ),
        lambda: {"y": torch.randn(4, 7, 2, 2), "u": torch.randint(0, 3, (4, 7)), "lengths": LENGTHS},
        {"y[t] | s[t], u[t]": GAUSS},
    ),
    "two chains": Case(
        lambda: Model(
            {
                "a[0]": Categorical(2),
                "b[0]": Categorical(3),
                "a[t] | a[t-1], b[t-1]": Categorical(2, given=(2, 3)),
                "b[t] | b[t-1]": Categorical(3, given=3),
                "y[t] | a[t], b[t]": Gaussian(dim=2, given=(2, 3)),
            }
        ),
        lambda: {"y": vectors(3, 5, 2)},
    ),
    "second order": Case(
        lambda: Model(
            {
                "s[0]": Categorical(2),
                "s[1] | s[0]": Categorical(2, given=2),
                "s[t] | s[t-1], s[t-2]": Categorical(2, given=(2, 2)),
                "y[t] | s[t]": Gaussian(dim=1, given=2),
            }
        ),
        lambda: {"y": vectors(3, 6, 1), "lengths": torch.tensor([6, 3, 1])},
    ),
    "network of causes, missing values": Case(
        lambda: Model(
            {
                "rain": Bernoulli(),
                "sprinkler | rain": Bernoulli(given=2),
                "wet | rain, sprinkler": Bernoulli(given=(2, 2)),
                "slip | wet": Categorical(3, given=2),
            }
        ),
        lambda: {
            "rain": torch.tensor([0, 1, -1, -1, 1, 0]),
            "wet": torch.tensor([1, -1, 1, 0, -1, 0]),
            "slip": torch.tensor([2, 1, -1, 0, 1, 0]),
        },
        {"wet | rain, sprinkler": PseudoCounts(1.0), "rain": PseudoCounts([2.0, 1.0])},
    ),
    "mixture on a plate": Case(
        lambda: Model({"c[n]": Categorical(3), "x[n] | c[n]": Gaussian(dim=2, given=3, loc=torch.randn(3, 2))}),
        lambda: {"x": vectors(30, 2)},
    ),
    "regression beside a mixture": Case(
        lambda: Model(
            {"c": Categorical(2), "x | u": LinearGaussian(2, 3, covariance="full"), "z | c": Bernoulli(given=2)}
        ),
        lambda: {"x": torch.randn(9, 2), "u": torch.randn(9, 3), "z": torch.randint(0, 2, (9,)).double()},
        {"x | u": GaussianPrior(scatter=0.2, degrees=3.0)},
    ),
    "autoregression": Case(
        lambda: Model({"z[0]": Gaussian(dim=2, learn=True), "z[t] | z[t-1]": LinearGaussian(2, 2)}),
        lambda: {"z": torch.randn(3, 8, 2), "lengths": torch.tensor([8, 2, 5])},
    ),
    "one table for two formulas": Case(
        lambda: twice(Categorical(3, given=3)),
        lambda: {"x": vectors(12, 1), "a": torch.randint(-1, 3, (12,))},
        {"b | a": PseudoCounts(0.4)},
    ),
    "nothing unknown": Case(
        lambda: hmm(Gaussian(dim=1, given=2), 2),
        lambda: {"s": torch.randint(0, 2, (3, 6)), "y": torch.randn(3, 6, 1), "lengths": torch.tensor([6, 5, 0])},
        {"y[t] | s[t]": GAUSS},
    ),
}  # fmt: skip
cases = pytest.mark.parametrize("name", TABLE)


@cache
def made(name: str) -> tuple[dict, dict]:
    """Start and data of a case."""
    torch.manual_seed(sum(map(ord, name)))
    return TABLE[name].model().state_dict(), TABLE[name].data()


def started(name: str, priors: bool = False) -> tuple[EM, dict]:
    state, data = made(name)
    model = TABLE[name].model()
    model.load_state_dict(state)
    return EM(model, priors=TABLE[name].priors if priors else None), data


def log_likelihood(model: Model, data: dict) -> float:
    values = {name: value for name, value in data.items() if name not in ("lengths", "mask")}
    ends = {name: value for name, value in data.items() if name in ("lengths", "mask")}
    return model.log_prob(values, **ends).sum().item()


@pytest.mark.parametrize(
    ("name", "priors"), [(n, p) for n, c in TABLE.items() for p in (False, True)[: 1 + bool(c.priors)]]
)
def test_no_step_lowers_what_em_climbs(name, priors):
    em, data = started(name, priors)
    run = em.fit(data, iterations=8, tolerance=-1.0)
    history = np.array(run.history)
    assert len(history) == 8 and np.isfinite(history).all()
    assert (np.diff(history) >= -1e-9 * np.abs(history[1:])).all()
    assert history[-1] > history[0]


@cases
def test_a_step_tells_the_likelihood_before_it(name):
    em, data = started(name)
    for _ in range(2):
        want = log_likelihood(em.model, data)
        assert em.step(data) == pytest.approx(want, rel=1e-9)


@cases
def test_fisher_and_the_best_parameters(name):
    """The slope of E[log p(everything)] is that of log p(data) before the M-step, and zero after it."""
    em, data = started(name)
    parameters = list(em.model.parameters())
    found = em.counted(em.prepared(data))[1]
    want = torch.autograd.grad(Likelihood(em.model).terms(data)["log_prob"].sum(), parameters)
    got = torch.autograd.grad(em.prepared(data).expectation.complete(found), parameters)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)
    em.step(data)
    if "missing cells" in name or "mixtures" in name or "regression" in name:
        return  # more than the counted states is unknown there, or a noise at its floor
    inside = [torch.isfinite(p) for p in parameters]
    slope = torch.autograd.grad(em.prepared(data).expectation.complete(found), parameters)
    for one, finite in zip(slope, inside, strict=True):
        assert float(one[finite].abs().max()) < 1e-6


@cases
def test_batches_count_as_one(name):
    em, data = started(name)
    other, _ = started(name)
    rows = 0 if name == "mixture on a plate" else next(len(v) for v in data.values())
    if not rows:
        return
    parts = [{k: v[half] for k, v in data.items()} for half in (slice(0, 1), slice(1, rows))]
    assert em.step(data) == pytest.approx(other.step(parts), rel=1e-9)
    for one, two in zip(em.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-8)


@cases
def test_single_precision_keeps_the_digits_that_it_has(name):
    em, data = started(name, priors=True)
    single, _ = started(name, priors=True)
    single.model.float()
    want = em.fit(data, iterations=4, tolerance=-1.0).history
    got = single.fit({k: as_single(v) for k, v in data.items()}, iterations=4, tolerance=-1.0).history
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-3)


def as_single(value):
    if isinstance(value, Missing):
        return Missing(value.value.float(), value.where)
    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def reference(model: Model, kind: str) -> HMM:
    start, move, emission = (node.module for node in model.graph.nodes)
    if kind == "symbols":
        states = SymbolStates(emission.table.detach().softmax(-1).numpy())
    else:
        scale = emission.scales().detach()
        whole = torch.diag_embed(scale.square()) if kind in ("diag", "spherical") else scale @ scale.mT
        states = GaussianStates(emission.loc.detach().numpy().copy(), whole.numpy(), kind)
    return HMM(start.table.detach().softmax(-1).numpy(), move.table.detach().softmax(-1).numpy(), states)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("kind", ["diag", "full", "spherical", "tied", "symbols"])
def test_equals_baum_and_welch(kind, holes):
    """Parameters and likelihoods of four steps, against plain loops in log space."""
    lengths = LENGTHS if kind == "symbols" else torch.tensor([30, 1, 0, 25])
    if kind == "symbols":
        model, y = hmm(Categorical(logits=torch.randn(3, 4))), torch.randint(-1 if holes else 0, 4, (4, 7))
        rows = [one[:n, None].numpy() for one, n in zip(y, lengths.tolist(), strict=True)]
    else:
        model, y = hmm(Gaussian(dim=2, given=3, covariance=kind, loc=torch.randn(3, 2))), vectors(4, 30, 2)
        gone = (torch.rand(y.shape) < 0.3) & holes
        rows = [torch.where(g, NAN, one)[:n].numpy() for one, g, n in zip(y, gone, lengths.tolist(), strict=True)]
        y = Missing(y, gone) if holes else y
    em, want = EM(model), reference(model, kind)
    for _ in range(4):
        total, want = want.stepped(rows)
        assert em.step({"y": y, "lengths": lengths}) == pytest.approx(total, rel=1e-10)
        got = reference(model, kind)
        np.testing.assert_allclose(got.start, want.start, rtol=0, atol=1e-9)
        np.testing.assert_allclose(got.moves, want.moves, rtol=0, atol=1e-9)
        for name in vars(want.states).keys() - {"kind"}:
            np.testing.assert_allclose(getattr(got.states, name), getattr(want.states, name), rtol=1e-8, atol=1e-9)


DRAWN = torch.randn(2, 9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
BROKEN = {
    "constant": torch.full((3, 5, 2), 2.0).double(),
    "two points": torch.tensor([[0.0, 1.0], [5.0, 1.0]]).double().repeat(3, 1).reshape(1, 6, 2),
    "one point": torch.tensor([[[1.0, -3.0]]]).double(),
    "far away": DRAWN + 1e8,
    "tiny": 1e-9 * DRAWN,
    "huge": 1e100 * DRAWN,
    "an outlier": torch.cat([DRAWN[:1], torch.full((1, 1, 2), 1e6).double()], 1),
    "collinear": DRAWN[..., :1].expand(2, 9, 2),
}


@pytest.mark.parametrize("kind", ["diag", "full", "spherical", "tied", "mixture"])
@pytest.mark.parametrize("name", BROKEN)
def test_no_data_give_nan(name, kind):
    emission = Mixture(2, dim=2, given=3) if kind == "mixture" else Gaussian(dim=2, given=3, covariance=kind)
    model, y = hmm(emission), BROKEN[name]
    em = EM(model)
    history = np.array([em.step({"y": y}) for _ in range(6)])
    assert np.isfinite(history).all()
    for parameter in model.parameters():
        assert not bool(parameter.isnan().any()) and bool((parameter < torch.inf).all())
    # the start may stand below the floor; squares of data on which nothing has a digit left are no law's business
    if name not in ("far away", "huge"):
        assert (np.diff(history[1:]) >= -1e-7 * np.abs(history[2:])).all()
    assert not bool(model.given(y=y).marginals["s"].probs.isnan().any())


@pytest.mark.parametrize("kind", ["diag", "full"])
def test_what_is_missing_altogether_moves_nothing(kind):
    model = hmm(Gaussian(dim=2, given=3, covariance=kind))
    emission = model.graph.nodes[2].module
    before = emission.loc.detach().clone()
    y = Missing(torch.zeros(2, 4, 2), torch.ones(2, 4, 2, dtype=torch.bool))
    assert EM(model).step({"y": y}) == pytest.approx(0.0, abs=1e-12)
    torch.testing.assert_close(emission.loc.detach(), before)


def test_an_unused_state_keeps_its_parameters_and_zeros_stay():
    start = torch.tensor([0.5, 0.5, 0.0])
    move = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    factors = (Categorical(probs=start), Categorical(probs=move), Gaussian(dim=1, given=3, loc=torch.ones(3, 1)))
    model = Model(dict(zip(HMM_FORMULAS, factors, strict=True)))
    em = EM(model, priors={"s[0]": PseudoCounts(1.0), "s[t]|s[t-1]": PseudoCounts(1.0)})
    em.fit({"y": vectors(3, 6, 1)}, iterations=3)
    torch.testing.assert_close(factors[0].table.exp()[2], torch.tensor(0.0))
    torch.testing.assert_close(factors[1].table.exp()[:2, 2], torch.zeros(2))
    assert factors[2].loc[2].item() == 1.0 and factors[2].raw_scale[2].item() == 0.0


def test_what_requires_no_gradient_stays_and_the_rest_is_best_for_it():
    model = hmm(Gaussian(dim=2, given=3))
    emission = model.graph.nodes[2].module
    emission.loc.requires_grad_(False)
    model.graph.nodes[1].module.table.requires_grad_(False)
    before = [p.detach().clone() for p in model.parameters()]
    run = EM(model).fit({"y": vectors(4, 7, 2)}, iterations=10, tolerance=-1.0)
    moved = [not torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True)]
    assert moved == [p.requires_grad for p in model.parameters()]
    assert (np.diff(run.history) >= -1e-10).all()


@pytest.mark.parametrize("kind", ["diag", "full", "spherical", "tied"])
def test_the_floor_holds(kind):
    model = hmm(Gaussian(dim=2, given=3, covariance=kind))
    EM(model, priors={"y[t] | s[t]": GaussianPrior(floor=0.25)}).fit({"y": 0.1 * vectors(3, 6, 2)}, iterations=5)
    scale = model.graph.nodes[2].module.scales().detach()
    least = scale.square() if scale.dim() == 2 else torch.linalg.eigvalsh(scale @ scale.mT)
    assert float(least.min()) >= 0.25 - 1e-12


def test_priors_alone_give_their_modes():
    """With one observation and a heavy prior the maximum is that of the prior, to what the observation is worth."""
    mixture = Model({"c": Categorical(2), "x | c": Gaussian(dim=2, given=2, covariance="full")})
    heavy = GaussianPrior(loc=torch.tensor([1.0, -1.0]), weight=1e9, scatter=2e9, degrees=1e9)
    EM(mixture, priors={"x | c": heavy, "c": PseudoCounts([3e9, 1e9])}).step({"x": torch.zeros(1, 2)})
    torch.testing.assert_close(mixture.graph.nodes[0].module.table.softmax(-1).detach(), torch.tensor([0.75, 0.25]))
    emission = mixture.graph.nodes[1].module
    torch.testing.assert_close(emission.loc.detach(), torch.tensor([[1.0, -1.0]]).expand(2, 2), atol=1e-6, rtol=0)
    scale = emission.scales().detach()
    torch.testing.assert_close(scale @ scale.mT, 2 * torch.eye(2).expand(2, 2, 2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("kind", ["diag", "spherical", "full", "mixture"])
def test_fast_densities_equal_those_of_the_factor(kind, offset):
    """The E-step's matrix products, also where they would lose all digits, against `torch.distributions`."""
    emission = Mixture(2, dim=3, given=3) if kind == "mixture" else Gaussian(dim=3, given=3, covariance=kind)
    nn.init.normal_(emission.raw_scale, -3.0, 2.0)
    model = hmm(emission)
    y = offset * torch.randint(0, 2, (2, 5, 1)) + torch.randn(2, 5, 3)
    with torch.no_grad():
        emission.loc.add_(offset)
    want = model.log_prob(y=y).sum().item()
    assert EM(model).step({"y": y}) == pytest.approx(want, rel=1e-9)


def test_points_refuse_what_has_no_square():
    with pytest.raises(GraftError, match="too great"):
        points(torch.tensor([[1e200], [-1e200]]))


def noisy(net: nn.Module) -> Model:
    return Model({"c": Categorical(2), "x | c, u": Gaussian(net, scale=0.5)})


def test_networks_move_by_an_optimizer():
    """Generalised EM climbs with small steps, tables have their closed form, and frozen networks stay."""
    net = nn.Linear(3, 1)
    model, data = noisy(net), {"x": vectors(20, 1), "u": torch.randn(20, 1)}
    with pytest.raises(GraftError, match="optimizer"):
        EM(model)
    em = EM(model, optimizer=torch.optim.SGD(net.parameters(), lr=0.05), steps=3)
    assert em.closed == ["c"] and not em.monotone
    history = np.array([em.step(data) for _ in range(10)])
    assert (np.diff(history) > 0).all() and history[-1] > history[0] + 5
    net.requires_grad_(False)
    frozen = EM(model)
    before = net.weight.clone()
    frozen.step(data)
    assert torch.equal(net.weight, before)


def test_networks_of_inputs_are_called_anew():
    """Outputs that a call keeps are those of the present parameters, in every step and over several batches."""
    net = nn.Linear(2, 3)
    model = Model({"s[t] | u": Categorical(net, 3), "y[t] | s[t]": Gaussian(dim=1, given=3)})
    u, y = torch.randn(4, 5, 2), vectors(4, 5, 1)
    em = EM(model, optimizer=torch.optim.SGD(net.parameters(), lr=0.3))
    parts = [{"u": u[:1], "y": y[:1]}, {"u": u[1:], "y": y[1:]}]
    run = em.fit(parts, iterations=6, tolerance=-1.0)
    want = Likelihood(model)({"u": u, "y": y}).item() * -4
    assert em.step(parts) == pytest.approx(want, rel=1e-9)
    assert (np.diff(run.history) > 0).all()


def test_functions_before_tables_move_too():
    """A network whose outputs are scored: the E-step reads the present outputs, the optimiser moves them."""
    net = nn.Linear(2, 2)
    model = Model({"s[t]": Categorical(2), "y[t] = f": Function(net, dim=2), "y[t] | s[t]": Gaussian(dim=2, given=2)})
    model.graph.nodes[2].module.requires_grad_(False)
    f = torch.randn(3, 4, 2)
    em = EM(model, optimizer=torch.optim.SGD(net.parameters(), lr=0.05))
    before = em.step({"f": f})
    assert em.step({"f": f}) > before
    assert em.step({"f": f}) == pytest.approx(log_likelihood(model, {"f": f}), abs=1.0)


def test_em_ends_where_the_slope_ends():
    """After many steps the likelihood is flat along all parameters: nothing is left for gradients to do."""
    torch.manual_seed(3)
    model, data = (
        hmm(Gaussian(dim=2, given=2, loc=torch.tensor([[0.0], [3.0]]).expand(2, 2)), 2),
        {"y": vectors(6, 20, 2)},
    )
    run = EM(model).fit(data, iterations=400, tolerance=1e-13)
    assert run.converged
    likelihood = Likelihood(model)(data)
    likelihood.backward()
    assert max(float(p.grad.abs().max()) for p in model.parameters()) < 1e-5


def test_stepwise_em():
    """On all data and without memory it is EM; on small batches it comes near."""
    name = "HMM, diag"
    (em, data), (other, _) = started(name, priors=True), started(name, priors=True)
    forgetful = StepwiseEM(other, rows=4, power=0)
    forgetful.delay = 1
    for _ in range(3):
        assert forgetful.step(data) == pytest.approx(em.step(data), rel=1e-9)
    for one, two in zip(em.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-8, atol=1e-8)
    (em, _), (other, _) = started(name), started(name)
    y = vectors(40, 7, 2)
    online = StepwiseEM(other, rows=40)
    for _ in range(5):
        for batch in y.split(10):
            online.step({"y": batch})
    best = em.fit({"y": y}, iterations=40, tolerance=0.1).log_likelihoods
    reached = log_likelihood(other.model, {"y": y})
    assert reached > best[-1] - 0.02 * (best[-1] - best[0])


WRONG = {
    "undirected": (lambda: EM(Model({"a, b": Table(2, 2)})), "potentials"),
    "no such formula": (lambda: EM(hmm(Bernoulli(dim=2, given=3)), priors={"s": PseudoCounts(1.0)}), "priors name"),
    "prior of another kind": (lambda: EM(hmm(Bernoulli(dim=2, given=3)), priors={"s[0]": GAUSS}), "PseudoCounts"),
    "prior of a network": (
        lambda: EM(noisy(nn.Linear(3, 1)), priors={"x | c, u": GAUSS}), "no M-step in closed form",
    ),
    "negative counts": (lambda: PseudoCounts(-1.0), "at least 0"),
    "counts that do not fit": (lambda: started("HMM, diag")[0] and EM(
        hmm(Gaussian(dim=1, given=3)), priors={"s[0]": PseudoCounts([1.0, 2.0])}
    ).step({"y": torch.randn(2, 3, 1)}), "does not fit"),
    "no floor": (lambda: GaussianPrior(floor=0.0), "floor"),
    "weights that are NaN": (lambda: GaussianPrior(weight=NAN), "finite"),
    "no model": (lambda: EM("x"), "EM takes a Model"),
    "no batch": (lambda: started("HMM, diag")[0].step([]), "no row"),
    "no dict": (lambda: started("HMM, diag")[0].step(3), "dict"),
    "an iterator": (lambda: started("HMM, diag")[0].fit(iter([made("HMM, diag")[1]])), "iterator"),
    "no iterations": (lambda: started("HMM, diag")[0].fit(made("HMM, diag")[1], iterations=0), "iterations"),
    "a tolerance of NaN": (lambda: started("HMM, diag")[0].fit(made("HMM, diag")[1], tolerance=NAN), "tolerance"),
    "foreign parameters": (
        lambda: EM(hmm(Gaussian(dim=1, given=3)), optimizer=torch.optim.SGD([torch.ones(1, requires_grad=True)])),
        "not the model's",
    ),
    "shared parameters": (lambda: EM(Model(shared())), "share"),
    "impossible data": (lambda: EM(impossible()).step({"y": torch.tensor([1])}), "probability zero"),
}  # fmt: skip


def shared() -> dict:
    one, two = Categorical(2), Categorical(2)
    two.table = one.table
    return {"a": one, "b": two}


def impossible() -> Model:
    return Model({"s": Categorical(probs=torch.tensor([1.0, 0.0])), "y | s": Categorical(probs=torch.eye(2))})


@pytest.mark.parametrize("name", WRONG)
def test_errors(name):
    do, rule = WRONG[name]
    with pytest.raises(GraftError, match=rule):
        do()


def test_impossible_rows_are_named_and_nothing_moves():
    model = impossible()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ImpossibleEvidence) as error:
        EM(model).step({"y": torch.tensor([0, 1, 0])})
    assert error.value.rows == [(1,)]
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_a_single_row_without_a_batch_dimension_is_a_row():
    torch.manual_seed(0)
    tables = [torch.randn(3), torch.randn(3, 2), torch.randn(3, 2)]
    names = ("c", "a | c", "b | c")
    found = []
    for shape in ((), (1,)):
        model = Model({n: Categorical(logits=t) for n, t in zip(names, tables, strict=True)})
        EM(model).step({"a": torch.zeros(shape, dtype=torch.long), "b": torch.ones(shape, dtype=torch.long)})
        found.append(model.factors[0].table.softmax(-1))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda em: pickle.loads(pickle.dumps(em))], ids=["deep", "pickled"])
def test_a_copy_learns_as_the_original_would(copied):
    torch.manual_seed(0)
    em, data = EM(Model({"c": Categorical(states=2), "x | c": Gaussian(dim=1, given=2)})), {"x": torch.randn(20, 1)}
    other = copied(em)
    assert other.closed == em.closed != []
    assert [other.step(data) for _ in range(4)] == [em.step(data) for _ in range(4)]
    assert all(torch.equal(a, b) for a, b in zip(other.model.parameters(), em.model.parameters(), strict=True))


def hidden_markov():
    torch.manual_seed(3)
    return Model(
        {
            "s[0]": Categorical(states=2),
            "s[t] | s[t-1]": Categorical(states=2, given=2),
            "y[t] | s[t]": Gaussian(dim=1, given=2, loc=torch.tensor([[-1.0], [1.0]])),
        }
    )


LAID_OTHERWISE = {
    "transposed": lambda p: setattr(p, "data", p.data.t()),
    "turned in place": lambda p: p.data.t_(),
    "in double precision": lambda p: setattr(p, "data", p.data.double()),
    "other numbers": lambda p: p.data.copy_(p.data.flip(0)),
}


@pytest.mark.parametrize("change", LAID_OTHERWISE)
def test_a_parameter_that_is_laid_otherwise_is_read_anew(change):
    model, data = hidden_markov(), {"y": torch.randn(4, 9, 1, generator=torch.Generator().manual_seed(0))}
    em = EM(model)
    em.step(data)
    move = next(node.module for node in model.graph.nodes if str(node).startswith("s[t]")).table
    LAID_OTHERWISE[change](move)
    fresh = EM(copy.deepcopy(model))
    assert [em.step(data) for _ in range(3)] == pytest.approx([fresh.step(data) for _ in range(3)], rel=1e-6)


@pytest.mark.parametrize("formula", ["s[0]", "s[t] | s[t-1]", "y[t] | s[t]"])
def test_a_parameter_that_is_no_number_is_told_and_nothing_moves(formula):
    model, data = hidden_markov(), {"y": torch.randn(4, 9, 1, generator=torch.Generator().manual_seed(0))}
    em = EM(model)
    em.step(data)
    factor = next(node.module for node in model.graph.nodes if node.formula.text == formula)
    (factor.loc if "y" in formula else factor.table).data.view(-1)[0] = torch.nan
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(GraftError):
        em.step(data)
    assert all(
        torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) for a, b in zip(model.parameters(), before, strict=True)
    )

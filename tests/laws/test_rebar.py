"""REBAR and RELAX: unbiased beside other estimators, fitted to the variance of their own gradient, quieter for it.

Means are compared as in `test_estimators`: the largest of D standardised deviations stays below 5.5 but in about
D * 4e-8 of runs.
"""

import pytest
import torch
from tests.laws.test_estimators import WIDE, deviations, exact_gradient, prepared
from torch import nn

from graft.distributions.density_families import BernoulliDensity, CategoricalDensity, StandardNormal
from graft.errors import FormulaError, GraftError
from graft.factors import Bernoulli, Categorical, Gaussian
from graft.model import Model
from graft.objectives import ELBO, ImportanceWeighted
from graft.objectives.estimators import REBAR, Enumerate, RunningAverage, ScoreFunction, Signal
from graft.objectives.estimators.coupled import couple
from graft.objectives.schedules import LinearSchedule

X = torch.tensor([[1.0, 0.0]])


def random(*models):
    torch.manual_seed(0)
    parameters = [p for model in models for p in model.parameters()]
    with torch.no_grad():
        for parameter in parameters:
            parameter.normal_(0, 0.7)
    return parameters


def beside_each_other():
    model = {"a": Bernoulli(dim=2), "b": Bernoulli(dim=2), "c": Categorical(2), "x | a, b, c": linear(6)}
    return Model(model), Model({"a | x": linear(2), "b | x": linear(2), "c | x": Categorical(nn.Linear(2, 2), 2)})


def after_another():
    model = {"b": Bernoulli(dim=2), "c": Categorical(2), "x | b, c": linear(4)}
    return Model(model), Model({"c | x": Categorical(nn.Linear(2, 2), 2), "b | x, c": linear(4)})


def three_states():
    model = {"a": Categorical(3), "x | a": linear(3)}
    return Model(model), Model({"a | x": Categorical(nn.Linear(2, 3), 3)})


def rounds_of(objective, parameters, x, rounds=40, rows=40):
    """The mean gradient, and the square of its standard error."""
    found = []
    for _ in range(rounds):
        loss = objective({"x": x.expand(rows, *x.shape[1:])})
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    stacked = torch.stack(found)
    return stacked.mean(0), stacked.var(0) / rounds


def linear(features):
    return Bernoulli(nn.Linear(features, 2), dim=2)


MIXED = {
    "two beside an enumerated one": (beside_each_other, lambda: {"a": REBAR(), "b": REBAR(0.2), "c": Enumerate()}, 1),
    "the same, several samples": (beside_each_other, lambda: {"a": REBAR(), "b": REBAR(0.2), "c": Enumerate()}, 3),
    "after an enumerated one": (after_another, lambda: {"b": REBAR(), "c": Enumerate()}, 1),
    "after a drawn one": (after_another, lambda: {"b": REBAR(), "c": ScoreFunction()}, 1),
    "with a network": (after_another, lambda: {"b": REBAR(net=nn.Linear(2, 1)), "c": Enumerate()}, 1),
    "with a network of states and data": (three_states, lambda: {"a": REBAR(net=nn.Linear(5, 1), of="x")}, 1),
}


@pytest.mark.parametrize("mix", MIXED)
def test_the_mean_gradient_is_the_exact_one_in_company(mix):
    make, estimators, samples = MIXED[mix]
    model, guide = make()
    parameters = random(model, guide)
    exact = exact_gradient(ELBO(model, guide, estimators={n: Enumerate() for n in guide.graph.random}), parameters, X)
    objective = ELBO(model, guide, samples=samples, estimators=estimators(), form="joint")
    torch.manual_seed(1)
    mean, square = rounds_of(objective, parameters, X)
    assert deviations((mean, square.sqrt()), exact).max() < WIDE


def reparameterised():
    model = {"z": Gaussian(dim=2), "b": Bernoulli(dim=2), "x | z, b": linear(4)}
    return Model(model), Model({"z | x": Gaussian(nn.Linear(2, 4), dim=2), "b | x, z": linear(4)}), X


def plate():
    model = {"b[n]": Bernoulli(dim=2), "x[n] | b[n]": linear(2)}
    return Model(model), Model({"b[n] | x[n]": linear(2)}), torch.tensor([[[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]])


@pytest.mark.parametrize("make", [reparameterised, plate], ids=lambda f: f.__name__)
def test_it_agrees_with_the_score_function(make):
    model, guide, x = make()
    parameters = random(model, guide)
    torch.manual_seed(1)
    ours, theirs = (
        rounds_of(ELBO(model, guide, estimators={"b": one}), parameters, x)
        for one in (REBAR(0.3), ScoreFunction(RunningAverage()))
    )
    assert ((ours[0] - theirs[0]).abs() / (ours[1] + theirs[1]).sqrt().clamp_min(1e-6)).max() < WIDE


DENSITIES = {
    "units": lambda logits: BernoulliDensity(logits, 1),
    "states": lambda logits: CategoricalDensity(logits.log_softmax(-1)),
}


@pytest.mark.parametrize("family", DENSITIES)
def test_one_noise_seen_both_ways(family):
    """The relaxed value is the same number whether the noise or the state comes first; double precision."""
    torch.manual_seed(0)
    logits = 2 * torch.randn(500, 4, dtype=torch.float64)
    density = DENSITIES[family](logits)
    pair = couple(density, (500,), torch.tensor(0.5))
    torch.testing.assert_close(pair.free, pair.held)
    chosen = pair.free > 0 if family == "units" else pair.free == pair.free.amax(-1, keepdim=True)
    assert torch.equal(chosen.double(), pair.hard)
    # states come up as often as they should: below 5 standard errors but in 1e-5 of seeds
    left = (pair.hard - density.probs).sum(0) / (density.probs * (1 - density.probs)).sum(0).sqrt()
    assert left.abs().max() < 5


def cost(values):
    return ((values - 0.45) ** 2).sum(-1) + (values.sum(-1) - 1.4).square()


@pytest.mark.parametrize("family", DENSITIES)
def test_its_parameters_go_down_the_variance(family):
    """Against a difference quotient with the same noise."""
    torch.manual_seed(0)
    logits = torch.randn(50, 3, dtype=torch.float64, requires_grad=True)
    density = DENSITIES[family](logits)
    estimator = REBAR(0.7).double()

    def size():
        torch.manual_seed(3)
        pair = estimator.couple(density, (50,))
        hard = cost(pair.hard).detach()
        found = estimator.control([pair], Signal(hard, None, None, {}), cost(pair.soft))
        (gradient,) = torch.autograd.grad(found.score.sum(), pair.logits, retain_graph=True)
        bare = (hard.unsqueeze(-1) * pair.score()).square().sum()
        return (gradient.square().sum() / bare).detach(), found.fit

    own = [estimator.log_temperature, estimator.scale]
    slopes = torch.autograd.grad(size()[1], own)
    for parameter, slope in zip(own, slopes, strict=True):
        ends = []
        for step in (1e-5, -2e-5):
            with torch.no_grad():
                parameter += step
            ends.append(size()[0])
        with torch.no_grad():
            parameter += 1e-5
        torch.testing.assert_close(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-7)


def test_it_is_quieter_than_the_score_function_and_learns_to_be():
    """Ten units: below a third of the standard error, and no worse for having fitted temperature and scale."""
    torch.manual_seed(0)
    model = Model({"h": Bernoulli(dim=10), "x | h": Bernoulli(nn.Linear(10, 8), dim=8)})
    guide = Model({"h | x": Bernoulli(nn.Linear(8, 10), dim=10)})
    with torch.no_grad():
        model.factors[1].net.weight.normal_(0, 1)
    x, parameters = torch.ones(1, 8), list(guide.parameters())

    def noise(objective):
        return rounds_of(objective, parameters, x)[1].sum().sqrt()

    rebar = ELBO(model, guide, estimators={"h": REBAR(temperature=2.0)})
    score = ELBO(model, guide, estimators={"h": ScoreFunction()})
    torch.manual_seed(1)
    loud = noise(score)
    before = noise(rebar)
    optimiser = torch.optim.Adam(rebar.chosen.parameters(), 0.05)
    for _ in range(40):
        optimiser.zero_grad()
        rebar({"x": x.expand(100, -1)}).backward(inputs=list(rebar.chosen.parameters()))
        optimiser.step()
    after = noise(rebar)
    assert after < loud / 3
    assert after < before * 1.02


def test_the_loss_is_that_of_the_draw():
    """Score and control are terms without a value; the guide of one sample is its draw."""
    model, guide = prepared("units")
    objective = ELBO(model, guide, estimators={"h": REBAR()}, form="joint")
    loss = objective({"x": X.expand(5, -1)})
    assert set(loss.terms) == {"-q(h | x)", "p(h)", "p(x | h)", "score(h)", "control(h)"}
    assert float(loss.terms["score(h)"]) == float(loss.terms["control(h)"]) == 0
    assert "REBAR" in str(objective.explain())


def test_a_schedule_counts_its_two_evaluations_as_one_step():
    model, guide = prepared("units")
    objective = ELBO(model, guide, estimators={"h": REBAR()}, beta=LinearSchedule(0.0, 1.0, 10), form="kl")
    for _ in range(3):
        objective({"x": X})
    assert int(objective.beta.count) == 3


def test_without_gradients_there_is_one_evaluation():
    model, guide = prepared("units")
    objective = ELBO(model, guide, estimators={"h": REBAR()})
    rows = []
    model.factors[1].net.register_forward_hook(lambda net, args, out: rows.append(len(out)))
    with torch.no_grad():
        assert "score(h)" not in objective({"x": X.expand(5, -1)}).terms
    objective({"x": X.expand(5, -1)})
    assert rows == [5, 10]


def test_its_own_parameters_rest_in_evaluation():
    model, guide = prepared("units")
    objective = ELBO(model, guide, estimators={"h": REBAR()}).eval()
    objective({"x": X}).backward()
    assert all(p.grad is None or not p.grad for p in objective.chosen.parameters())
    assert all(bool((p.grad != 0).any()) for p in guide.parameters())


@pytest.mark.parametrize("family", DENSITIES)
def test_certain_states_have_no_gradient(family):
    """Logits of any size, and probabilities of zero."""
    table = torch.tensor([[1e30, -1e30, 0.0], [float("inf"), float("-inf"), 3.0], [80.0, -200.0, 5.0]])
    if family == "states":
        table = torch.tensor([[0.0, float("-inf"), float("-inf")], [0.0, -1e30, -2.0], [0.5, 0.5, float("-inf")]])
    logits = table.requires_grad_()
    estimator = REBAR(0.1)
    for seed in range(20):
        torch.manual_seed(seed)
        pair = estimator.couple(DENSITIES[family](logits), (3,))
        found = estimator.control([pair], Signal(cost(pair.hard).detach(), None, None, {}), cost(pair.soft))
        slopes = torch.autograd.grad(found.fit, [estimator.log_temperature, estimator.scale], retain_graph=True)
        (gradient,) = torch.autograd.grad(found.score.sum(), pair.logits)
        assert all(bool(torch.isfinite(one).all()) for one in (gradient, found.score, *slopes))
        assert bool((gradient[pair.leaf.abs() > 1e3] == 0).all())


BAD = {
    "temperature": (lambda: REBAR(0.0), "positive"),
    "scale": (lambda: REBAR(scale=float("nan")), "a number"),
    "of nothing": (lambda: REBAR(of="x"), "nothing reads x"),
    "real": (lambda: elbo("z", reparameterised, REBAR()), "z is not discrete"),
    "several": (lambda: ImportanceWeighted(*after_another(), estimators={"b": REBAR()}), "single draws"),
    "a net of two": (lambda: call(REBAR(net=nn.Linear(2, 2))), "not one number a row"),
    "no evidence": (lambda: call(REBAR(net=nn.Linear(2, 1), of="y")), "which is no evidence"),
    "one derivative": (lambda: once(REBAR()), "differentiable twice"),
    "a family": (lambda: REBAR().couple(StandardNormal(torch.zeros(2)), (3, 2)), "cannot be relaxed"),
}


def elbo(name, make, estimator):
    return ELBO(*make()[:2], estimators={name: estimator})


class Once(torch.autograd.Function):
    """The same number, which can be differentiated as often as is told: what compiled graphs do."""

    @staticmethod
    def forward(ctx, value, times):
        ctx.times = times
        return value.clone()

    @staticmethod
    def backward(ctx, slope):
        if not ctx.times:
            raise RuntimeError("no double backward")
        return Once.apply(slope, ctx.times - 1), None


def once(estimator):
    class Net(nn.Linear):
        def forward(self, value):
            return Once.apply(super().forward(value).exp(), 1)

    model = Model({"b": Bernoulli(dim=2), "x | b": Bernoulli(Net(2, 2), dim=2)})
    return ELBO(model, Model({"b | x": linear(2)}), estimators={"b": estimator})({"x": X})


def call(estimator):
    return elbo("b", after_another, estimator)({"x": X})


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_is_refused(bad):
    make, message = BAD[bad]
    with pytest.raises(GraftError, match=message):
        make()


def test_a_draw_that_others_follow_is_refused():
    model, guide = prepared("layers")
    with pytest.raises(FormulaError, match="g is drawn given h"):
        ELBO(model, guide, estimators={"h": REBAR()})
    ELBO(model, guide, estimators={"g": REBAR()})({"x": X}).backward()


def test_states_are_not_summed_out_given_relaxed_draws():
    model, _ = after_another()
    guide = Model({"b | x": linear(2)})
    with pytest.raises(GraftError, match="c cannot be summed out given b"):
        ELBO(model, guide, estimators={"b": REBAR()})({"x": X})

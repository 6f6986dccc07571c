"""Every unbiased estimator has the exact gradient as its mean; the biased ones are biased, and by how much is known.

The latents are enumerable, so the exact gradient is that of `Enumerate`, or of a sum over all states written here. Each
test draws N gradients and compares their mean, coordinate by coordinate: the largest of the D standardised deviations
stays below 5.5 but in about D * 4e-8 of runs (4e-6 for the models here).
"""

import copy

import pytest
import torch
from torch import nn

from graft.errors import GraftError
from graft.factors import Bernoulli, Categorical, Function, Gaussian, LinearGaussian
from graft.model import Model
from graft.objectives import ELBO, ImportanceWeighted
from graft.objectives.estimators import (
    REBAR,
    VIMCO,
    Enumerate,
    GumbelSoftmax,
    InputDependent,
    LeaveOneOut,
    Reparameterised,
    RunningAverage,
    ScoreFunction,
    Signal,
    StickingTheLanding,
    StraightThrough,
)

WIDE = 5.5


def states():
    """One discrete latent with four states."""
    model = Model({"c": Categorical(4), "x | c": Gaussian(nn.Linear(4, 4), dim=2)})
    return model, Model({"c | x": Categorical(nn.Linear(2, 4), 4)})


def units():
    """A vector of three units."""
    model = Model({"h": Bernoulli(dim=3), "x | h": Bernoulli(nn.Linear(3, 2), dim=2)})
    return model, Model({"h | x": Bernoulli(nn.Linear(2, 3), dim=3)})


def layers():
    """Two layers, the guide going up."""
    model = Model(
        {
            "g": Bernoulli(dim=2),
            "h | g": Bernoulli(nn.Linear(2, 2), dim=2),
            "x | h": Bernoulli(nn.Linear(2, 2), dim=2),
        }
    )
    return model, Model({"h | x": Bernoulli(nn.Linear(2, 2), dim=2), "g | h": Bernoulli(nn.Linear(2, 2), dim=2)})


def through_a_function():
    """A computed variable between the latent and the data."""
    model = Model(
        {
            "c": Categorical(3),
            "f = c": Function(nn.Linear(3, 2), dim=2),
            "x | f": Gaussian(nn.Linear(2, 4), dim=2),
        }
    )
    return model, Model({"c | x": Categorical(nn.Linear(2, 3), 3)})


MODELS = {"states": states, "units": units, "layers": layers, "through a function": through_a_function}
LATENTS = {"states": ("c",), "units": ("h",), "layers": ("g", "h"), "through a function": ("c",)}

#: estimator, samples
UNBIASED = {
    "score": (lambda: ScoreFunction(), 1),
    "score, several samples": (lambda: ScoreFunction(), 3),
    "running average": (lambda: ScoreFunction(RunningAverage()), 1),
    "input-dependent": (lambda: ScoreFunction(InputDependent(nn.Linear(2, 1), "x", normalise=False)), 2),
    "leave one out": (lambda: ScoreFunction(LeaveOneOut()), 3),
    "REBAR": (lambda: REBAR(), 1),
    "REBAR, several samples": (lambda: REBAR(0.2, 0.7), 3),
}
#: those that serve a draw only if no other depends on it
LAST = ("REBAR", "REBAR, several samples")
SERVED = [(name, estimator) for name in MODELS for estimator in UNBIASED if name != "layers" or estimator not in LAST]
BIASED = {
    "straight through": (lambda: StraightThrough(), 1),
    "Gumbel": (lambda: GumbelSoftmax(1.0), 1),
    "Gumbel, hard": (lambda: GumbelSoftmax(1.0, hard=True), 1),
}
ROWS = 4000


def data(name):
    x = torch.tensor([[1.0, 0.0]])
    return x if name in ("units", "layers") else x * 1.3 - 0.4


def prepared(name, seed=0):
    torch.manual_seed(seed)
    model, guide = MODELS[name]()
    with torch.no_grad():
        for parameter in [*model.parameters(), *guide.parameters()]:
            parameter.normal_(0, 0.7)
    return model, guide


def enumerated(name, model, guide):
    return ELBO(model, guide, estimators={latent: Enumerate() for latent in LATENTS[name]})


def mean_and_error(objective, parameters, x, rounds=40):
    """The mean gradient over many independent rows, and its standard error, by rounds of ROWS rows."""
    found = []
    for _ in range(rounds):
        loss = objective({"x": x.expand(ROWS // rounds, -1)})
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        found.append(
            torch.cat(
                [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, grads, strict=True)]
            )
        )
    stacked = torch.stack(found)
    return stacked.mean(0), stacked.std(0) / rounds**0.5


def deviations(found, exact):
    mean, error = found
    # with 40 rounds an error of exactly zero means a gradient without noise
    return (mean - exact).abs() / error.clamp_min(1e-6)


def exact_gradient(objective, parameters, x):
    grads = torch.autograd.grad(objective({"x": x}), parameters)
    return torch.cat([g.flatten() for g in grads])


@pytest.mark.parametrize("form", ["joint", "auto"])
@pytest.mark.parametrize(("name", "estimator"), SERVED)
def test_the_mean_gradient_is_the_exact_one(name, estimator, form):
    model, guide = prepared(name)
    parameters = [*model.parameters(), *guide.parameters()]
    exact = exact_gradient(enumerated(name, model, guide), parameters, data(name))
    make, samples = UNBIASED[estimator]
    objective = ELBO(model, guide, samples=samples, estimators={latent: make() for latent in LATENTS[name]}, form=form)
    torch.manual_seed(1)
    assert deviations(mean_and_error(objective, parameters, data(name)), exact).max() < WIDE


@pytest.mark.parametrize("estimator", BIASED)
@pytest.mark.parametrize("name", ["states", "units"])
def test_biased_estimators_say_so_and_are(name, estimator):
    """The same comparison fails by more than 6 standard errors somewhere: the bias is real."""
    model, guide = prepared(name)
    parameters = list(guide.parameters())
    exact = exact_gradient(enumerated(name, model, guide), parameters, data(name))
    make, samples = BIASED[estimator]
    assert make().biased
    objective = ELBO(model, guide, samples=samples, estimators={latent: make() for latent in LATENTS[name]})
    torch.manual_seed(1)
    assert deviations(mean_and_error(objective, parameters, data(name)), exact).max() > 6


def test_enumeration_equals_a_sum_written_out():
    model, guide = prepared("layers")
    x = data("layers")
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
    g, h = corners[:, :2], corners[:, 2:]
    to_h, to_g = guide.factors[0].net, guide.factors[1].net
    q = torch.distributions.Bernoulli(logits=to_h(x)).log_prob(h).sum(-1)
    q = q + torch.distributions.Bernoulli(logits=to_g(h)).log_prob(g).sum(-1)
    p = model.log_prob(x=x.expand(16, -1), g=g, h=h)
    torch.testing.assert_close(enumerated("layers", model, guide)({"x": x}), -(q.exp() * (p - q)).sum())


MIXED = {
    "enumerated, then drawn": (Enumerate, lambda: ScoreFunction()),
    "drawn, then enumerated": (lambda: ScoreFunction(), Enumerate),
    "with a baseline": (Enumerate, lambda: ScoreFunction(RunningAverage())),
}


@pytest.mark.parametrize("mix", MIXED)
def test_mixed_estimators_have_the_exact_mean(mix):
    model, guide = prepared("layers")
    parameters = [*model.parameters(), *guide.parameters()]
    exact = exact_gradient(enumerated("layers", model, guide), parameters, data("layers"))
    first, second = MIXED[mix]
    objective = ELBO(model, guide, estimators={"h": first(), "g": second()})
    torch.manual_seed(1)
    assert deviations(mean_and_error(objective, parameters, data("layers")), exact).max() < WIDE


def bound_of_two(name, model, guide, x):
    """The exact bound of two draws, by a sum over all pairs of states."""
    support = model.graph.variables[LATENTS[name][0]].support
    values = support.decode(torch.arange(support.states))
    rows = x.expand(len(values), -1)
    latent = LATENTS[name][0]
    log_q = guide.log_prob({"x": rows, latent: values})
    log_w = model.log_prob({"x": rows, latent: values}) - log_q
    pairs = torch.logsumexp(torch.stack(torch.broadcast_tensors(log_w[:, None], log_w[None])), 0) - torch.log(
        torch.tensor(2.0)
    )
    return (log_q.exp()[:, None] * log_q.exp()[None] * pairs).sum()


SEVERAL = {
    "VIMCO": lambda: VIMCO(),
    "score": lambda: ScoreFunction(),
    "running average": lambda: ScoreFunction(RunningAverage()),
}


@pytest.mark.parametrize("estimator", SEVERAL)
@pytest.mark.parametrize("name", ["states", "units"])
def test_bounds_of_several_draws_have_the_exact_mean(name, estimator):
    model, guide = prepared(name)
    parameters, x = [*model.parameters(), *guide.parameters()], data(name)
    grads = torch.autograd.grad(-bound_of_two(name, model, guide, x), parameters)
    exact = torch.cat([g.flatten() for g in grads])
    objective = ImportanceWeighted(model, guide, samples=2, estimators={LATENTS[name][0]: SEVERAL[estimator]()})
    torch.manual_seed(1)
    assert deviations(mean_and_error(objective, parameters, x), exact).max() < WIDE


def real():
    torch.manual_seed(0)
    model = Model({"z": Gaussian(dim=2, learn=True), "x | z": Gaussian(nn.Linear(2, 4), dim=2)})
    return model, Model({"z | x": Gaussian(nn.Linear(2, 4), dim=2)})


def deep():
    torch.manual_seed(0)
    model = Model(
        {
            "a": Gaussian(dim=1),
            "b | a": Gaussian(nn.Linear(1, 2), dim=2, scale=0.7),
            "x | b": Gaussian(nn.Linear(2, 2), dim=2, scale=0.5),
        }
    )
    return model, Model(
        {"b | x": Gaussian(nn.Linear(2, 4), dim=2), "a | b": Gaussian(nn.Linear(2, 1), dim=1, scale=0.6)}
    )


def full():
    return real()[0], Model({"z | x": Gaussian(nn.Linear(2, 5), dim=2, covariance="full")})


def against(first, second, model, guide, x):
    """Both have the same mean: two samples, each with its own error."""
    parameters = [*model.parameters(), *guide.parameters()]
    torch.manual_seed(1)
    (a, da), (b, db) = mean_and_error(first, parameters, x), mean_and_error(second, parameters, x)
    return ((a - b).abs() / (da.square() + db.square()).sqrt().clamp_min(1e-6)).max()


@pytest.mark.parametrize("make", [real, deep, full], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "other",
    {
        "joint": lambda m, g: ELBO(m, g, form="joint"),
        "entropy": lambda m, g: ELBO(m, g, form="entropy"),
        "samples": lambda m, g: ELBO(m, g, samples=3),
        "landing": lambda m, g: ELBO(m, g, estimators={n: StickingTheLanding() for n in g.graph.random}),
        "score": lambda m, g: ELBO(
            m, g, samples=4, estimators={n: ScoreFunction(LeaveOneOut()) for n in g.graph.random}
        ),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_real_latents_agree_in_mean(make, other):
    model, guide = make()
    x = torch.tensor([[0.3, -0.8]])
    assert against(ELBO(model, guide), other[1](model, guide), model, guide, x) < WIDE


def test_doubly_reparameterised_agrees_in_mean():
    model, guide = real()
    plain, doubly = (ImportanceWeighted(model, guide, samples=4, doubly=one) for one in (False, True))
    assert against(plain, doubly, model, guide, torch.tensor([[0.3, -0.8]])) < WIDE


def closed_form(model, guide, x):
    """The bound of a linear-Gaussian model of unit prior under a guide of full covariance, one row."""
    q, emission = guide.given(x=x).marginals["z"], model.factors[1]
    miss = x - emission.net(q.loc)
    spread = (emission.net.weight @ q.covariance_matrix @ emission.net.weight.mT).diagonal(dim1=-2, dim2=-1)
    constant = x.shape[-1] * torch.log(2 * torch.pi * emission.scale.square())
    fit = -0.5 * (((miss.square() + spread) / emission.scale.square()).sum(-1) + constant)
    prior = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    return (fit - torch.distributions.kl_divergence(q, prior)).squeeze(0)


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("form", ["joint", "entropy", "auto"])
def test_draws_of_full_covariance_have_the_exact_mean(form, samples):
    torch.manual_seed(0)
    model = Model({"z": Gaussian(dim=2), "x | z": Gaussian(nn.Linear(2, 3), dim=3, scale=0.7)})
    guide = Model({"z | x": Gaussian(nn.Linear(3, 5), dim=2, covariance="full")})
    parameters, x = [*model.parameters(), *guide.parameters()], torch.tensor([[0.3, -0.8, 0.5]])
    grads = torch.autograd.grad(-closed_form(model, guide, x), parameters)
    exact = torch.cat([g.flatten() for g in grads])
    torch.manual_seed(1)
    found = mean_and_error(ELBO(model, guide, samples=samples, form=form), parameters, x)
    assert deviations(found, exact).max() < WIDE


def test_a_full_covariance_can_be_the_posterior():
    """Of a linear-Gaussian model: every draw then gives log p(x), and none moves the guide."""
    torch.manual_seed(0)
    model = Model({"z": Gaussian(dim=2), "x | z": LinearGaussian(3, 2)})
    x = torch.randn(50, 3)
    with torch.no_grad():
        weight, noise = model.factors[1].linear.weight, model.factors[1].noise()
        inverse = torch.cholesky_inverse(noise)
        covariance = torch.linalg.inv(torch.eye(2) + weight.mT @ inverse @ weight)
        gain, factor = covariance @ weight.mT @ inverse, torch.linalg.cholesky(covariance)
        net = nn.Linear(3, 5)
        net.weight.copy_(torch.cat([gain, torch.zeros(3, 3)]))
        shift = -gain @ model.factors[1].linear.bias
        net.bias.copy_(torch.cat([shift, torch.stack([factor[0, 0].log(), factor[1, 0], factor[1, 1].log()])]))
    guide = Model({"z | x": Gaussian(net, dim=2, covariance="full")})
    assert factor[1, 0].abs() > 0.05
    parts = ELBO(model, guide, form="joint").terms({"x": x})
    torch.testing.assert_close(sum(parts.values()), model.log_prob(x=x), rtol=1e-4, atol=1e-4)
    landing = ELBO(model, guide, estimators={"z": StickingTheLanding()})
    grads = torch.autograd.grad(landing({"x": x}), list(guide.parameters()))
    assert max(float(g.abs().max()) for g in grads) < 1e-5


def test_landing_has_no_variance_at_the_posterior():
    """x = z + noise: the guide can be exact, and then no draw moves it."""
    model = Model({"z": Gaussian(dim=1), "x | z": Gaussian(nn.Linear(1, 1), scale=1.0, dim=1)})
    net = nn.Linear(1, 2)
    with torch.no_grad():
        model.factors[1].net.weight.fill_(1.0)
        model.factors[1].net.bias.zero_()
        net.weight.copy_(torch.tensor([[0.5], [0.0]]))
        net.bias.copy_(torch.tensor([0.0, 0.5 * torch.log(torch.tensor(0.5))]))
    guide = Model({"z | x": Gaussian(net, dim=1)})
    parameters, x = list(guide.parameters()), torch.tensor([[0.7]])
    landing = ELBO(model, guide, estimators={"z": StickingTheLanding()})
    plain = ELBO(model, guide, form="joint", estimators={"z": Reparameterised()})
    _, quiet = mean_and_error(landing, parameters, x)
    _, loud = mean_and_error(plain, parameters, x)
    assert quiet.max() < 1e-6 < 1e-3 < loud.max()


def draws_then_states():
    """A drawn vector that an enumerated variable reads, in the guide too."""
    torch.manual_seed(0)
    model = Model(
        {
            "h": Bernoulli(dim=3),
            "c | h": Categorical(nn.Linear(3, 2), 2),
            "x | h, c": Bernoulli(nn.Linear(5, 2), dim=2),
        }
    )
    guide = Model({"h | x": Bernoulli(nn.Linear(2, 3), dim=3), "c | h": Categorical(nn.Linear(3, 2), 2)})
    with torch.no_grad():
        guide.factors[1].net.weight.mul_(6)
    return model, guide


def test_samples_compared_beside_enumerated_states_have_the_exact_mean():
    model, guide = draws_then_states()
    parameters, x = [*model.parameters(), *guide.parameters()], data("units")
    exact = exact_gradient(ELBO(model, guide, estimators={n: Enumerate() for n in ("h", "c")}), parameters, x)
    objective = ELBO(model, guide, samples=2, estimators={"h": ScoreFunction(LeaveOneOut()), "c": Enumerate()})
    torch.manual_seed(1)
    assert deviations(mean_and_error(objective, parameters, x), exact).max() < WIDE


def test_averages_are_right_from_the_first_step_on():
    """Signals of mean -100 and deviation 10: what a baseline takes off and divides by is near that at once."""
    torch.manual_seed(0)
    net = nn.Linear(2, 1)
    nn.init.zeros_(net.weight), nn.init.zeros_(net.bias)
    scaled, average = InputDependent(net, "x", normalise=True), RunningAverage()
    for _ in range(4):
        signal = Signal(-100 + 10 * torch.randn(500), None, None, {"x": torch.zeros(500, 2)})
        for baseline in (scaled, average):
            guess = baseline.guess(signal).detach()
            assert bool(((guess + 100).abs() < 2.5).all())  # five standard errors: about one in a million
            if baseline is scaled:
                assert abs(float(baseline.spread()) - 10) < 2
            baseline.see(signal, guess)
    assert int(scaled.steps) == int(average.steps) == 4


def test_the_first_guess_of_a_row_does_not_look_at_its_draw():
    cost = torch.randn(3, 6)
    for baseline in (RunningAverage(), InputDependent(nn.Linear(2, 1), "x")):
        for row in range(6):
            found = []
            for change in (0.0, 5.0):
                other = cost.clone()
                other[:, row] += change
                fresh = copy.deepcopy(baseline)
                found.append(fresh.guess(Signal(other, None, 0, {"x": torch.zeros(6, 2)}))[..., row])
            torch.testing.assert_close(*found)


def test_a_scaled_signal_stands_alone():
    """A closed form beside it would not be divided: the bound is the joint one, and others are refused."""
    model, guide = prepared("units")
    one = {"h": ScoreFunction(InputDependent(nn.Linear(2, 1), "x", normalise=True))}
    assert "-KL(h)" not in ELBO(model, guide, estimators=one)({"x": data("units")}).terms
    for form in ("kl", "entropy"):
        with pytest.raises(GraftError, match="form='joint'"):
            ELBO(model, guide, estimators=one, form=form)

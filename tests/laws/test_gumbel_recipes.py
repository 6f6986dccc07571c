"""The recipes whose arms are estimators: what serves which variable, what their gradients are, what they refuse."""

import itertools

import pytest
import torch

from graft.cli.settings import read
from graft.data import digits
from graft.data.halves import Halves, halves
from graft.errors import GraftError
from graft.evaluation.likelihood import log_likelihood
from graft.objectives.schedules import ExponentialSchedule
from graft.zoo import categorical_vae, lower_half
from graft.zoo.estimator_arms import ARMS
from graft.zoo.experiment.measure import of_batch

RECIPES = {"categorical_vae": categorical_vae.RECIPE, "lower_half": lower_half.RECIPE}
TITLES = {
    "gumbel": "GumbelSoftmax (biased)",
    "gumbel_st": "GumbelSoftmax(hard) (biased)",
    "straight_through": "StraightThrough (biased)",
    "score": "ScoreFunction(RunningAverage)",
    "nvil": "ScoreFunction(InputDependent)",
}
UNBIASED = ("score", "nvil")
#: the largest of D standardised deviations: above this in about D * 4e-8 of runs, 4e-6 for the models here
WIDE = 5.5


def made(name, arm, data=None, **settings):
    """Settings, pair and objective of an arm."""
    recipe = RECIPES[name]
    told = recipe.settings(**settings)
    pair = recipe.started(told, arm, 0, data or digits.load())
    return told, pair, recipe.objective(told, arm, pair)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("name", RECIPES)
def test_each_arm_has_its_estimator(name, arm):
    _, pair, objective = made(name, arm)
    given = ("x",) if name == "categorical_vae" else ("upper", "lower")
    table = str(objective.explain(*given))
    latents = set(pair.guide.graph.random)
    assert latents == ({"z"} if name == "categorical_vae" else {"h1", "h2"})
    assert {objective.estimator(latent).title for latent in latents} == {TITLES[arm]}
    assert TITLES[arm] in table


def test_sizes():
    _, pair, _ = made("categorical_vae", "gumbel", variables=3, states=4, hidden=7)
    drawn = pair.model.sample(5, seed=0)
    assert drawn["z"].shape == (5, 3)
    assert int(drawn["z"].max()) <= 3
    assert pair.guide.given(x=drawn["x"]).marginals["z"].probs.shape == (5, 3, 4)
    _, pair, _ = made("lower_half", "gumbel", layers=(9, 4, 6))
    drawn = pair.model.sample(upper=torch.zeros(5, 32), seed=0)
    assert {name: value.shape[-1] for name, value in drawn.items() if name != "upper"} == {
        "h1": 9,
        "h2": 4,
        "h3": 6,
        "lower": 32,
    }


def exact_loss(pair, upper, lower):
    r"""$-\sum_h p(h \mid u) \log p(l \mid h)$, all states of both layers written out."""
    one, two, visible = (factor.net for factor in pair.model.factors)
    total = 0.0
    for first in itertools.product((0.0, 1.0), repeat=one[-1].out_features):
        h1 = torch.tensor(first).expand(len(upper), -1)
        weight = torch.distributions.Bernoulli(logits=one(upper)).log_prob(h1).sum(-1)
        for second in itertools.product((0.0, 1.0), repeat=two[-1].out_features):
            h2 = torch.tensor(second).expand(len(upper), -1)
            both = weight + torch.distributions.Bernoulli(logits=two(h1)).log_prob(h2).sum(-1)
            found = torch.distributions.Bernoulli(logits=visible(h2)).log_prob(lower).sum(-1)
            total = total - (both.exp() * found).mean()
    return total


def small_net(arm):
    told = lower_half.Config(layers=(2, 3))
    torch.manual_seed(0)
    pair = lower_half.own_proposal(4, told.layers, torch.rand(9, 5))
    with torch.no_grad():
        for one in pair.model.parameters():
            one.normal_(0, 0.7)
    return pair, lower_half.RECIPE.objective(told, arm, pair)


UPPER, LOWER = torch.tensor([[1.0, 0.0, 0.0, 1.0]]), torch.tensor([[0.0, 1.0, 1.0, 0.0, 1.0]])


def mean_and_error(objective, parameters, rounds=40, rows=200):
    found = []
    for _ in range(rounds):
        loss = objective({"upper": UPPER.expand(rows, -1), "lower": LOWER.expand(rows, -1)})
        found.append(torch.cat([one.flatten() for one in torch.autograd.grad(loss, parameters)]))
    stacked = torch.stack(found)
    return stacked.mean(0), stacked.std(0) / rounds**0.5


@pytest.mark.parametrize("arm", ARMS)
def test_a_net_that_is_its_own_proposal_has_the_exact_gradient_if_its_arm_is_unbiased(arm):
    pair, objective = small_net(arm)
    parameters = list(pair.model.parameters())
    exact = torch.cat([one.flatten() for one in torch.autograd.grad(exact_loss(pair, UPPER, LOWER), parameters)])
    torch.manual_seed(1)
    mean, error = mean_and_error(objective, parameters)
    worst = float(((mean - exact).abs() / error.clamp_min(1e-6)).max())
    assert worst < WIDE if arm in UNBIASED else worst > WIDE


@pytest.mark.parametrize("arm", ARMS)
def test_its_divergences_are_zero(arm):
    pair, objective = small_net(arm)
    loss = objective({"upper": UPPER, "lower": LOWER})
    divergences = [value for name, value in loss.terms.items() if "KL" in name]
    assert len(divergences) == 2
    assert all(float(value) == 0.0 for value in divergences)
    assert {id(one) for one in pair.guide.parameters()} < {id(one) for one in pair.model.parameters()}


def test_relaxed_draws_lie_between_the_states_in_one_arm_alone():
    for arm in ("gumbel", "gumbel_st", "straight_through"):
        _, objective = small_net(arm)
        drawn = objective.run({"upper": UPPER, "lower": LOWER}).trace.draws
        hard = all(bool(((value - value.round()).abs() < 1e-6).all()) for value in drawn.values())
        assert hard == (arm != "gumbel")
        assert all(value.requires_grad for value in drawn.values())


def test_what_is_measured_is_the_discrete_net():
    """-log p by all states, and by the net's own draws: 5.5 standard errors, passed in about 4e-8 of runs."""
    pair, _ = small_net("gumbel")
    batch = {"upper": UPPER, "lower": LOWER}
    one, two, visible = (factor.net for factor in pair.model.factors)
    corners = [torch.tensor(list(itertools.product((0.0, 1.0), repeat=k))) for k in (2, 3)]
    with torch.no_grad():
        log_1 = torch.distributions.Bernoulli(logits=one(UPPER)).log_prob(corners[0]).sum(-1)
        log_2 = torch.distributions.Bernoulli(logits=two(corners[0])[:, None]).log_prob(corners[1]).sum(-1)
        log_x = torch.distributions.Bernoulli(logits=visible(corners[1])).log_prob(LOWER).sum(-1)
        exact = float((log_1[:, None] + log_2 + log_x).logsumexp((0, 1)))
    assert of_batch(lower_half.Config(), pair.model, pair.guide, batch)["NLL"] == pytest.approx(-exact, abs=1e-5)
    drawn = log_likelihood(pair.model, pair.guide, batch, samples=20000, exact=False, seed=0)
    assert abs(drawn.mean - exact) < 5.5 * drawn.error


def test_the_bound_of_the_categorical_vae_is_that_of_its_discrete_model():
    """Two variables of three states: the bound, by all nine states, is the mean of what is measured."""
    _, pair, _ = made("categorical_vae", "gumbel", variables=2, states=3)
    x = digits.load().test.binary(0)[:40]
    with torch.no_grad():
        pair.guide.factors[0].net[0][0].weight.mul_(3)
        pair.model.factors[0].logits.normal_()
        q = pair.guide.given(x=x).marginals["z"].probs
        p = pair.model.factors[0]().probs
        states = torch.tensor(list(itertools.product(range(3), repeat=2)))
        weight = q[:, 0, states[:, 0]] * q[:, 1, states[:, 1]]
        log_x = pair.model.factors[1].net(torch.nn.functional.one_hot(states, 3).float())
        fit = torch.distributions.Bernoulli(logits=log_x).log_prob(x[:, None]).sum(-1)
        exact = (weight * fit).sum(-1).mean() - (q * (q / p).log()).sum((-1, -2)).mean()
        torch.manual_seed(0)
        rows = x.repeat(200, 1)
        _, _, objective = made("categorical_vae", "score", variables=2, states=3)
        objective.model.load_state_dict(pair.model.state_dict())
        objective.guide.load_state_dict(pair.guide.state_dict())
        found = -objective({"x": rows})
        # of each of 40 rows 200 draws of log p(x | z), whose standard deviation is at most 5 nats
        assert fit.std(-1).max() < 5
    assert abs(float(found - exact)) < 5.5 * 5 / 8000**0.5


def test_the_temperature_falls_as_told():
    _, _, objective = made("categorical_vae", "gumbel", cooling=0.01)
    heat = objective.estimator("z").temperature
    assert isinstance(heat, ExponentialSchedule)
    assert [round(heat.at(step), 3) for step in (0, 10, 1000)] == [1.0, 0.905, 0.5]
    _, _, objective = made("lower_half", "gumbel", temperature=0.7)
    assert {objective.estimator(name).temperature.at(100) for name in ("h1", "h2")} == {0.7}


@pytest.mark.parametrize("name", RECIPES)
def test_every_arm_has_a_rate_of_the_same_search(name):
    recipe = RECIPES[name]
    for data in ("digits", "mnist"):
        assert set(recipe.found[data]) == set(ARMS)
        assert set(recipe.found[data].values()) <= {3e-4, 1e-3, 3e-3}
    told, _, objective = made(name, "score")
    assert recipe.optimizer(told, "score", objective).defaults["lr"] == recipe.found["digits"]["score"]
    alike = recipe.settings(rates="same", rate=0.5)
    assert recipe.optimizer(alike, "score", objective).defaults["lr"] == 0.5


def test_halves_are_of_one_image():
    train = digits.load().train
    batch = Halves(train)[[3, 5]]
    assert {name: value.shape for name, value in batch.items()} == {"upper": (2, 32), "lower": (2, 32)}
    whole = halves(train.pixels, train.shape)
    assert torch.equal(torch.cat([whole["upper"], whole["lower"]], -1), train.pixels)
    # a cell that is never black is never drawn
    assert not bool(((train.pixels[[3, 5]][:, :32] == 0) & (batch["upper"] == 1)).any())


def test_settings_are_chosen_on_images_that_are_not_tested():
    parts = digits.load()
    told = lower_half.Config(measured="valid").images()
    assert torch.equal(told.test.pixels, parts.valid.pixels)
    assert torch.equal(told.train.pixels, parts.train.pixels)
    assert torch.equal(lower_half.Config().images().test.pixels, parts.test.pixels)


WRONG = {
    "rate=0.1": ("say rates=same", "both"),
    "rates=some": ("rates must be own or same", "both"),
    "variables=0": ("at least 1", "categorical_vae"),
    "states=1": ("at least 1 of 2", "categorical_vae"),
    "hidden=-1": ("must not be negative", "categorical_vae"),
    "cooling=nan": ("must not be negative", "categorical_vae"),
    "layers=3,0": ("layers must be at least 1", "lower_half"),
    "temperature=0": ("temperature must be positive", "lower_half"),
}


@pytest.mark.parametrize("word", WRONG)
def test_wrong_settings_are_refused(word):
    message, which = WRONG[word]
    for name, recipe in RECIPES.items():
        if which in ("both", name):
            with pytest.raises(GraftError, match=message):
                read([word], recipe.settings)


@pytest.mark.parametrize("name", RECIPES)
def test_a_seed_decides_on_everything(name, tmp_path):
    """The network of the baseline too, which is no part of the model."""
    recipe = RECIPES[name]
    small = {"variables": 2, "states": 3} if name == "categorical_vae" else {"layers": (3,)}
    told = recipe.settings(epochs=1, batch=500, rows=2, draws=2, **small)
    found = []
    for k, start in enumerate((5, 6)):
        torch.manual_seed(start)
        figures = recipe.trial(told, "nvil", 0, tmp_path / str(k))
        found.append({key: value for key, value in figures.items() if key != "seconds"})
    assert found[0] == found[1]

"""Figures of latent-variable models against what is known: closed forms of factor analysis, enumeration, chains.

Random tests compare with the exact value in units of the stated standard error and allow 5 of them, which a right
estimate exceeds in fewer than 6 of ten million runs; their draws are fixed by `seed=`.
"""

import math

import pytest
import torch
from torch import distributions as td
from torch import nn

import graft
from graft.distributions.density_of import density_of
from graft.errors import FormulaError, GraftError
from graft.evaluation import Kind, active_units, divergences, gap, log_likelihood
from graft.evaluation.row_by_row import ARGUMENTS, RowByRow
from graft.factors import Bernoulli, Categorical, Gaussian, LinearGaussian
from graft.factors.base import Call

WIDE = 5.0
LOADING = torch.tensor([[1.0, 0.8], [0.3, 0.5], [-0.6, 0.4]])
#: columns at right angles: the posterior has independent parts
STRAIGHT = torch.tensor([[1.0, 0.5], [1.0, -0.5], [0.0, 0.7]])


class Full(nn.Module):
    """A normal with full covariance, its location linear in x."""

    def __init__(self, location, cholesky):
        super().__init__()
        self.location, self.cholesky = nn.Parameter(location), nn.Parameter(cholesky)

    def forward(self, x):
        return td.MultivariateNormal(x @ self.location.mT, scale_tril=self.cholesky)


class Flow(nn.Module):
    """A family without a mean in closed form."""

    def forward(self, x):
        base = td.Independent(td.Normal(x[..., :2], torch.ones_like(x[..., :2])), 1)
        return td.TransformedDistribution(base, [td.AffineTransform(1.0, 2.0, event_dim=1)])


def factor_analysis(loading=LOADING):
    """x = W z + noise, with the precision of z given x and the matrix that makes its mean of x."""
    model = graft.Model({"z": Gaussian(dim=2), "x | z": LinearGaussian(3, 2)})
    with torch.no_grad():
        model.factors[1].linear.weight.copy_(loading)
        model.factors[1].linear.bias.zero_()
    noise = model.factors[1].noise().detach()
    precision = torch.eye(2) + loading.T @ torch.linalg.inv(noise @ noise.T) @ loading
    return model, precision, torch.linalg.solve(precision, loading.T @ torch.linalg.inv(noise @ noise.T))


def diagonal(location, log_scale, offset=0.0):
    """A guide with its location linear in x and a constant scale."""
    guide = graft.Model({"z | x": Gaussian(nn.Linear(3, 4), dim=2)})
    with torch.no_grad():
        guide.factors[0].net.weight.zero_()[:2] = location
        guide.factors[0].net.bias.copy_(torch.cat([torch.full((2,), offset), log_scale]))
    return guide


def best_diagonal(loading=LOADING, offset=0.0):
    model, precision, location = factor_analysis(loading)
    return model, diagonal(location, -0.5 * precision.diagonal().log(), offset), precision


def rows(count=40, seed=3):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)) * 1.5


def family_gap(precision):
    """The least divergence of independent normals from one with this precision."""
    return 0.5 * float(precision.diagonal().log().sum() - precision.logdet())


def units():
    torch.manual_seed(0)
    model = graft.Model({"h": Bernoulli(dim=4), "x | h": Bernoulli(nn.Linear(4, 3), dim=3)})
    guide = graft.Model({"h | x": Bernoulli(nn.Linear(3, 4), dim=4)})
    return model, guide, {"x": torch.bernoulli(torch.full((12, 3), 0.5))}


def layers():
    torch.manual_seed(1)
    model = graft.Model(
        {"g": Bernoulli(dim=2), "h | g": Bernoulli(nn.Linear(2, 3), dim=3), "x | h": Bernoulli(nn.Linear(3, 3), dim=3)}
    )
    guide = graft.Model({"h | x": Bernoulli(nn.Linear(3, 3), dim=3), "g | h": Bernoulli(nn.Linear(3, 2), dim=2)})
    return model, guide, {"x": torch.bernoulli(torch.full((12, 3), 0.5))}


def states():
    torch.manual_seed(2)
    model = graft.Model({"c": Categorical(5), "x | c": Gaussian(nn.Linear(5, 4), dim=2)})
    return model, graft.Model({"c | x": Categorical(nn.Linear(2, 5), 5)}), {"x": torch.randn(12, 2)}


def half_guided():
    """The guide gives one of two latents; the other is summed out at each draw."""
    torch.manual_seed(3)
    model = graft.Model(
        {"c": Categorical(3), "h": Bernoulli(dim=2), "x | c, h": Gaussian(nn.Linear(5, 4), dim=2)},
    )
    return model, graft.Model({"h | x": Bernoulli(nn.Linear(2, 2), dim=2)}), {"x": torch.randn(12, 2)}


def analysis():
    model, guide, _ = best_diagonal()
    return model, guide, {"x": rows(12)}


def grid():
    """Two batch dimensions."""
    model, guide, _ = best_diagonal()
    return model, guide, {"x": rows(12).reshape(3, 4, 3)}


def alone():
    """No batch dimension."""
    model, guide, _ = best_diagonal()
    return model, guide, {"x": rows(1)[0]}


def double():
    model, guide, _ = best_diagonal()
    return model.double(), guide.double(), {"x": rows(12).double()}


def kalman():
    """A chain of real vectors, ragged."""
    torch.manual_seed(4)
    model = graft.Model(
        {"z[0]": Gaussian(dim=2), "z[t] | z[t-1]": LinearGaussian(2, 2), "x[t] | z[t]": LinearGaussian(3, 2)}
    )
    guide = graft.Model({"z[t] | x[t]": Gaussian(nn.Linear(3, 4), dim=2)})
    with torch.no_grad():
        guide.factors[0].net.weight.zero_()  # wide enough for weights with a variance
        guide.factors[0].net.bias.copy_(torch.tensor([0.0, 0.0, 0.2, 0.2]))
    x = torch.randn(12, 4, 3)
    lengths = torch.tensor([4, 3, 2, 1] * 3)
    x[torch.arange(4) >= lengths.unsqueeze(-1)] = torch.nan
    return model, guide, {"x": x, "lengths": lengths}


def hidden_markov():
    """A chain of states with holes."""
    torch.manual_seed(5)
    model = graft.Model(
        {"s[0]": Categorical(3), "s[t] | s[t-1]": Categorical(3, given=3), "x[t] | s[t]": Gaussian(dim=2, given=3)}
    )
    guide = graft.Model({"s[t] | x[t]": Categorical(nn.Linear(2, 3), 3)})
    mask = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]]).bool().repeat(4, 1)
    return model, guide, {"x": torch.randn(12, 4, 2), "mask": mask}


MODELS = {
    "units": units,
    "layers": layers,
    "states": states,
    "half guided": half_guided,
    "factor analysis": analysis,
    "two batch dimensions": grid,
    "no batch dimension": alone,
    "double precision": double,
    "Kalman, ragged": kalman,
    "hidden Markov, with holes": hidden_markov,
}


def log_prob(model, batch):
    options = {name: value for name, value in batch.items() if name in ("lengths", "mask")}
    values = {name: value for name, value in batch.items() if name not in options}
    return model.log_prob(values, **options).detach().double()


@pytest.mark.parametrize("name", MODELS)
def test_the_estimate_is_as_near_as_it_says(name):
    model, guide, batch = MODELS[name]()
    exact = log_likelihood(model, guide, batch)
    assert exact.kind == Kind.EXACT == "exact" and exact.error == 0 and exact.samples == 0
    torch.testing.assert_close(exact.rows, log_prob(model, batch))
    found = log_likelihood(model, guide, batch, samples=4000, exact=False, seed=0)
    assert found.kind == Kind.ESTIMATE and found.rows.shape == exact.rows.shape
    assert abs(found.mean + float(found.shortfall.mean()) - exact.mean) < WIDE * found.error
    assert ((found.rows + found.shortfall - exact.rows).abs() < WIDE * found.row_errors).all()
    assert 0 < found.error < 0.1
    assert ((found.effective >= 1) & (found.effective <= 4000)).all()


@pytest.mark.parametrize("name", ["factor analysis", "hidden Markov, with holes", "no batch dimension"])
def test_chunks_and_seeds_change_nothing_that_matters(name):
    """Pieces of rows and samples are other draws of the same; a seed repeats them and leaves the global state."""
    model, guide, batch = MODELS[name]()
    before = torch.get_rng_state()
    once = log_likelihood(model, guide, batch, samples=101, exact=False, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    again = log_likelihood(model, guide, batch, samples=101, exact=False, seed=5)
    assert torch.equal(once.rows, again.rows)
    for chunk in (60, 300):
        found = log_likelihood(model, guide, batch, samples=101, chunk=chunk, exact=False, seed=6)
        error = math.hypot(found.error, once.error)
        assert abs(found.mean - once.mean) < WIDE * error
        assert 0.3 < found.error / once.error < 3


def test_stated_intervals_cover():
    """Of 3,000 intervals of 95%, between 93.5 and 96.5% cover; a right error misses that in 2 of 10,000 runs."""
    model, guide, _ = best_diagonal()
    x = rows(3000)
    exact = log_likelihood(model, guide, {"x": x}).rows
    found = log_likelihood(model, guide, {"x": x}, samples=400, exact=False, seed=0)
    inside = ((found.rows - exact).abs() < 1.96 * found.row_errors).double().mean()
    assert 0.935 < inside < 0.965


def test_the_shortfall_is_what_is_missing_in_mean():
    """The mean error over 40,000 rows, within 5 of its standard errors and a fifth for the higher orders."""
    model, guide, _ = best_diagonal(offset=0.3)
    x = rows(40000)
    found = log_likelihood(model, guide, {"x": x}, samples=20, exact=False, seed=0)
    missing = log_likelihood(model, guide, {"x": x}).rows - found.rows
    error = float(missing.std()) / len(x) ** 0.5
    told = float(found.shortfall.mean())
    assert told > 10 * error
    assert abs(float(missing.mean()) - told) < WIDE * error + 0.2 * told


def test_a_guide_that_is_the_posterior_has_equal_weights():
    model, guide, _ = best_diagonal(STRAIGHT)
    found = log_likelihood(model, guide, {"x": rows()}, samples=50, exact=False, seed=0)
    torch.testing.assert_close(found.rows, log_likelihood(model, guide, {"x": rows()}).rows, rtol=1e-5, atol=1e-5)
    assert found.error < 1e-5 and float(found.effective.min()) > 49.9


def test_what_cannot_be_summed_is_sampled():
    model = graft.Model({"z": Gaussian(dim=2), "x | z": Gaussian(nn.Linear(2, 3), dim=3, scale=1.0)})
    guide = graft.Model({"z | x": Gaussian(nn.Linear(3, 4), dim=2)})
    assert log_likelihood(model, guide, {"x": rows()}, samples=10).kind == Kind.ESTIMATE
    # 2^60 states, and 2^20 that fit a table while what the network returns for all of them does not
    for count in (60, 20):
        model = graft.Model({"h": Bernoulli(dim=count), "x | h": Bernoulli(nn.Linear(count, 50), dim=50)})
        guide = graft.Model({"h | x": Bernoulli(nn.Linear(50, count), dim=count)})
        assert log_likelihood(model, guide, {"x": torch.zeros(2, 50)}, samples=10).kind == Kind.ESTIMATE


def test_impossible_rows_are_minus_infinity_and_never_nan():
    model = graft.Model(
        {"c": Categorical(2), "d | c": Categorical(probs=torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]))}
    )
    guide = graft.Model({"c | d": Categorical(2, given=3)})
    batch = {"d": torch.tensor([0, 1, 2])}
    exact = log_likelihood(model, guide, batch)
    found = log_likelihood(model, guide, batch, samples=2000, exact=False, seed=0)
    assert found.rows[2] == exact.rows[2] == -torch.inf and found.effective[2] == 0
    assert found.row_errors[2] == torch.inf and found.mean == -torch.inf
    assert found.spread == math.inf and "infinity" in str(found)
    torch.testing.assert_close(found.rows[:2], exact.rows[:2], rtol=0.1, atol=0.1)


def test_networks_rest_while_they_are_measured():
    decoder = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 3))
    model = graft.Model({"z": Gaussian(dim=2), "x | z": Gaussian(decoder, dim=3, scale=1.0)})
    guide = graft.Model({"z | x": Gaussian(nn.Linear(3, 4), dim=2)})
    decoder[0].eval(), guide.eval()
    loss = log_likelihood(model, guide, {"x": rows()}, samples=100, seed=0)
    decoder[0].train()
    again = log_likelihood(model, guide, {"x": rows()}, samples=100, seed=0)
    assert torch.equal(loss.rows, again.rows)
    assert decoder[0].training and not guide.training and model.training


def test_what_is_printed():
    model, guide, _ = best_diagonal()
    assert str(log_likelihood(model, guide, {"x": torch.zeros(2, 3)})).endswith("nats (exact, 2 rows)")
    text = str(log_likelihood(model, guide, {"x": rows()}, samples=100, exact=False, seed=0))
    assert "doubtful" not in text
    far = diagonal(torch.zeros(2, 3), torch.zeros(2), offset=6.0)
    found = log_likelihood(model, far, {"x": rows()}, samples=100, exact=False, seed=0)
    assert found.doubtful == (found.effective < 10).sum() > 30 and "doubtful rows: " in str(found)
    assert "±" in text and "(estimate, 40 rows, 100 samples, effective " in text and ", low by " in text


def by_hand(x, weight):
    return (x @ weight.T).var(0)


def test_active_units_by_hand():
    """The mean of q is linear in x, and a third unit does not move."""
    model = graft.Model({"z": Gaussian(dim=3), "x | z": Gaussian(nn.Linear(3, 3), dim=3, scale=1.0)})
    guide = graft.Model({"z | x": Gaussian(nn.Linear(3, 6), dim=3)})
    weight = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.05, 0.0], [0.0, 0.0, 0.0]])
    with torch.no_grad():
        guide.factors[0].net.weight[:3] = weight
    x = rows(101)
    expected = by_hand(x, weight).double()
    batches = [{"x": x[:50]}, {"x": x[50:100]}, {"x": x[:0]}, {"x": x[100:]}]
    loader = torch.utils.data.DataLoader([{"x": row} for row in x], batch_size=16)
    for data in ({"x": x}, {"x": x[:100].reshape(5, 20, 3)}, batches, loader):
        found = active_units(model, guide, data, "z", chunk=28)
        count = 100 if isinstance(data, dict) and data["x"].dim() == 3 else 101
        wanted = by_hand(x[:100], weight).double() if count == 100 else expected
        torch.testing.assert_close(found.variance, wanted, rtol=1e-4, atol=1e-8)
        assert (found.active, found.units, found.rows, found.kind) == (1, 3, count, Kind.EXACT)
    assert active_units(model, guide, {"x": x}, "z", threshold=0.001).active == 2
    assert str(found).startswith("z: 1 of 3 units active")


def test_active_units_of_bernoulli_and_of_flows():
    model, guide, batch = units()
    probs = guide.factors[0].net(batch["x"]).sigmoid()
    torch.testing.assert_close(
        active_units(model, guide, batch, "h").variance, probs.double().var(0), rtol=1e-4, atol=1e-7
    )
    model = graft.Model({"z": Gaussian(dim=2), "x | z": Gaussian(nn.Linear(2, 3), dim=3, scale=1.0)})
    x = rows(500)
    found = active_units(model, graft.Model({"z | x": Flow()}), {"x": x}, "z", samples=20, seed=0)
    assert found.kind == Kind.ESTIMATE
    # draws have variance 4, which over 20 of them would add 0.2: it is taken off; 5 standard errors or so
    torch.testing.assert_close(found.variance, (2 * x[:, :2]).double().var(0), rtol=0.05, atol=0)


def test_noise_of_draws_does_not_make_a_unit_active():
    """The second latent reads draws of the first and nothing else: collapsed, with noise of variance 1 / samples."""
    model = graft.Model(
        {
            "a": Gaussian(dim=1),
            "b | a": Gaussian(nn.Linear(1, 1), dim=1, scale=1.0),
            "x | b": Gaussian(nn.Linear(1, 3), dim=3, scale=1.0),
        }
    )
    guide = graft.Model(
        {"a | x": Gaussian(nn.Linear(3, 2), dim=1), "b | a": Gaussian(nn.Linear(1, 1), dim=1, scale=1.0)}
    )
    with torch.no_grad():
        guide.factors[0].net.weight.zero_()
        guide.factors[0].net.bias.zero_()
    found = active_units(model, guide, {"x": rows(2000)}, "b", threshold=0.01, samples=10, seed=0)
    assert found.kind == Kind.ESTIMATE and found.active == 0


def test_active_units_along_axes():
    """Each position of a time axis by itself (one that only tells the time is not active), plates together."""
    model = graft.Model(
        {"z[0]": Gaussian(dim=2), "z[t] | z[t-1]": LinearGaussian(2, 2), "x[t] | z[t]": LinearGaussian(2, 2)}
    )
    guide = graft.Model({"z[t] | x[t]": Gaussian(nn.Linear(2, 4), dim=2)})
    with torch.no_grad():
        guide.factors[0].net.weight.copy_(torch.eye(4, 2))
        guide.factors[0].net.bias.zero_()
    clock = torch.arange(5.0).expand(20, 5)
    lengths = torch.arange(20) % 4 + 2
    x = torch.stack([clock, clock + torch.randn(20, 5, generator=torch.Generator().manual_seed(0))], -1)
    x = torch.where((clock < lengths.unsqueeze(-1)).unsqueeze(-1), x, torch.nan)
    found = active_units(model, guide, {"x": x, "lengths": lengths}, "z")
    at_each = [x[lengths > t, t, 1].var() * (lengths > t).sum() for t in range(5)]
    torch.testing.assert_close(found.variance[0], torch.zeros(()).double(), atol=1e-10, rtol=0)
    torch.testing.assert_close(found.variance[1], (sum(at_each) / lengths.sum()).double(), rtol=1e-4, atol=0)
    # batches of other lengths, the same data
    parts = [
        {"x": x[rows, : int(lengths[rows].max())], "lengths": lengths[rows]} for rows in lengths.argsort().split(7)
    ]
    torch.testing.assert_close(active_units(model, guide, parts, "z").variance, found.variance)
    plate = graft.Model({"z[n]": Gaussian(dim=2), "x[n] | z[n]": LinearGaussian(2, 2)})
    guide = graft.Model({"z[n] | x[n]": Gaussian(guide.factors[0].net, dim=2)})
    data = torch.randn(30, 2)
    torch.testing.assert_close(
        active_units(plate, guide, {"x": data}, "z").variance, data.var(0).double(), rtol=1e-4, atol=0
    )


def test_divergences_of_factor_analysis_are_exact():
    model, guide, precision = best_diagonal()
    found = divergences(model, guide, {"x": rows()})
    location = rows() @ guide.factors[0].net.weight[:2].T
    q = td.Independent(td.Normal(location, precision.diagonal() ** -0.5), 1)
    p = td.Independent(td.Normal(torch.zeros(2), torch.ones(2)), 1)
    assert list(found) == ["z"] and found["z"].kind == Kind.EXACT and found["z"].error == 0
    torch.testing.assert_close(found["z"].rows, td.kl_divergence(q, p).double(), rtol=1e-4, atol=1e-5)


def test_divergences_by_enumeration():
    """Two layers of units, every term a sum over all states; through draws, within 5 errors."""
    model, guide, batch = layers()
    x = batch["x"]
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 5)
    g, h = corners[:, None, :2].expand(-1, len(x), -1), corners[:, None, 2:].expand(-1, len(x), -1)
    to_h, to_g = guide.factors[0].net, guide.factors[1].net
    log_h = td.Bernoulli(logits=to_h(x)).log_prob(h).sum(-1)
    log_g = td.Bernoulli(logits=to_g(h)).log_prob(g).sum(-1)
    weight = (log_h + log_g).exp()
    prior_g = graft.Model({"g": model.factors[0]}).log_prob(g=g).detach()
    prior_h = td.Bernoulli(logits=model.factors[1].net(g)).log_prob(h).sum(-1)
    expected = {"h": (weight * (log_h - prior_h)).sum(0), "g": (weight * (log_g - prior_g)).sum(0)}
    found = divergences(model, guide, batch)
    for name, value in expected.items():
        assert found[name].kind == Kind.EXACT
        torch.testing.assert_close(found[name].rows, value.double(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["factor analysis", "Kalman, ragged", "hidden Markov, with holes", "two batch dimensions"]
)
def test_divergences_make_up_the_bound(name):
    """What is subtracted from the expected log-likelihood of the data gives the bound, within 5 errors of both."""
    model, guide, batch = MODELS[name]()
    found = divergences(model, guide, batch, samples=2000, seed=0)
    (figure,) = found.values()
    assert figure.rows.shape == log_likelihood(model, guide, batch).rows.shape
    objective = graft.objectives.ELBO(model, guide, samples=2000, form="joint")
    torch.manual_seed(1)
    with torch.no_grad():
        run = objective.run(batch)
        bound = run.trace.log_joint() - sum(run.trace.log_q(node) for node in run.trace.guide)
        data = sum(run.trace.log_p(node) for node in run.trace.model if node.head.name == "x")
    drawn = (data - bound).double().flatten(1).mean(1)
    error = math.hypot(figure.error, float(drawn.std()) / 2000**0.5)
    assert abs(figure.mean - float(drawn.mean())) < WIDE * error + 1e-5


def test_divergences_in_closed_form_over_draws():
    """A chain whose guide reads its own past: closed form at every step, averaged over draws of the past."""
    torch.manual_seed(0)
    model = graft.Model(
        {"z[0]": Gaussian(dim=1), "z[t] | z[t-1]": LinearGaussian(1, 1), "x[t] | z[t]": LinearGaussian(1, 1)}
    )
    guide = graft.Model(
        {"z[0] | x": Gaussian(nn.Linear(2, 2), dim=1), "z[t] | z[t-1], x[t]": Gaussian(nn.Linear(2, 2), dim=1)}
    )
    x = torch.randn(6, 2, 1)
    guide = graft.Model(
        {"z[0] | x[0]": Gaussian(nn.Linear(1, 2), dim=1), "z[t] | z[t-1], x[t]": Gaussian(nn.Linear(2, 2), dim=1)}
    )
    found = divergences(model, guide, {"x": x}, samples=2000, seed=0)["z"]
    start = guide.factors[0].net(x[:, 0])
    q0 = td.Normal(start[:, 0], start[:, 1].exp())
    first = td.kl_divergence(q0, td.Normal(0.0, 1.0))
    z0 = q0.rsample((20000,)).unsqueeze(-1)
    step = guide.factors[1].net(torch.cat([z0, x[:, 1].expand(20000, 6, 1)], -1))
    prior = model.factors[1].linear(z0)[..., 0]
    scale = model.factors[1].noise()[0, 0]
    second = td.kl_divergence(td.Normal(step[..., 0], step[..., 1].exp()), td.Normal(prior, scale))
    expected, error = first + second.mean(0), second.std(0) / 20000**0.5
    assert found.kind == Kind.ESTIMATE
    limit = WIDE * (found.row_errors + error.double())
    assert ((found.rows - expected.double()).abs() < limit).all()


FIT = {"steps": 150, "lr": 0.05, "samples": 500, "seed": 0}


def test_the_gap_of_factor_analysis():
    """A diagonal guide of a correlated posterior: the family's part is known in closed form, the other is 0."""
    model, guide, precision = best_diagonal()
    found = gap(model, guide, {"x": rows()}, **FIT)
    assert found.log_likelihood.kind == Kind.EXACT and found.settled
    assert abs(found.family.mean - family_gap(precision)) < WIDE * found.family.error + 0.005
    assert abs(found.amortisation.mean) < WIDE * found.amortisation.error + 0.005
    assert abs(found.total.mean - family_gap(precision)) < WIDE * found.total.error
    torch.testing.assert_close(found.total.rows, found.family.rows + found.amortisation.rows)


def test_what_amortising_costs():
    """A guide off by d in location loses d' Λ d / 2, of which the fit finds all."""
    model, guide, precision = best_diagonal(STRAIGHT, offset=0.4)
    found = gap(model, guide, {"x": rows().reshape(4, 10, 3)}, chunk=1300, **FIT)
    lost = 0.5 * 0.16 * float(precision.diagonal().sum())
    assert found.amortisation.rows.shape == (4, 10)
    assert abs(found.amortisation.mean - lost) < WIDE * found.amortisation.error + 0.005
    assert abs(found.family.mean) < WIDE * found.family.error + 0.005
    assert ((found.amortisation.rows - lost).abs() < WIDE * found.amortisation.row_errors + 0.02).all()


def test_a_full_covariance_has_no_gap():
    model, precision, location = factor_analysis()
    guide = graft.Model({"z | x": Full(location + 0.1, torch.linalg.cholesky(precision.inverse()))})
    found = gap(model, guide, {"x": rows()}, **FIT)
    lost = (
        0.5 * ((rows() @ torch.full((2, 3), 0.1).T) @ precision * (rows() @ torch.full((2, 3), 0.1).T)).sum(-1).mean()
    )
    assert abs(found.family.mean) < WIDE * found.family.error + 0.005
    assert abs(found.amortisation.mean - float(lost)) < WIDE * found.amortisation.error + 0.005


def test_the_gap_of_states_is_a_bound_and_exact():
    """One variable of five states: the family holds the posterior, and all sums are exact."""
    model, guide, batch = states()
    found = gap(model, guide, batch, **{**FIT, "lr": 0.2})
    assert (found.family.kind, found.amortisation.kind, found.total.kind) == (Kind.UPPER, Kind.LOWER, Kind.EXACT)
    assert found.total.error == found.family.error == 0
    assert 0 <= found.family.mean + 1e-6 < 0.005
    posterior = model.given(batch).marginals["c"]
    q = guide.given(batch).marginals["c"]
    torch.testing.assert_close(found.total.rows, td.kl_divergence(q, posterior).double(), rtol=1e-3, atol=1e-4)


def test_units_that_depend_on_each_other_leave_a_gap_to_the_family():
    """Independent units against the best product of Bernoullis, found by climbing from many starts."""
    model, guide, batch = units()
    batch = {"x": batch["x"][:3]}
    found = gap(model, guide, batch, **{**FIT, "lr": 0.2})
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
    joint = torch.stack([model.log_prob(x=x.expand(16, -1), h=corners) for x in batch["x"]]).detach()
    logits = torch.randn(8, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    adam = torch.optim.Adam([logits], lr=0.1)
    for _ in range(400):
        log_q = td.Bernoulli(logits=logits.unsqueeze(2)).log_prob(corners).sum(-1)
        bound = (log_q.exp() * (joint - log_q)).sum(-1)
        adam.zero_grad()
        (-bound.sum()).backward()
        adam.step()
    best = bound.detach().amax(0).double()
    torch.testing.assert_close(found.family.rows, found.log_likelihood.rows - best, rtol=0.01, atol=0.002)


@pytest.mark.parametrize(
    "name", ["Kalman, ragged", "hidden Markov, with holes", "no batch dimension", "double precision"]
)
def test_parts_of_the_gap_have_their_signs(name):
    model, guide, batch = MODELS[name]()
    found = gap(model, guide, batch, **{**FIT, "steps": 30, "samples": 200})
    assert found.total.rows.shape == log_likelihood(model, guide, batch).rows.shape
    for part in (found.total, found.family, found.amortisation):
        assert part.mean > -WIDE * part.error - 0.005
    assert found.total.mean == pytest.approx(found.family.mean + found.amortisation.mean)
    assert "amortisation: " in str(found) and "settled" in str(found)


def test_the_fit_leaves_model_and_guide_and_global_state_alone():
    model, guide, _ = best_diagonal()
    before = [p.clone() for p in [*model.parameters(), *guide.parameters()]]
    state = torch.get_rng_state()
    one = gap(model, guide, {"x": rows(4)}, steps=20, samples=50, seed=1)
    two = gap(model, guide, {"x": rows(4)}, steps=20, samples=50, seed=1)
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(one.best.rows, two.best.rows)
    assert all(torch.equal(a, b) for a, b in zip(before, [*model.parameters(), *guide.parameters()], strict=True))
    assert all(p.grad is None for p in [*model.parameters(), *guide.parameters()])


def test_figures_are_the_same_in_inference_mode():
    model, guide, _ = best_diagonal()
    told = {"steps": 20, "samples": 50, "seed": 1}
    outside = gap(model, guide, {"x": rows(4)}, **told)
    with torch.inference_mode():
        batch = {"x": rows(4)}
        assert torch.equal(gap(model, guide, batch, **told).best.rows, outside.best.rows)
        assert log_likelihood(model, guide, batch, samples=20, exact=False).rows.isfinite().all()
        assert active_units(model, guide, batch, "z").active == 2
        assert divergences(model, guide, batch)["z"].error == 0


def test_a_fit_cut_short_says_so():
    model, _, _ = best_diagonal(STRAIGHT)
    far = diagonal(torch.zeros(2, 3), torch.zeros(2), offset=6.0)
    found = gap(model, far, {"x": rows()}, steps=50, lr=0.05, samples=50, seed=0)
    assert not found.settled and "NOT settled" in str(found)
    again = gap(model, far, {"x": rows()}, steps=1, samples=50, seed=0)
    torch.testing.assert_close(again.last_change.rows, again.amortisation.rows)


FAMILIES = {
    td.Bernoulli: td.Bernoulli(logits=torch.randn(5, 2)),
    td.Beta: td.Beta(torch.rand(5, 2) + 0.5, torch.rand(5, 2) + 0.5),
    td.Categorical: td.Categorical(logits=torch.randn(5, 2, 4)),
    td.Dirichlet: td.Dirichlet(torch.rand(5, 2, 3) + 0.5),
    td.Gamma: td.Gamma(torch.rand(5, 2) + 0.5, torch.rand(5, 2) + 0.5),
    td.Laplace: td.Laplace(torch.randn(5, 2), torch.rand(5, 2) + 0.5),
    td.LogNormal: td.LogNormal(torch.randn(5, 2), torch.rand(5, 2) + 0.5),
    td.MultivariateNormal: td.MultivariateNormal(
        torch.randn(5, 2, 2), scale_tril=torch.eye(2) + torch.ones(2, 2).tril(-1)
    ),
    td.Normal: td.Normal(torch.randn(5, 2), torch.rand(5, 2) + 0.5),
    td.StudentT: td.StudentT(torch.rand(5, 2) + 3.0, torch.randn(5, 2), torch.rand(5, 2) + 0.5),
}


@pytest.mark.parametrize("family", ARGUMENTS, ids=lambda family: family.__name__)
def test_families_start_where_they_were(family):
    """Freed for each of several rows, a family is what it was, with a parameter for every row."""
    dist = td.Independent(FAMILIES[family], 1) if family is not td.Categorical else FAMILIES[family]
    lead = (3, *dist.batch_shape)
    own = RowByRow(None, density_of(dist), lead)
    value = dist.sample((3,))
    again = own.distribution((), Call(0))
    assert again.batch_shape == torch.Size(lead)
    torch.testing.assert_close(again.log_prob(value), dist.log_prob(value))
    assert all(p.shape[: len(lead)] == torch.Size(lead) for p in own.parameters())


def sampled(**wrong):
    model, guide, _ = best_diagonal()
    return log_likelihood(model, guide, **{"batch": {"x": rows()}, **wrong})


def with_model(function, factors, guide, batch, *more, **named):
    return function(graft.Model(factors), graft.Model(guide), batch, *more, **named)


def chained():
    model = graft.Model({"a": Gaussian(dim=2), "b | a": LinearGaussian(2, 2), "x | b": LinearGaussian(3, 2)})
    guide = graft.Model({"b | x": Gaussian(nn.Linear(3, 4), dim=2), "a | b": Gaussian(nn.Linear(2, 4), dim=2)})
    return model, guide, {"x": rows(4)}


def hard():
    guide = graft.Model({"c | x": Categorical(probs=torch.tensor([[1.0, 0.0], [0.5, 0.5]]))})
    model = graft.Model({"c": Categorical(2), "x | c": Categorical(2, given=2)})
    return model, guide, {"x": torch.tensor([0, 1])}


class Poisson(nn.Module):
    def forward(self, x):
        return td.Independent(td.Poisson(x[..., :2].exp()), 1)


def counts():
    model = graft.Model({"z": Gaussian(dim=2), "x | z": LinearGaussian(3, 2)})
    return model, graft.Model({"z | x": Poisson()}), {"x": rows(4)}


BAD = {
    "no samples": (lambda: sampled(samples=0), "positive whole number"),
    "one sample": (lambda: sampled(samples=1), "no standard error"),
    "half a chunk": (lambda: sampled(chunk=0), "chunk"),
    "NaN": (lambda: sampled(batch={"x": torch.full((2, 3), torch.nan)}), "x .* is NaN"),
    "empty": (lambda: sampled(batch={"x": torch.zeros(0, 3)}), "empty"),
    "no dict": (lambda: sampled(batch=torch.zeros(2, 3)), "dict"),
    "unknown name": (lambda: sampled(batch={"x": rows(), "u": rows()}), "no variable"),
    "no model": (lambda: log_likelihood(nn.Linear(2, 2), None, {}), "takes a Model first"),
    "no guide": (lambda: log_likelihood(analysis()[0], nn.Linear(2, 2), {}), "takes a guide second"),
    "unguided": (
        lambda: with_model(
            log_likelihood,
            {"z": Gaussian(dim=2), "u": Gaussian(dim=2), "x | z, u": Gaussian(nn.Linear(4, 6), dim=3)},
            {"z | x": Gaussian(nn.Linear(3, 4), dim=2)},
            {"x": rows()},
        ),
        "u is latent and real",
    ),
    "guide draws too much": (
        lambda: with_model(
            log_likelihood, {"x": Gaussian(dim=3)}, {"u | x": Gaussian(nn.Linear(3, 4), dim=2)}, {"x": rows()}
        ),
        "the guide draws u",
    ),
    "guide gives an input": (
        lambda: with_model(
            log_likelihood,
            {"x | noisy": Gaussian(nn.Linear(3, 6), dim=3)},
            {"noisy | x": Gaussian(nn.Linear(3, 6), dim=3)},
            {"x": rows()},
        ),
        "the guide gives noisy, an input",
    ),
    "shapes of model and guide": (
        lambda: log_likelihood(
            analysis()[0], graft.Model({"z | x": Gaussian(nn.Linear(3, 6), dim=3)}), {"x": rows()}, exact=False
        ),
        "z",
    ),
    "active units of what is not drawn": (lambda: active_units(*analysis(), "x"), "the guide draws z, not 'x'"),
    "active units of states": (lambda: active_units(*states(), "c"), "c is categorical"),
    "active units of one row": (lambda: active_units(*alone(), "z"), "needs two"),
    "active units of no data": (lambda: active_units(*analysis()[:2], [], "z"), "needs two"),
    "active units of what is given": (
        lambda: active_units(*analysis()[:2], {"x": rows(), "z": torch.zeros(40, 2)}, "z"),
        "given in the data",
    ),
    "active units of a number": (lambda: active_units(*analysis()[:2], 3, "z"), "dict"),
    "active units of tuples": (lambda: active_units(*analysis()[:2], [(1, 2)], "z"), "tuple"),
    "threshold": (lambda: active_units(*analysis(), "z", threshold=-1.0), "threshold"),
    "divergences with potentials": (
        lambda: with_model(
            divergences,
            {"a, b": graft.factors.Table(2, 2)},
            {"a | b": Categorical(2, given=2)},
            {"b": torch.tensor([0, 1])},
        ),
        "potentials",
    ),
    "divergence from what is summed out": (
        lambda: with_model(
            divergences,
            {"c": Categorical(2), "z | c": Gaussian(dim=2, given=2), "x | z": LinearGaussian(3, 2)},
            {"z | x": Gaussian(nn.Linear(3, 4), dim=2)},
            {"x": rows()},
        ),
        "reads c, which the guide leaves out",
    ),
    "divergence of what is given": (
        lambda: divergences(*analysis()[:2], {"x": rows(), "z": torch.zeros(40, 2)}),
        "draws nothing",
    ),
    "gap of a guide that reads draws": (lambda: gap(*chained(), samples=10, steps=2), "depends on the draws of b"),
    "gap with hard zeros": (lambda: gap(*hard(), samples=10, steps=2), "at the edge"),
    "gap of another family": (lambda: gap(*counts(), samples=10, steps=2), "Poisson is not fitted"),
    "gap without steps": (lambda: gap(*analysis(), steps=0), "steps"),
    "gap without a rate": (lambda: gap(*analysis(), lr=0.0), "lr"),
    "gap of what is given": (
        lambda: gap(*analysis()[:2], {"x": rows(), "z": torch.zeros(40, 2)}, steps=2, samples=10),
        "draws nothing",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    call, message = BAD[case]
    with pytest.raises(GraftError, match=message):
        call()


def test_a_network_that_breaks_is_named():
    class Broken(nn.Module):
        def forward(self, z):
            return td.Independent(td.Normal(z * torch.nan, 1.0, validate_args=False), 1, validate_args=False)

    model = graft.Model({"z": Gaussian(dim=3), "x | z": Broken()})
    guide = graft.Model({"z | x": Gaussian(nn.Linear(3, 6), dim=3)})
    for measure in (log_likelihood, gap):
        with pytest.raises(GraftError, match=r"p\(x \| z\)"):
            measure(model, guide, {"x": rows()}, samples=10)


def test_formulas_are_checked():
    with pytest.raises(FormulaError, match="reads u"):
        log_likelihood(
            analysis()[0], graft.Model({"z | u": Gaussian(nn.Linear(3, 4), dim=2)}), {"x": rows()}, exact=False
        )

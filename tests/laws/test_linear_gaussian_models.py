"""Laws of models with Gaussian unknowns against the curvature of their log-density, over a table of models."""

from __future__ import annotations

import copy
import math
from functools import cache

import pytest
import torch
from tests.reference.gaussian_models import EXAMPLES, exact
from torch import nn
from torch.autograd import gradcheck

from graft.errors import GraftError, ImpossibleEvidence
from graft.factors import Categorical, Gaussian, LinearGaussian
from graft.gaussian_posterior import GaussianPosterior
from graft.inference.evidence import Missing
from graft.model import Model
from graft.objectives import Likelihood

DOUBLE = torch.float64


def doubled(value):
    if isinstance(value, Missing):
        return Missing(value.value.double(), value.where)
    return value.double() if value.is_floating_point() else value


@cache
def made(name):
    """The model of an example in float64, its arguments, its posterior and the exact answers."""
    example = EXAMPLES[name]
    torch.manual_seed(list(EXAMPLES).index(name))
    model = example.model().double()
    values = {key: doubled(value) for key, value in example.values().items()}
    reference = exact(model, values, example.unknown, example.options)
    return model, values, model.given(values, **example.options), reference


@pytest.fixture(params=EXAMPLES)
def name(request):
    return request.param


def close(found, expected, tolerance=1e-9):
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=tolerance, atol=tolerance)


def places(name):
    """Where the numbers of each unknown stand in the vector of all."""
    start, found = 0, {}
    for key, shape in EXAMPLES[name].unknown.items():
        size = math.prod(shape)
        found[key] = torch.arange(start, start + size).reshape(shape)
        start += size
    return found


def test_evidence_has_its_probability(name):
    model, values, posterior, reference = made(name)
    assert isinstance(posterior, GaussianPosterior) and posterior.kind == "exact"
    close(posterior.log_partition.sum(), reference.log_partition)
    if model.graph.directed:
        close(model.log_prob(values, **EXAMPLES[name].options), posterior.log_partition)


def test_marginals_are_the_exact_ones(name):
    model, _, posterior, reference = made(name)
    mode = posterior.mode()
    for key, index in places(name).items():
        found = posterior.marginals[key]
        variable = model.graph.variables[key]
        rank = variable.support.event_rank
        assert found.batch_shape == index.shape[: index.dim() - rank]
        close(found.mean, reference.mean[index])
        close(found.variance, reference.covariance.diagonal()[index])
        close(mode[key], reference.mean[index])
        if rank:
            close(found.covariance_matrix, reference.covariance[index[..., :, None], index[..., None, :]])


def test_density_and_entropy(name):
    model, _, posterior, reference = made(name)
    mode = posterior.mode()
    exists, count = reference.exists, int(reference.exists.sum())
    inside = reference.covariance[exists][:, exists]
    at_mode = -0.5 * (torch.linalg.slogdet(inside)[1] + count * math.log(2 * math.pi))
    real = {key: mode[key] for key in EXAMPLES[name].unknown}
    close(posterior.log_prob(real).sum(), at_mode, 1e-8)
    discrete = [key for key in mode if key not in real and model.graph.variables[key].is_discrete]
    if not discrete:
        close(posterior.entropy().sum(), 0.5 * count - at_mode, 1e-8)


def test_joint_is_evidence_times_posterior(name):
    model, values, posterior, _ = made(name)
    if not model.graph.directed:
        pytest.skip("the joint of a model with potentials has a normaliser of its own")
    torch.manual_seed(0)
    drawn = {key: value for key, value in posterior.sample().items() if key in EXAMPLES[name].unknown}
    joint = model.log_prob(values | drawn, **EXAMPLES[name].options)
    close(joint, posterior.log_partition + posterior.log_prob(drawn), 1e-8)


@pytest.mark.parametrize(
    "which", ["missing cells", "coupled chains", "holes in the axis", "chains on a plate", "third order"]
)
def test_draws_have_the_moments(which):
    """Fails by chance less than once in 10^5 runs: 5 standard errors of at most some hundred numbers."""
    _, _, posterior, reference = made(which)
    count = 4000
    draws = posterior.sample(count, seed=1)
    flat = torch.cat([draws[key].reshape(count, -1) for key in EXAMPLES[which].unknown], 1)
    exists, spread = reference.exists, reference.covariance.diagonal()
    assert not flat[:, ~exists].any()
    error = (flat.mean(0) - reference.mean)[exists].abs()
    assert (error <= 5 * (spread[exists] / count).sqrt()).all()
    centred = (flat - reference.mean)[:, exists]
    inside = reference.covariance[exists][:, exists]
    wrong = (centred.T @ centred / count - inside).abs()
    assert (wrong <= 5.5 * ((inside**2 + inside.diagonal().outer(inside.diagonal())) / count).sqrt()).all()


@pytest.mark.parametrize("which", ["chain", "lengths", "missing cells", "controls", "coupled chains", "starts at zero"])
def test_filtered_and_predicted_see_only_the_past(which):
    """The same call with everything later removed by lengths."""
    model, values, posterior, _ = made(which)
    letter, options = "t", EXAMPLES[which].options
    size = posterior._situation.frame.sizes[letter]
    batch = posterior._situation.frame.batch
    for step in range(size):
        lengths = torch.full(batch, step + 1)
        if "lengths" in options:
            lengths = lengths.minimum(options["lengths"])
        there = lengths == step + 1
        last = {}
        for key, value in values.items():
            hidden = model.graph.variables[key].is_random and letter in model.graph.variables[key].axes
            tensor = value.value if isinstance(value, Missing) else value
            where = (
                torch.zeros(tensor.shape, dtype=torch.bool) if not isinstance(value, Missing) else value.where.clone()
            )
            if hidden:
                where[:, step] = True
            last[key] = Missing(tensor, where) if hidden else value
        now, before = model.given(values, lengths=lengths), None
        if which not in ("controls",):
            before = model.given(last, lengths=lengths)
        for key in EXAMPLES[which].unknown:
            if letter not in model.graph.variables[key].axes:
                continue
            close(posterior.filtered[key].mean[there, step], now.marginals[key].mean[there, step])
            close(posterior.filtered[key].variance[there, step], now.marginals[key].variance[there, step])
            if before is not None:
                close(posterior.predicted[key].mean[there, step], before.marginals[key].mean[there, step])
                close(posterior.predicted[key].variance[there, step], before.marginals[key].variance[there, step])


@pytest.mark.parametrize("which", ["chain", "missing cells", "first steps of their own", "controls"])
def test_one_step_predictions_multiply_to_the_evidence(which):
    _, values, posterior, _ = made(which)
    found, x = posterior.predicted["x"], values["x"]
    if isinstance(x, Missing):
        assert found.batch_shape == x.value.shape[:-1] and (found.variance > 0).all()
        return
    each = found.log_prob(x)
    lengths = EXAMPLES[which].options.get("lengths")
    if lengths is not None:
        each = each.masked_fill(torch.arange(x.shape[1]) >= lengths[:, None], 0.0)
    close(each.sum(-1), posterior.log_partition)


PAIRS = {
    "chain": ("z[t-1], z[t]", ["z", "z"], [0, 1]),
    "lengths": ("z[t], z[t+1]", ["z", "z"], [0, 1]),
    "third order": ("z[t-3], z[t]", ["z", "z"], [0, 3]),
    "coupled chains": ("a[t-1], b[t], a[t]", ["a", "b", "a"], [0, 1, 1]),
    "a linear Bayesian network": ("d, b", ["d", "b"], [0, 0]),
}


@pytest.mark.parametrize("which", PAIRS)
def test_joint_marginals_are_blocks_of_the_whole(which):
    _, _, posterior, reference = made(which)
    text, names, shifts = PAIRS[which]
    found, index = posterior.marginals[text], places(which)
    if max(shifts):
        size = next(iter(index.values())).shape[1] - max(shifts)
        cells = torch.cat([index[key].narrow(1, shift, size) for key, shift in zip(names, shifts, strict=True)], -1)
    else:
        cells = torch.cat([index[key] for key in names], -1)
    alive = reference.exists[cells].all(-1)
    close(found.mean[alive], reference.mean[cells][alive])
    close(found.covariance_matrix[alive], reference.covariance[cells[..., :, None], cells[..., None, :]][alive])


def test_float32_models_answer_in_float32():
    torch.manual_seed(0)
    example = EXAMPLES["coupled chains"]
    model, values = example.model(), example.values()
    low = model.given(values, **example.options)
    high = copy.deepcopy(model).double().given({k: v.double() for k, v in values.items()}, **example.options)
    assert low.log_partition.dtype == torch.float32 and low.marginals["b"].mean.dtype == torch.float32
    close(low.log_partition, high.log_partition, 1e-5)
    close(low.marginals["b"].mean, high.marginals["b"].mean, 1e-5)
    close(low.entropy(), high.entropy(), 1e-5)


def which_is_used(name, parameter):
    """With one element alone nothing moves."""
    return name != "one element" or not parameter.startswith("factors.1.")


def test_gradients_reach_every_parameter(name):
    example = EXAMPLES[name]
    torch.manual_seed(0)
    model, values = example.model(), example.values()
    posterior = model.given(values, **example.options)
    total = posterior.log_partition.sum() + posterior.entropy().sum()
    total = total + sum(posterior.marginals[key].mean.square().sum() for key in example.unknown)
    parameters = [p for key, p in model.named_parameters() if which_is_used(name, key)]
    grads = torch.autograd.grad(total, parameters, allow_unused=True)
    assert all(g is not None and torch.isfinite(g).all() for g in grads)


@pytest.mark.parametrize("which", ["starts at zero", "factor analysis on a plate"])
def test_gradients_are_finite_differences(which):
    model, values, _, _ = made(which)
    names = [key for key, _ in model.named_parameters()]
    start = [p.detach().clone().requires_grad_() for p in model.parameters()]

    def total(*parameters):
        found = dict(zip(names, parameters, strict=True))

        class Call(nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self):
                posterior = self.model.given(values, **EXAMPLES[which].options)
                return posterior.log_partition, posterior.entropy()

        return torch.func.functional_call(Call(), {f"model.{key}": value for key, value in found.items()}, ())

    assert gradcheck(total, start, fast_mode=True)


def test_a_dynamical_system_is_learnt_by_gradient():
    torch.manual_seed(0)
    truth, model = (
        Model({"z[0]": Gaussian(dim=1), "z[t] | z[t-1]": LinearGaussian(1, 1), "x[t] | z[t]": LinearGaussian(1, 1)})
        for _ in range(2)
    )
    with torch.no_grad():
        for factor, weight in zip(list(truth.factors)[1:], (0.95, 1.0), strict=True):
            factor.linear.weight.fill_(weight)
            factor.linear.bias.zero_()
            factor.raw_scale.fill_(-1.0)
    x = truth.sample(32, seed=0, sizes={"t": 40})["x"]
    with torch.no_grad():
        for factor in list(model.factors)[1:]:
            factor.linear.weight.fill_(0.5)
    objective = Likelihood(model)
    before = objective({"x": x}).item()
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=15, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = objective({"x": x})
        loss.backward()
        return loss

    optimiser.step(closure)
    after, best = objective({"x": x}).item(), Likelihood(truth)({"x": x}).item()
    assert after < best < before
    assert abs(model.factors[1].linear.weight.item()) == pytest.approx(0.95, abs=0.05)


@pytest.mark.parametrize(("batch", "length"), [((2,), 0), ((0,), 3), ((0,), 0), ((), 0)])
def test_empty_batches_and_axes_have_empty_answers(batch, length):
    model = EXAMPLES["chain"].model()
    posterior = model.given(x=torch.zeros(*batch, length, 3))
    assert posterior.log_partition.shape == posterior.entropy().shape == batch and not posterior.log_partition.any()
    assert posterior.mode()["z"].shape == (*batch, length, 2)
    assert posterior.sample(3)["z"].shape == (3, *batch, length, 2)
    assert posterior.log_prob(z=posterior.mode()["z"]).shape == batch
    for found in (
        posterior.marginals["z"],
        posterior.filtered["z"],
        posterior.predicted["z"],
        posterior.predicted["x"],
    ):
        assert found.batch_shape == (*batch, length)
    assert posterior.marginals["z[t-1], z[t]"].batch_shape == (*batch, max(length - 1, 0))


def test_what_nothing_depends_on_is_drawn_and_has_marginals():
    torch.manual_seed(0)
    model = EXAMPLES["chain"].model()
    prior = model.given(sizes={"t": 3})
    assert prior.log_partition == 0
    first = model.factors[0]
    close(prior.marginals["z"].mean[0], first.loc.detach())
    assert prior.marginals["x"].batch_shape == (3,)
    assert set(prior.sample(2)) == {"z", "x"}
    assert list(prior.marginals) == ["z", "x"] and len(prior.marginals) == 2
    assert "dropped" in str(prior.explain())
    mode = prior.mode()
    close(mode["x"], prior.marginals["x"].mean.detach(), 1e-5)
    entropy = prior.entropy()
    expected = -model.log_prob(prior.sample(500, seed=0)).mean()
    assert abs(entropy - expected) < 5 * math.sqrt(0.5 * 15 / 500)  # the surprise of n numbers has variance n/2


def test_values_outside_the_known_cells_are_impossible():
    model, values, posterior, _ = made("missing cells")
    x = values["x"].value.clone()
    found = posterior.log_prob(x=x)
    joint = model.log_prob(x=x) - model.log_prob(values)
    close(found, joint)
    assert (posterior.log_prob(x=x + 1) == -math.inf).all()


def test_missing_cells_that_others_read_are_unknowns_with_exact_evidence():
    model, values, _, _ = made("chain")
    torch.manual_seed(0)
    z = torch.randn(2, 4, 2, dtype=DOUBLE)
    where = torch.rand(2, 4, 2) < 0.5
    posterior = model.given(values, z=Missing(z, where))
    full = {"z": (2, 4, 2)}
    reference = exact(model, values, full, {})
    known, free = (~where).flatten().nonzero()[:, 0], where.flatten().nonzero()[:, 0]
    s = reference.covariance
    gain = torch.linalg.solve(s[known][:, known], s[known][:, free]).T
    error = z.flatten()[known] - reference.mean[known]
    close(posterior.mode()["z"].flatten()[free], reference.mean[free] + gain @ error)
    close(posterior.mode()["z"].flatten()[known], z.flatten()[known])
    density = torch.distributions.MultivariateNormal(reference.mean[known], s[known][:, known]).log_prob(
        z.flatten()[known]
    )
    close(posterior.log_partition.sum(), reference.log_partition + density)
    draws = posterior.sample(3)["z"]
    assert torch.equal(draws[:, ~where], z[~where].expand(3, -1))
    with pytest.raises(GraftError, match="singular"):
        _ = posterior.marginals["z"]
    assert "some cells known" in str(posterior.explain())


def test_discrete_parts_are_answered_beside():
    model, values, posterior, _ = made("beside states")
    alone = Model({str(n.formula): n.module for n in model.graph.nodes if "z" not in {t.name for t in n.terms}})
    expected = alone.given({key: value for key, value in values.items() if key != "x"})
    for key in ("s", "c"):
        close(posterior.marginals[key].probs, expected.marginals[key].probs)
        assert torch.equal(posterior.mode()[key], expected.mode()[key])
        assert torch.equal(posterior.decide()[key], expected.decide()[key])
    close(posterior.filtered["s"].probs, expected.filtered["s"].probs)
    close(posterior.risk("hamming", expected.decide()), expected.decide().risk)
    close(posterior.expectation(lambda s: s.double()), expected.expectation(lambda s: s.double()))
    close(posterior.marginals["s[t-1], s[t]"], expected.marginals["s[t-1], s[t]"])
    z = {"z": posterior.mode()["z"]}
    gaussian = -posterior.log_prob(z) + 0.5 * 6
    close(posterior.entropy() - expected.entropy(), gaussian)
    assert set(posterior.marginals) == {"z", "s", "c"} and set(posterior.filtered) == {"z", "s"}
    drawn = posterior.sample(5, seed=0)
    assert drawn["s"].shape == (5, 2, 3) and drawn["z"].shape == (5, 2, 3, 2) and drawn["c"].shape == (5, 2)
    impossible = model.given({**values, "s": torch.zeros(2, 3).long()})
    assert torch.isfinite(impossible.log_partition).all()


def test_impossible_states_beside_are_named():
    model = Model(
        {
            "z": Gaussian(dim=1),
            "x | z": LinearGaussian(1, 1),
            "s": Categorical(probs=torch.tensor([1.0, 0.0])),
            "y | s": Categorical(probs=torch.eye(2)),
        }
    )
    posterior = model.given(x=torch.zeros(2, 1), y=torch.tensor([0, 1]))
    assert posterior.log_partition[1] == -math.inf and torch.isfinite(posterior.log_partition[0])
    for ask in (posterior.sample, posterior.mode, posterior.entropy):
        with pytest.raises(ImpossibleEvidence, match="rows"):
            ask()


PLANS = {
    "chain": ("Kalman smoothing along t", "4 elements of 2 numbers"),
    "chains on a plate": ("Kalman smoothing along t", "batched over [n]"),
    "factor analysis": ("Gaussian conditioning", "2 numbers"),
    "beside states": ("forward-backward along t", "Kalman smoothing along t"),
    "missing cells": ("missing cells integrated out", "exact"),
    "controls": ("input", "evidence"),
}


@pytest.mark.parametrize("which", PLANS)
def test_the_plan_says_what_is_done(which):
    _, _, posterior, _ = made(which)
    shown = " ".join(str(posterior.explain()).replace("│", " ").split())
    for text in PLANS[which]:
        assert all(word in shown for word in text.split())
    rows = {row.variable.split("[")[0]: row for row in posterior.explain().rows}
    for key in EXAMPLES[which].unknown:
        assert rows[key].kind == "exact" and rows[key].operations > 0 and rows[key].bytes > 0


@pytest.mark.parametrize("full", [False, True])
def test_missing_cells_are_drawn_given_the_known_ones(full):
    """Fails by chance less than once in 10^5 runs: 5 standard errors of some twenty numbers."""
    torch.manual_seed(2)
    model = Model(
        {
            "z[0]": Gaussian(dim=1),
            "z[t] | z[t-1]": LinearGaussian(1, 1),
            "x[t] | z[t]": LinearGaussian(2, 1, covariance="full" if full else "diag"),
        }
    ).double()
    with torch.no_grad():
        if full:
            model.factors[2].raw_scale[1, 0] = 1.5
    x, where = torch.randn(3, 2, dtype=DOUBLE), torch.tensor([[0, 1], [0, 0], [1, 1]]).bool()
    count = 20000
    draws = model.given(x=Missing(x, where)).sample(count, seed=0)
    assert torch.equal(draws["x"][:, ~where], x[~where].expand(count, -1))
    # the missing cells as unknowns of the model without them: all by curvature of the full log-density
    cells = where.flatten().nonzero()[:, 0]

    def density(vector):
        full = x.flatten().index_put((cells,), vector[3:]).reshape(3, 2)
        return model.log_prob(z=vector[:3].reshape(3, 1), x=full)

    zero = torch.zeros(3 + len(cells), dtype=DOUBLE)
    precision = -torch.autograd.functional.hessian(density, zero)
    covariance = torch.linalg.inv(precision)
    mean = covariance @ torch.autograd.functional.jacobian(density, zero)
    found = torch.cat([draws["z"].flatten(1), draws["x"].flatten(1)[:, cells]], 1) - mean
    spread = covariance.diagonal()
    assert (found.mean(0).abs() <= 5 * (spread / count).sqrt()).all()
    error = ((covariance**2 + spread.outer(spread)) / count).sqrt()
    assert ((found.T @ found / count - covariance).abs() <= 5.5 * error).all()

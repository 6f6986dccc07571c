"""Objectives of a model and a guide: one run gives the same by either path, and each loss is what its formula says.

Random comparisons draw from one seed on both sides, so that they are exact up to rounding.
"""

import copy

import pytest
import torch
from torch import nn

import graft
from graft.errors import GraftError
from graft.factors import Bernoulli, Categorical, Function, Gaussian, Recurrent
from graft.inference.guided.straight import StraightTrace
from graft.model import Model
from graft.objectives import (
    ELBO,
    Alternating,
    ImportanceWeighted,
    Likelihood,
    ReweightedWakeSleep,
    SemiSupervised,
    WakeSleep,
)
from graft.objectives.estimators import (
    Enumerate,
    GumbelSoftmax,
    LeaveOneOut,
    Reparameterised,
    RunningAverage,
    ScoreFunction,
    StickingTheLanding,
    StraightThrough,
)
from graft.objectives.schedules import ExponentialSchedule, LinearSchedule


def vae():
    model = Model({"z": Gaussian(dim=2), "x | z": Bernoulli(nn.Linear(2, 5), dim=5)})
    return model, Model({"z | x": Gaussian(nn.Linear(5, 4), dim=2)}), {}


def full():
    return vae()[0], Model({"z | x": Gaussian(nn.Linear(5, 5), dim=2, covariance="full")}), {}


def learnt_prior():
    model = Model({"z": Gaussian(dim=2, learn=True), "x | z": Gaussian(nn.Linear(2, 3), scale=0.5, dim=3)})
    return model, Model({"z | x": Gaussian(nn.Linear(5, 4), dim=2)}), {}


def belief_net():
    model = Model(
        {
            "g": Bernoulli(dim=2),
            "h | g": Bernoulli(nn.Linear(2, 3), dim=3),
            "x | h": Bernoulli(nn.Linear(3, 5), dim=5),
        }
    )
    guide = Model({"h | x": Bernoulli(nn.Linear(5, 3), dim=3), "g | h": Bernoulli(nn.Linear(3, 2), dim=2)})
    return model, guide, {name: ScoreFunction(RunningAverage()) for name in ("g", "h")}


def labelled():
    model = Model({"y": Categorical(3), "z": Gaussian(dim=2), "x | y, z": Bernoulli(nn.Linear(5, 5), dim=5)})
    guide = Model({"y | x": Categorical(nn.Linear(5, 3), 3), "z | x, y": Gaussian(nn.Linear(8, 4), dim=2)})
    return model, guide, {}


def relaxed():
    model = Model({"c": Categorical(3), "x | c": Bernoulli(nn.Linear(3, 5), dim=5)})
    return model, Model({"c | x": Categorical(nn.Linear(5, 3), 3)}), {"c": GumbelSoftmax(0.7)}


def straight_through():
    model = Model({"h": Bernoulli(dim=3), "x | h": Bernoulli(nn.Linear(3, 5), dim=5)})
    return model, Model({"h | x": Bernoulli(nn.Linear(5, 3), dim=3)}), {"h": StraightThrough()}


def landing():
    return *vae()[:2], {"z": StickingTheLanding()}


def computed():
    model = Model(
        {
            "z": Gaussian(dim=2),
            "f = z": Function(nn.Linear(2, 4), dim=4),
            "x | f": Bernoulli(nn.Linear(4, 5), dim=5),
        }
    )
    return model, Model({"e = x": Function(nn.Linear(5, 3), dim=3), "z | e": Gaussian(nn.Linear(3, 4), dim=2)}), {}


PAIRS = {f.__name__: f for f in (vae, full, belief_net, labelled, relaxed, straight_through, landing, computed)}


def objective_of(name, **options):
    torch.manual_seed(0)
    model, guide, estimators = PAIRS[name]()
    return ELBO(model, guide, estimators=estimators, **options)


def data(rows=4, dtype=torch.float32):
    torch.manual_seed(5)
    return torch.bernoulli(torch.rand(rows, 5)).to(dtype)


def by_the_general_path(objective, batch):
    """The same objective, told not to run straight through."""
    objective = copy.deepcopy(objective)
    objective.intake._plan = lambda known: None
    return objective, batch


@pytest.mark.parametrize("form", ["auto", "joint"])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("name", PAIRS)
def test_both_paths_give_the_same(name, samples, form):
    objective = objective_of(name, samples=samples, form=form if name != "landing" else "joint")
    general, _ = by_the_general_path(objective, None)
    batch = {"x": data()}
    assert isinstance(objective.run(batch).trace, StraightTrace)
    assert not isinstance(general.run(batch).trace, StraightTrace)
    losses = []
    for one in (objective, general):
        torch.manual_seed(3)
        loss = one(batch)
        loss.backward()
        losses.append(loss)
    torch.testing.assert_close(losses[0], losses[1])
    assert losses[0].terms.keys() == losses[1].terms.keys()
    for (label, a), (_, b) in zip(objective.named_parameters(), general.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=label)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)], ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_any_batch_shape(name, shape):
    objective = objective_of(name, samples=2)
    x = data(6)[0].expand(*shape, 5)
    if 0 in shape:
        with pytest.raises(GraftError, match="empty"):
            objective({"x": x})
        return
    assert torch.isfinite(objective({"x": x}))
    assert all(part.shape == shape for part in objective.terms({"x": x}).values())


@pytest.mark.parametrize("name", PAIRS)
def test_double_precision(name):
    objective = objective_of(name).double()
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        loss = objective({"x": data(dtype=torch.float64)})
    finally:
        torch.set_default_dtype(default)
    assert loss.dtype == torch.float64


def test_evidence_on_a_guided_variable_is_not_drawn():
    model, guide, _ = labelled()
    objective = ELBO(model, guide)
    batch = {"x": data(), "y": torch.tensor([0, 1, 2, 0])}
    assert objective.run(batch).trace.draws.keys() == {"z"}
    assert objective.run({"x": data()}).trace.draws.keys() == {"y", "z"}


def test_semi_supervised_is_its_formula():
    torch.manual_seed(0)
    model, guide, _ = labelled()
    x, y = data(6), torch.tensor([0, -1, 2, -1, 1, -1])
    objective = SemiSupervised(model, guide, label="y", alpha=3.0)
    torch.manual_seed(1)
    loss = objective({"x": x, "y": y})
    bound = ELBO(model, guide)
    torch.manual_seed(1)
    known = bound({"x": x[y >= 0], "y": y[y >= 0]})
    classifier = guide.log_prob(x=x[y >= 0], y=y[y >= 0])
    torch.manual_seed(1)
    with_draws = objective.bound({"x": x[y >= 0], "y": y[y >= 0]})
    torch.testing.assert_close(known, with_draws)
    parts = objective.terms({"x": x, "y": y})
    torch.testing.assert_close(parts["labelled q(y)"][y >= 0], 3.0 * classifier)
    assert bool((parts["labelled q(y)"][y < 0] == 0).all())
    assert loss.isfinite()


@pytest.mark.parametrize("y", [[0, 1, 2], [-1, -1, -1]], ids=["all labelled", "none labelled"])
def test_semi_supervised_takes_one_kind_of_rows(y):
    model, guide, _ = labelled()
    assert SemiSupervised(model, guide, label="y")({"x": data(3), "y": torch.tensor(y)}).isfinite()


def test_unlabelled_rows_weigh_every_label_exactly():
    """U(x) = sum_y q(y|x) (L(x, y) - log q(y|x)), with one draw of z for each label."""
    torch.manual_seed(0)
    model, guide, _ = labelled()
    x = data(1)
    log_q = guide.factors[0].net(x).log_softmax(-1)[0]
    torch.manual_seed(2)
    noise = torch.randn(3, 1, 2)
    total = 0.0
    for y in range(3):
        one_hot = torch.nn.functional.one_hot(torch.tensor([y]), 3).float()
        loc, log_scale = guide.factors[1].net(torch.cat([x, one_hot], -1)).chunk(2, -1)
        z = loc + log_scale.exp() * noise[y]
        log_p = model.log_prob(x=x, y=torch.tensor([y]), z=z)
        log_z = torch.distributions.Normal(loc, log_scale.exp()).log_prob(z).sum(-1)
        total = total + log_q[y].exp() * (log_p - log_z - log_q[y])
    torch.manual_seed(2)
    torch.testing.assert_close(ELBO(model, guide, form="joint")({"x": x}), -total.squeeze())


def test_wake_and_sleep_move_their_own_side():
    model, guide, _ = belief_net()
    objective = WakeSleep(model, guide)
    for phase, moved, still in (("wake", model, guide), ("sleep", guide, model)):
        objective.zero_grad()
        getattr(objective, phase)({"x": data()}).backward()
        assert all(p.grad is not None for p in moved.parameters())
        assert all(p.grad is None for p in still.parameters())


def test_wake_sleep_figures_are_those_of_the_phases():
    torch.manual_seed(0)
    model, guide, _ = belief_net()
    objective = WakeSleep(model, guide, samples=2000)
    found = objective.figures({"x": data(2)})
    bound = ELBO(model, guide, estimators={n: Enumerate() for n in ("g", "h")})({"x": data(2)})
    # 4000 draws of a number of spread below 2: off by 0.2 in fewer than 1 of 10^9 runs
    assert abs(found["free_energy"] - bound.item()) < 0.2
    assert found["sleep"] > 0


def test_reweighted_wake_sleep_moves_the_model_as_the_bound_does():
    torch.manual_seed(0)
    model, guide, _ = belief_net()
    x = data()
    gradients = []
    for objective in (
        ReweightedWakeSleep(model, guide, samples=3, sleep=0.0),
        ImportanceWeighted(model, guide, samples=3),
    ):
        objective.zero_grad()
        torch.manual_seed(7)
        objective({"x": x}).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_reweighted_wake_update_is_weighed_log_q():
    torch.manual_seed(0)
    model, guide, _ = belief_net()
    objective = ReweightedWakeSleep(model, guide, samples=3, wake=1.0, sleep=0.0)
    torch.manual_seed(7)
    terms = objective.terms({"x": data()})
    torch.manual_seed(7)
    run = objective.run({"x": data()})
    h, g = run.trace.draws["h"], run.trace.draws["g"]
    x = data().expand(3, 4, 5)
    log_q = guide.log_prob(x=x, h=h, g=g)
    weight = (model.log_prob(x=x, h=h, g=g) - log_q).softmax(0).detach()
    torch.testing.assert_close(terms["wake q(h | x)"] + terms["wake q(g | h)"], (weight * log_q).sum(0))


def seq():
    model = Model(
        {
            "z[t] | h[t-1]": Gaussian(nn.Linear(4, 4), dim=2),
            "x[t] | z[t], h[t-1]": Gaussian(nn.Linear(6, 3), scale=0.5, dim=3),
            "h[t] = x[t], z[t], h[t-1]": Recurrent(nn.GRUCell(5, 4)),
        }
    )
    return model, Model({"z[t] | x[t], h[t-1]": Gaussian(nn.Linear(7, 4), dim=2)})


SEQUENCES = {
    "bound": lambda m, g: ELBO(m, g),
    "bound, several draws": lambda m, g: ELBO(m, g, samples=3),
    "importance": lambda m, g: ImportanceWeighted(m, g, samples=3),
    "landing": lambda m, g: ELBO(m, g, estimators={"z": StickingTheLanding()}),
    "score": lambda m, g: ELBO(m, g, samples=2, estimators={"z": ScoreFunction(LeaveOneOut())}),
    "wake-sleep": lambda m, g: WakeSleep(m, g),
    "reweighted": lambda m, g: ReweightedWakeSleep(m, g, samples=3),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_padding_of_sequences_changes_nothing(name):
    """Ragged rows: what stands in the padding, and how long it is, leaves loss and gradient as they are."""
    torch.manual_seed(0)
    model, guide = seq()
    objective = SEQUENCES[name](model, guide)
    x, lengths = torch.randn(3, 4, 3), torch.tensor([4, 1, 0])
    spoilt = x.clone()
    spoilt[1, 1:], spoilt[2] = torch.nan, torch.nan
    losses = []
    for values in (x, spoilt):
        torch.manual_seed(4)
        losses.append(objective({"x": values, "lengths": lengths}))
    torch.testing.assert_close(losses[0], losses[1])
    losses[1].backward()
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)


def test_closed_divergence_along_a_recurrence_agrees_in_mean():
    """2000 rows: the two forms differ by more than 6 standard errors in fewer than 1 of 10^8 runs."""
    torch.manual_seed(0)
    model, guide = seq()
    x = torch.randn(1, 3, 3).expand(2000, -1, -1)
    found = []
    for form in ("kl", "joint"):
        parts = ELBO(model, guide, form=form).terms({"x": x})
        found.append(sum(parts.values()).detach())
    error = (found[0].var() / 2000 + found[1].var() / 2000).sqrt()
    assert (found[0].mean() - found[1].mean()).abs() < 6 * error


def test_sums_and_schedules():
    torch.manual_seed(0)
    model, guide, _ = vae()
    bound, prior = ELBO(model, guide), Likelihood(Model({"z": Gaussian(dim=2, learn=True)}))
    with pytest.raises(GraftError, match="x"):
        (bound + prior)({"x": data()})
    both = bound + LinearSchedule(0.0, 1.0, steps=2) * ELBO(model, guide)
    found = []
    for _ in range(3):
        torch.manual_seed(1)
        found.append(both({"x": data()}).item())
    torch.manual_seed(1)
    first = bound({"x": data()}).item()
    assert found[0] == pytest.approx(first) and found[0] < found[1] < found[2]


def test_annealed_divergence():
    torch.manual_seed(0)
    model, guide, _ = vae()
    warm = ELBO(model, guide, beta=LinearSchedule(0.0, 1.0, steps=4))
    torch.manual_seed(1)
    assert warm({"x": data()}).terms["-KL(z)"] == 0
    saved = warm.state_dict()
    again = ELBO(model, guide, beta=LinearSchedule(0.0, 1.0, steps=4))
    again.load_state_dict(saved)
    assert again.beta.now(False) == 0.25
    warm.eval()
    assert [warm.beta.now(warm.training) for _ in range(2)] == [0.25, 0.25]
    assert ExponentialSchedule(1.0, 0.1, least=0.5, every=2).at(3) == pytest.approx(2.718281828 ** (-0.2))


def test_alternating_phases_hold_the_others_still():
    model, guide, _ = vae()
    turns = Alternating(ELBO(model, guide))
    optimizer = torch.optim.Adam(turns.parameters(), lr=0.1)
    for moved, still in ((guide, model), (model, guide)) * 2:
        before = [[p.detach().clone() for p in one.parameters()] for one in (moved, still)]
        optimizer.zero_grad()
        turns({"x": data()}).backward()
        optimizer.step()
        assert all(not torch.equal(a, b) for a, b in zip(before[0], moved.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in zip(before[1], still.parameters(), strict=True))


FITTED = {
    "bound": lambda m, g: ELBO(m, g),
    "importance": lambda m, g: ImportanceWeighted(m, g, samples=3),
    "wake-sleep": lambda m, g: WakeSleep(m, g),
    "reweighted": lambda m, g: ReweightedWakeSleep(m, g, samples=3),
    "alternating": lambda m, g: Alternating(WakeSleep(m, g)),
    "a sum": lambda m, g: ELBO(m, g) + 0.1 * WakeSleep(m, g),
}


@pytest.mark.parametrize("name", FITTED)
def test_fits_in_one_line_and_in_three(name):
    torch.manual_seed(0)
    model, guide, _ = belief_net()
    objective = FITTED[name](model, guide)
    run = graft.fit(objective, {"x": data(8)}, epochs=2, batch_size=4, seed=0, progress=False)
    assert len(run.history) == 2
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.01)
    optimizer.zero_grad()
    objective({"x": data(8)}).backward()
    optimizer.step()


def test_explained():
    model, guide, _ = labelled()
    shown = str(ELBO(model, guide).explain("x"))
    assert shown.splitlines() == [
        "variable  treatment   estimator        by",
        "y         enumerated  Enumerate        y | x",
        "x         given",
        "z         drawn       Reparameterised  z | x, y",
    ]
    assert "summed exactly" in str(ELBO(model, Model({"z | x": Gaussian(nn.Linear(5, 4), dim=2)})).explain("x"))


def wrong_event():
    return Model({"z | x": Gaussian(nn.Linear(5, 6))})


ERRORS = {
    "no guide for a real latent": (
        lambda: ELBO(labelled()[0], Model({"y | x": Categorical(nn.Linear(5, 3), 3)}))({"x": data()}),
        "z is latent and real, and the guide does not give it",
    ),
    "another event shape": (lambda: ELBO(vae()[0], wrong_event())({"x": data()}), "z | x.*needs|event shape"),
    "outside the support": (lambda: objective_of("vae")({"x": data() + 0.5}), "x at .* is out of range"),
    "NaN": (lambda: objective_of("vae")({"x": data() * torch.nan}), "x at .* is NaN"),
    "outside the support, after a good batch": (
        lambda: [one({"x": x}) for one in [objective_of("vae")] for x in (data(), data() * 2)],
        "x at .* is out of range",
    ),
    "an estimator of nothing": (
        lambda: ELBO(*vae()[:2], estimators={"w": Reparameterised()}),
        "estimators names 'w'; the guide draws z",
    ),
    "an estimator for two": (
        lambda: ELBO(*belief_net()[:2], estimators=dict.fromkeys(("g", "h"), ScoreFunction())),
        "one estimator stands for two variables",
    ),
    "leave one out of one": (
        lambda: ELBO(*vae()[:2], estimators={"z": ScoreFunction(LeaveOneOut())}),
        "ask for samples=2",
    ),
    "landing on several": (
        lambda: ImportanceWeighted(*vae()[:2], estimators={"z": StickingTheLanding()}),
        "biased in a bound of several samples",
    ),
    "leave one out of a bound": (
        lambda: ImportanceWeighted(*vae()[:2], estimators={"z": ScoreFunction(LeaveOneOut())}),
        "LeaveOneOut of z would be biased here",
    ),
    "relaxing what is real": (
        lambda: ELBO(*vae()[:2], estimators={"z": GumbelSoftmax()}),
        "z is not discrete",
    ),
    "enumerating what is real": (lambda: ELBO(*vae()[:2], estimators={"z": Enumerate()}), "z is not discrete"),
    "doubly, of layers": (
        lambda: ImportanceWeighted(
            Model(
                {"a": Gaussian(dim=1), "b | a": Gaussian(nn.Linear(1, 2), dim=1), "x | b": Gaussian(nn.Linear(1, 2))}
            ),
            Model({"b | x": Gaussian(nn.Linear(1, 2), dim=1), "a | b": Gaussian(nn.Linear(1, 2), dim=1)}),
            doubly=True,
        ),
        "a | b reads a draw",
    ),
    "doubly, through a function": (
        lambda: ImportanceWeighted(
            Model(
                {"z": Gaussian(dim=1), "w | z": Gaussian(nn.Linear(1, 2), dim=1), "x | w": Gaussian(nn.Linear(1, 2))}
            ),
            Model(
                {
                    "z | x": Gaussian(nn.Linear(1, 2), dim=1),
                    "g = z": Function(nn.Linear(1, 1), dim=1),
                    "w | g": Gaussian(nn.Linear(1, 2), dim=1),
                }
            ),
            doubly=True,
        ),
        "w | g reads a draw",
    ),
    "a label known in part": (
        lambda: ELBO(*labelled()[:2])({"x": data(), "y": torch.tensor([0, -1, 2, 1])}),
        "y is drawn by the guide, and the batch knows its states",
    ),
    "more rows than labels": (
        lambda: SemiSupervised(*labelled()[:2], label="y")({"x": data(6), "y": torch.tensor([0, -1, 2, 1])}),
        "x is .*6, 5.*a tensor of 4 rows",
    ),
    "a label below -1": (
        lambda: SemiSupervised(*labelled()[:2], label="y")({"x": data(2), "y": torch.tensor([0, -7])}),
        "y holds integers, -1 where the label is missing",
    ),
    "doubly, of states": (
        lambda: ImportanceWeighted(*relaxed()[:2], doubly=True),
        "doubly=True needs reparameterised draws",
    ),
    "no closed form": (
        lambda: ELBO(*belief_net()[:2], form="kl")({"x": data()}),
        "no divergence to the prior of h in closed form",
    ),
    "an unknown form": (lambda: ELBO(*vae()[:2], form="kld"), "form is one of"),
    "no samples": (lambda: ELBO(*vae()[:2], samples=0), "samples must be a positive whole number"),
    "a label without a guide": (
        lambda: SemiSupervised(*vae()[:2], label="y"),
        "has no factor for 'y'",
    ),
    "one sample to weigh": (lambda: ReweightedWakeSleep(*vae()[:2], samples=1), "samples=2"),
    "a single phase": (lambda: Alternating(Likelihood(vae()[0])), "a single phase"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    make, message = ERRORS[name]
    with pytest.raises(GraftError, match=message):
        make()


def test_an_exploding_loss_names_the_factor():
    objective = objective_of("vae")
    with torch.no_grad():
        objective.guide.factors[0].net.weight.fill_(1e20)
    with pytest.raises(GraftError, match=r"the loss is .*(KL|p\(x)"):
        objective({"x": torch.ones(2, 5)})


class Wide(nn.Module):
    """A conditional of the wrong event shape."""

    def forward(self, z):
        return torch.distributions.Independent(torch.distributions.Normal(z.expand(*z.shape[:-1], 3), 1.0), 1)


def test_a_wrong_shape_is_refused_at_every_call():
    objective = ELBO(Model({"z": Gaussian(dim=1), "x | z": Wide()}), Model({"z | x": Gaussian(nn.Linear(1, 2), dim=1)}))
    for _ in range(2):
        with pytest.raises(GraftError, match="event shape"):
            objective({"x": torch.randn(5, 1)})


def test_a_refilled_buffer_is_looked_at_again():
    objective, x = objective_of("vae"), data()
    buffer = x.numpy()
    assert objective({"x": x}).isfinite()
    buffer[:] = 7
    with pytest.raises(GraftError, match="out of range"):
        objective({"x": x})


@pytest.mark.parametrize(
    "make", [lambda m, g: ReweightedWakeSleep(m, g, samples=30), lambda m, g: ImportanceWeighted(m, g, samples=30)]
)
def test_impossible_draws_count_nothing(make):
    """30 draws of 3 states: none of the two possible ones in fewer than 1 of 10^14 runs."""
    torch.manual_seed(0)
    table = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.5, 0.0, 0.5]])
    model = Model({"z": Categorical(3), "x | z": Categorical(probs=table)})
    objective = make(model, Model({"z | x": Categorical(3, given=3)}))
    loss = objective({"x": torch.tensor([2, 1, 2])})
    loss.backward()
    assert loss.isfinite()
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters())


def test_the_sleep_phase_leaves_a_model_alone_that_computes_what_the_guide_reads():
    torch.manual_seed(0)
    model, guide = seq()
    WakeSleep(model, guide).sleep({"x": torch.randn(2, 3, 3)}).backward()
    assert all(p.grad is None for p in model.parameters())
    assert all(p.grad is not None for p in guide.parameters())


@pytest.mark.parametrize("name", PAIRS)
def test_double_models_take_integers(name):
    objective = objective_of(name).double()
    assert objective({"x": data().long()}).dtype == torch.float64

"""The short way of a bound that was computed before gives what the general way gives, to the last digit."""

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal, StudentT
from torch.utils.checkpoint import checkpoint

from graft.errors import GraftError
from graft.factors import Bernoulli, Categorical, Function, Gaussian
from graft.model import Model
from graft.objectives import ELBO, elbo, intake
from graft.objectives.estimators import Reparameterised, StickingTheLanding
from graft.objectives.schedules import Constant, LinearSchedule

D, Z = 6, 2


def linear(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 5), nn.Tanh(), nn.Linear(5, outputs))


def vae():
    p = Model({"z": Gaussian(dim=Z), "x | z": Bernoulli(linear(Z, D), dim=D)})
    return p, Model({"z | x": Gaussian(linear(D, 2 * Z), dim=Z)})


def real():
    p = Model({"z": Gaussian(dim=Z), "x | z": Gaussian(linear(Z, 2 * D), dim=D)})
    return p, Model({"z | x": Gaussian(linear(D, 2 * Z), dim=Z)})


def full():
    p = Model({"z": Gaussian(dim=Z), "x | z": Bernoulli(linear(Z, D), dim=D)})
    return p, Model({"z | x": Gaussian(linear(D, Z + Z * (Z + 1) // 2), dim=Z, covariance="full")})


def two_layers():
    p = Model(
        {"w": Gaussian(dim=3), "z | w": Gaussian(linear(3, 2 * Z), dim=Z), "x | z": Bernoulli(linear(Z, D), dim=D)}
    )
    return p, Model({"z | x": Gaussian(linear(D, 2 * Z), dim=Z), "w | z": Gaussian(linear(Z, 6), dim=3)})


def with_function():
    p = Model({"z": Gaussian(dim=Z), "x | z": Bernoulli(linear(Z, D), dim=D)})
    return p, Model({"h = x": Function(linear(D, 4), dim=4), "z | h": Gaussian(nn.Linear(4, 2 * Z), dim=Z)})


def learned_prior():
    p = Model({"z": Gaussian(dim=Z, learn=True), "x | z": Bernoulli(linear(Z, D), dim=D)})
    return p, Model({"z | x": Gaussian(linear(D, 2 * Z), dim=Z)})


def with_input():
    p = Model({"z | c": Gaussian(linear(3, 2 * Z), dim=Z), "x | z, c": Bernoulli(linear(Z + 3, D), dim=D)})
    return p, Model({"z | x, c": Gaussian(linear(D + 3, 2 * Z), dim=Z)})


SYSTEMS = {
    "vae": vae,
    "real": real,
    "full covariance": full,
    "two layers": two_layers,
    "with a function": with_function,
    "learned prior": learned_prior,
    "with an input": with_input,
}


def batches(name, rows=4):
    generator = torch.Generator().manual_seed(rows)
    x = torch.rand(rows, D, generator=generator)
    found = {"x": x if name == "real" else (x > 0.5).float()}
    return {**found, "c": torch.rand(rows, 3, generator=generator)} if name == "with an input" else found


def step(objective, batch):
    """Loss, parts and gradients, from the same noise."""
    torch.manual_seed(5)
    objective.zero_grad()
    loss = objective(batch)
    loss.backward()
    return loss, dict(loss.terms), [None if p.grad is None else p.grad.clone() for p in objective.parameters()]


FORMS = ("auto", "kl", "entropy", "joint")
#: No closed form where the prior of a draw depends on another that follows it in the guide.
EACH = [(name, form) for name in SYSTEMS for form in FORMS if (name, form) != ("two layers", "kl")]


@pytest.mark.parametrize(("name", "form"), EACH)
def test_short_and_general_way_are_one(name, form):
    torch.manual_seed(0)
    objective = ELBO(*SYSTEMS[name](), form=form)
    for rows in (4, 1, 4):
        batch = batches(name, rows)
        objective._express.clear()
        general = step(objective, batch)
        assert len(objective._express) == 1
        for kind, short in objective._express.items():
            assert kind == (tuple((n, v.shape, v.dtype, v.device) for n, v in batch.items()), form)
            assert short.batch == (rows,)
        now = step(objective, batch)
        assert torch.equal(now[0], general[0]) and now[1] == general[1]
        for one, other in zip(now[2], general[2], strict=True):
            assert (one is None) == (other is None)
            assert one is None or torch.equal(one, other)


def test_the_short_way_is_taken(monkeypatch):
    objective, batch = ELBO(*vae()), batches("vae")
    objective(batch)
    monkeypatch.setattr(objective, "ran", None)
    objective(batch)
    with pytest.raises(TypeError):
        objective(batches("vae", 3))


LONG = {
    "samples": lambda p, q: ELBO(p, q, samples=2),
    "sticking the landing": lambda p, q: ELBO(p, q, estimators={"z": StickingTheLanding()}),
    "an estimator of one's own": lambda p, q: ELBO(p, q, estimators={"z": type("Own", (Reparameterised,), {})()}),
    "annealed": lambda p, q: ELBO(p, q, beta=LinearSchedule(0.0, 1.0, 10)),
    "weighted": lambda p, q: ELBO(p, q, beta=2.0),
}


@pytest.mark.parametrize("name", LONG)
def test_what_has_no_short_way(name):
    objective = LONG[name](*vae())
    objective(batches("vae"))
    assert not objective._express


def test_states_have_no_short_way():
    p = Model({"z": Categorical(probs=torch.ones(3) / 3), "x | z": Bernoulli(nn.Linear(3, D), dim=D)})
    objective = ELBO(p, Model({"z | x": Categorical(linear(D, 3), states=3)}))
    objective(batches("vae"))
    assert not objective._express


class Turning(nn.Module):
    """A network whose outputs change their number."""

    size = 2 * Z

    def forward(self, x):
        return x[:, :1].expand(-1, self.size)


def test_a_changed_shape_is_told_as_ever():
    net = Turning()
    p = Model({"z": Gaussian(dim=Z), "x | z": Bernoulli(linear(Z, D), dim=D)})
    objective = ELBO(p, Model({"z | x": Gaussian(net)}))
    objective(batches("vae"))
    net.size = 6
    with pytest.raises(GraftError, match="z"):
        objective(batches("vae"))


def test_bad_values_are_told_as_ever():
    objective, batch = ELBO(*vae()), batches("vae")
    objective(batch)
    with pytest.raises(GraftError, match="x"):
        objective({"x": batch["x"] + 0.25})
    with pytest.raises(GraftError, match="x"):
        objective({"x": batch["x"] * torch.nan})


def test_settings_that_change_are_heeded():
    objective, batch = ELBO(*vae()), batches("vae")
    divergence = objective(batch).terms["-KL(z)"]
    objective.beta = Constant(0.5)
    torch.testing.assert_close(objective(batch).terms["-KL(z)"], 0.5 * divergence)
    objective.beta, objective.form = Constant(1.0), "joint"
    assert set(objective(batch).terms) == {"-q(z | x)", "p(z)", "p(x | z)"}
    objective.form, objective.samples = "auto", 500
    torch.manual_seed(0)
    assert torch.stack([objective(batch).detach() for _ in range(20)]).std() < 0.1


def test_a_subclass_is_asked_every_time():
    class Regularised(ELBO):
        def parts(self, run):
            return {**super().parts(run), "own": torch.full(run.trace.batch, -1000.0)}

    objective, batch = Regularised(*vae()), batches("vae")
    assert all(objective(batch) > 900 for _ in range(3))


@pytest.mark.parametrize("form", FORMS)
def test_recomputation_finds_what_was_saved(form):
    """A checkpoint runs the general way first and the short one then."""
    objective, one = ELBO(*learned_prior(), form=form), torch.ones(1, requires_grad=True)
    for rows in (4, 4, 3):
        batch = batches("vae", rows)
        checkpoint(lambda w, b=batch: objective(b) * w.sum(), one, use_reentrant=False).backward()


def test_a_way_that_ends_is_not_tried_again():
    calls = []

    class Guide(nn.Module):
        family = Normal

        def forward(self, x):
            calls.append(1)
            more = (torch.tensor(5.0),) if self.family is StudentT else ()
            return Independent(self.family(*more, x[:, :Z], torch.ones(len(x), Z)), 1)

    net = Guide()
    p = Model({"z": Gaussian(dim=Z), "x | z": Bernoulli(linear(Z, D), dim=D)})
    objective, batch = ELBO(p, Model({"z | x": net})), batches("vae")
    objective(batch)
    objective(batch)
    assert len(calls) == 2
    net.family = StudentT
    objective(batch)
    assert len(calls) == 4 and "-q(z | x)" in objective(batch).terms and len(calls) == 5


def test_kinds_are_forgotten_in_time(monkeypatch):
    monkeypatch.setattr(elbo, "KINDS", 3)
    monkeypatch.setattr(intake, "KINDS", 3)
    objective = ELBO(*vae())
    for rows in range(1, 9):
        objective(batches("vae", rows))
        assert len(objective._express) <= 3 and len(objective.intake._kinds) <= 3


def test_a_copy_has_its_own_networks():
    from copy import deepcopy

    objective, batch = ELBO(*vae()), batches("vae")
    objective(batch)
    other = deepcopy(objective)
    with torch.no_grad():
        for p in objective.parameters():
            p.zero_()
    torch.manual_seed(5)
    before = float(other(batch).detach())
    other._express.clear()
    torch.manual_seed(5)
    assert float(other(batch).detach()) == before != float(objective(batch).detach())

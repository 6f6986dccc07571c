"""Flags that are read a step late, as on a device, tell what flags that are read at once tell."""

import pytest
import torch
from tests.reference.training_run import X
from torch import nn

from graft.errors import GraftError
from graft.factors import Bernoulli
from graft.model import Model
from graft.objectives import ELBO, Likelihood
from graft.objectives import intake as intakes
from graft.training.fit import fit

LATE = pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])


@pytest.fixture
def reads(monkeypatch):
    """Decides when flags are read."""

    def decide(late):
        monkeypatch.setattr("graft.training.step.reads_late", lambda device, processes: late)

    return decide


class Spoilt(nn.Module):
    """A quadratic whose loss, or gradient, is not finite at one call."""

    def __init__(self, at, what):
        super().__init__()
        self.place, self.other = nn.Parameter(torch.full((3,), 5.0)), nn.Parameter(torch.ones(2))
        self.at, self.what, self.calls, self.seen = at, what, 0, []

    def forward(self, batch):
        self.seen.append([p.detach().clone() for p in self.parameters()])
        loss = ((batch["x"] - self.place) ** 2).mean() + self.other.square().sum()
        if self.calls == self.at:
            # the root of nought: its value is 0, its slope infinite
            loss = loss * torch.nan if self.what == "loss" else loss + (0 * self.other[0]).clamp(min=0).sqrt()
        self.calls += 1
        if self.what == "loss":
            loss.terms = {"fine": torch.tensor(1.0), "spoilt": loss.detach()}
        return loss


@LATE
@pytest.mark.parametrize("at", [0, 1, 3])  # of four steps: the first, one inside, the last
@pytest.mark.parametrize(("what", "told"), [("loss", "spoilt is nan"), ("gradient", "gradient of other is not finite")])
def test_the_parameters_are_those_before_the_step(reads, late, at, what, told, tmp_path):
    reads(late)
    objective = Spoilt(at, what)
    with pytest.raises(GraftError, match=told):
        fit(objective, {"x": X}, epochs=1, batch_size=len(X) // 4, seed=0, progress=False, folder=tmp_path)
    for now, before in zip(objective.parameters(), objective.seen[at], strict=True):
        assert torch.equal(now, before)
    assert not list(tmp_path.glob("checkpoints/*"))


def test_a_run_is_the_same_to_the_bit(reads):
    found = []
    for late in (False, True):
        reads(late)
        objective = Spoilt(-1, "gradient")
        fit(objective, {"x": X}, epochs=3, batch_size=5, seed=0, progress=False)
        found.append([p.detach().clone() for p in objective.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def net():
    return Model({"h": Bernoulli(dim=2), "x | h": Bernoulli(nn.Linear(2, 3), dim=3)})


def test_values_are_looked_at_once_before_they_go_to_a_device(reads, monkeypatch):
    """Not a second time where they arrive: there is nothing in a step that waits."""
    reads(True)
    looks = []
    real = intakes.all_binary
    monkeypatch.setattr(intakes, "all_binary", lambda value: looks.append(value) or real(value))
    bound = ELBO(net(), Model({"h | x": Bernoulli(nn.Linear(3, 2), dim=2)}))
    x = torch.bernoulli(torch.full((32, 3), 0.5))
    fit(bound + 0.5 * bound, {"x": x}, epochs=1, batch_size=8, seed=0, progress=False)
    # once a step for the objective that is in it twice, and what the first step's full check makes
    assert len(looks) <= 4 + 2


@LATE
def test_wrong_values_are_found_all_the_same(reads, late):
    reads(late)
    bound = ELBO(net(), Model({"h | x": Bernoulli(nn.Linear(3, 2), dim=2)}))
    x = torch.bernoulli(torch.full((32, 3), 0.5))
    x[-1, 0] = 0.5
    before = [p.detach().clone() for p in bound.parameters()]
    with pytest.raises(GraftError, match="x"):
        fit(bound, {"x": x}, epochs=1, batch_size=32, seed=0, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(before, bound.parameters(), strict=True))


def test_an_exact_objective_runs_late_too(reads):
    reads(True)
    run = fit(Likelihood(net()), {"x": torch.ones(8, 3)}, epochs=2, seed=0, progress=False)
    assert run.history[-1]["loss"] < run.history[0]["loss"]

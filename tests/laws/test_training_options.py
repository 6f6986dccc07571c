"""The options of `fit`, each against the same steps written out in plain PyTorch."""

import random

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers import CSVLogger, TensorBoardLogger
from tests.reference.training_run import Noisy, X
from torch import nn
from torch.utils.data import DataLoader, Dataset

from graft.errors import GraftError
from graft.factors import Gaussian
from graft.model import Model
from graft.objectives.likelihood import Likelihood
from graft.training.fit import fit
from graft.training.stopping import EarlyStopping

DATA = {"x": X}


class Quadratic(nn.Module):
    """Half the mean squared distance of the rows from a point."""

    def __init__(self, start=5.0):
        super().__init__()
        self.at = nn.Parameter(torch.full((3,), start))

    def forward(self, batch):
        return 0.5 * ((batch["x"] - self.at) ** 2).sum(-1).mean()


class Rows(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, row):
        return {"x": X[row] + 0.01 * torch.randn(3)}


def sgd(objective, rate=0.5):
    return torch.optim.SGD(objective.parameters(), lr=rate)


def test_clipping_and_a_schedule_are_pytorchs():
    ours, theirs = Quadratic(), Quadratic()
    optimizer = sgd(ours)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    fit(ours, DATA, epochs=3, batch_size=24, optimizer=optimizer, schedule=schedule, clip=0.7, seed=0, progress=False)
    plain = sgd(theirs)
    by_hand = torch.optim.lr_scheduler.ExponentialLR(plain, 0.5)
    for _ in range(3):
        plain.zero_grad()
        theirs(DATA).backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.7)
        plain.step()
        by_hand.step()
    torch.testing.assert_close(ours.at, theirs.at)


def test_a_plateau_looks_at_the_validation_loss():
    objective = Quadratic()
    optimizer = sgd(objective, 3.0)  # too far: each step doubles the distance
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=0)
    options = {"optimizer": optimizer, "schedule": schedule, "valid": DATA, "seed": 0, "progress": False}
    run = fit(objective, DATA, epochs=3, **options)
    assert schedule.best == min(row["valid"] for row in run.history)
    assert optimizer.param_groups[0]["lr"] < 3.0


def test_the_loss_of_an_epoch_is_a_mean_over_rows():
    objective = Quadratic()
    run = fit(
        objective, DATA, epochs=1, batch_size=7, optimizer=sgd(objective, 1e-12), seed=0, progress=False, valid=DATA
    )
    torch.testing.assert_close(run.history[0]["loss"], objective(DATA).item())
    torch.testing.assert_close(run.history[0]["valid"], objective(DATA).item())


def test_validation_leaves_every_part_in_its_mode():
    objective = Noisy()
    objective.net[1].eval()
    modes = [part.training for part in objective.modules()]
    fit(objective, DATA, epochs=1, valid=DATA, seed=0, progress=False)
    assert modes == [part.training for part in objective.modules()]


def test_early_stopping_puts_the_best_parameters_back():
    objective, seen = Quadratic(), {}
    figures = {1: 3.0, 2: 1.0, 3: float("nan"), 4: 2.0, 5: 0.0}

    def watch(epoch):
        seen[epoch] = objective.at.detach().clone()
        return {"cost": figures[epoch]}

    run = fit(
        objective, DATA, epochs=5, stopping=EarlyStopping("cost", patience=2), watch=watch, seed=0, progress=False
    )
    assert (run.best, len(run.history), run.stopped) == (2, 4, "cost has not improved for 2 epochs")
    assert torch.equal(objective.at, seen[2])


def states():
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()


@pytest.mark.parametrize(
    "data", [DATA, Rows(), DataLoader(Rows(), batch_size=5, shuffle=True)], ids=["dict", "set", "loader"]
)
def test_a_seed_rules_everything_and_the_global_state_stays(data):
    ends = []
    for start in range(2):
        torch.manual_seed(0)
        objective = Noisy()
        torch.manual_seed(start)
        before = states()
        fit(objective, data, epochs=2, seed=3, progress=False)
        # Python's own generator is left out: the checks of types in these tests draw from it
        assert [before[i] for i in (0, 2)] == [states()[i] for i in (0, 2)]
        ends.append(objective.net[0].weight.clone())
    assert torch.equal(*ends)


def test_without_a_seed_torchs_rules():
    ends = []
    for start in (1, 1, 2):
        torch.manual_seed(0)
        objective = Noisy()
        torch.manual_seed(start)
        fit(objective, DATA, epochs=5, batch_size=7, progress=False)
        ends.append(objective.net[0].weight.clone())
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


def test_the_global_state_stays_if_it_fails():
    before = torch.get_rng_state()
    with pytest.raises(GraftError, match="not finite"):
        fit(Broken(), DATA, epochs=1, seed=0, progress=False)
    assert torch.equal(before, torch.get_rng_state())


class Broken(Quadratic):
    """Its gradient is not finite from the second epoch on, though its loss is."""

    def __init__(self, good=0):
        super().__init__()
        self.other, self.good, self.calls = nn.Parameter(torch.zeros(())), good, 0

    def forward(self, batch):
        self.calls += 1
        return super().forward(batch) + (self.other.sqrt() if self.calls > self.good else self.other)


def test_a_gradient_that_is_not_finite_is_named_and_the_step_is_not_made(tmp_path):
    objective, seen = Broken(good=1), {}

    def watch(epoch):
        seen[epoch] = objective.at.detach().clone()
        objective.other.data.zero_()
        return {}

    message = f"the gradient of other is not finite.*the last checkpoint is {tmp_path}/checkpoints/00001-000000001"
    with pytest.raises(GraftError, match=message):
        fit(objective, DATA, epochs=3, batch_size=24, watch=watch, folder=tmp_path, seed=0, progress=False)
    assert torch.equal(objective.at, seen[1])


def test_settings_in_the_data_are_handed_on_whole():
    objective = Likelihood(Model({"x[t]": Gaussian(dim=3, learn=True)}))
    run = fit(objective, {"x": X[:, None], "sizes": {"t": 1}}, epochs=1, batch_size=5, seed=0, progress=False)
    assert run.history[0]["step"] == 5


def test_loggers_of_a_fabric_get_the_figures(tmp_path):
    loggers = [CSVLogger(tmp_path, "c", version="0"), TensorBoardLogger(tmp_path, "t", version="0")]
    fabric = Fabric(accelerator="cpu", devices=1, loggers=loggers)
    run = fit(Quadratic(), DATA, epochs=2, seed=0, fabric=fabric, progress=False)
    lines = (tmp_path / "c" / "0" / "metrics.csv").read_text().splitlines()
    assert len(lines) == 3 and str(run.history[1]["loss"]) in lines[2]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "t" / "0"))
    events.Reload()
    assert [e.value for e in events.Scalars("loss")] == pytest.approx([row["loss"] for row in run.history])


def test_two_fits_in_turn_are_as_each_alone():
    """One trained inside the watch of the other."""

    def alone(watch=None):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            objective = Noisy()
        fit(objective, DATA, epochs=2, seed=3, watch=watch, progress=False)
        return objective.net[0].weight.clone()

    expected, inner = alone(), []
    outer = alone(lambda epoch: inner.append(alone()) or {})
    assert torch.equal(outer, expected) and all(torch.equal(one, expected) for one in inner)


WRONG = {
    "resume without a folder": ({"resume": True}, "resume needs a folder"),
    "every without a folder": ({"every": 3}, "every needs a folder"),
    "clip": ({"clip": 0.0}, "clip must be positive"),
    "stopping without validation": ({"stopping": EarlyStopping()}, "needs validation data"),
    "an unknown figure": ({"stopping": EarlyStopping("cost")}, "'cost', but the figures are epoch, step, loss"),
    "a figure's name": ({"watch": lambda epoch: {"loss": 1.0}}, "cannot be called 'loss'"),
    "a figure that is none": ({"watch": lambda epoch: {"cost": "low"}}, "cost is a str, not a number"),
    "two devices": ({"fabric": Fabric(accelerator="cpu", devices=2), "seed": 0}, "launched first"),
    "no Fabric": ({"fabric": 3}, "not int"),
    "a list": ({"data": {"x": X, "y": [1] * 24}}, "y in the data is a list"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors(case):
    options, message = WRONG[case]
    with pytest.raises(GraftError, match=message):
        fit(Quadratic(), options.pop("data", DATA), epochs=1, progress=False, **options)


def test_a_schedule_goes_with_its_optimizer():
    objective = Quadratic()
    schedule = torch.optim.lr_scheduler.StepLR(sgd(objective), 1)
    for options, message in (({}, "give both"), ({"optimizer": sgd(objective)}, "over another optimizer")):
        with pytest.raises(GraftError, match=message):
            fit(objective, DATA, epochs=1, schedule=schedule, progress=False, **options)

"""What `fit` refuses, by name, and what it leaves as it was."""

import shutil

import numpy as np
import pytest
import torch
from tests.reference.training_run import Noisy, X, train
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, StepLR
from torch.utils.data import DataLoader, Dataset

from graft.errors import GraftError
from graft.training.checkpoint import STATE, WEIGHTS, found, read_state
from graft.training.fit import fit
from graft.training.load import load
from graft.training.settings import groups, made_with
from graft.training.state_file import encoded
from graft.training.stopping import EarlyStopping

DATA = {"x": X}


class Quadratic(nn.Module):
    """Half the mean squared distance of the rows from a point, and a parameter that takes no part in it."""

    def __init__(self):
        super().__init__()
        self.at, self.idle = nn.Parameter(torch.full((3,), 5.0)), nn.Parameter(torch.zeros(2))

    def forward(self, batch):
        return 0.5 * ((batch["x"] - self.at) ** 2).sum(-1).mean() + 0.0 * self.idle.sum()


class Other(Noisy):
    """Of another name."""


class Gives(Quadratic):
    """Its loss is made from the right one."""

    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self, batch):
        return self.made(super().forward(batch))


def with_terms(loss):
    loss = loss * torch.nan
    loss.terms = {"good": torch.tensor(1.0), "bad": torch.tensor(torch.nan)}
    return loss


def run(objective=None, data=DATA, epochs=1, **options):
    return fit(Quadratic() if objective is None else objective, data, epochs=epochs, seed=0, progress=False, **options)


def test_a_parameter_that_is_not_finite_is_not_written(tmp_path):
    """Adam without eps divides nought by nought for a parameter that has never had a gradient."""
    objective = Quadratic()
    objective.idle.requires_grad_(False)
    run(objective, batch_size=24, folder=tmp_path, every=1, optimizer=Adam(objective.parameters(), eps=0.0))
    before = found(tmp_path / "checkpoints")[0]
    objective.idle.requires_grad_(True)
    with pytest.raises(GraftError, match=rf"parameter idle is not finite after step 2.* last checkpoint is {before}"):
        # it goes on with the same settings, and its next step divides nought by nought
        run(objective, epochs=2, batch_size=24, folder=tmp_path, every=1, resume=True,
            optimizer=Adam(objective.parameters(), eps=0.0))  # fmt: skip
    assert found(tmp_path / "checkpoints") == [before]
    load(objective, tmp_path)
    assert all(bool(p.isfinite().all()) for p in objective.parameters())


def test_infinite_weights_are_no_result():
    objective = Quadratic()
    with pytest.raises(GraftError, match=r"parameters? at.* not finite after step 1"):
        run(objective, batch_size=24, optimizer=SGD(objective.parameters(), lr=torch.inf))


def test_an_entry_that_forbids_something_stays():
    objective = Quadratic()
    objective.idle.data[0] = -torch.inf
    objective.forward = lambda batch: (batch["x"] - objective.at).square().mean() + objective.idle[1] ** 2
    assert len(run(objective, epochs=2).history) == 2 and objective.idle[0] == -torch.inf


class Uneven(Dataset):
    """Batches whose values differ in rows."""

    def __len__(self):
        return 1

    def __getitem__(self, rows):
        return {"prior": torch.ones(7), "x": X, "sizes": {"t": 3}, "rate": torch.tensor(1.0)}


ABOUT_OTHERS = Quadratic()
WRONG = {
    "epochs: text": ({"epochs": "3"}, "epochs must be a whole number, not '3'"),
    "epochs: half": ({"epochs": 2.5}, "epochs must be a whole number, not 2.5"),
    "batch_size": ({"batch_size": 2.5}, "batch_size must be a whole number, not 2.5"),
    "every": ({"every": 1.5}, "every must be a whole number, not 1.5"),
    "seed: half": ({"seed": 1.5}, "seed must be a whole number"),
    "seed: text": ({"seed": "a"}, "seed must be a whole number"),
    "seed: huge": ({"seed": 2**70}, "seed must be from"),
    "lr: below 0": ({"lr": -1}, "lr must be a number, 0 or more, not -1"),
    "lr: NaN": ({"lr": float("nan")}, "lr must be a number"),
    "lr: infinite": ({"lr": float("inf")}, "lr must be a number"),
    "lr: twice": ({"lr": 0.1, "optimizer": "own"}, "lr and an optimizer are given"),
    "clip": ({"clip": "1"}, "clip must be positive"),
    "accelerator": ({"accelerator": "abacus"}, "accelerator 'abacus' cannot be used"),
    "folder": ({"folder": 3}, "folder must be a path"),
    "a closure": ({"optimizer": torch.optim.LBFGS}, "LBFGS computes the loss anew"),
    "another module": (
        {"optimizer": SGD(ABOUT_OTHERS.parameters(), lr=1.0)},
        "parameter 0 of its group 0.*not the obj",
    ),
    "no optimizer": ({"optimizer": "none"}, "must be a torch.optim.Optimizer"),
    "no Module": ({"objective": lambda batch: 0.0}, "objective must be a torch.nn.Module"),
    "loss: no gradient": ({"objective": Gives(torch.Tensor.detach)}, "the loss has no gradient"),
    "loss: complex": ({"objective": Gives(lambda loss: loss + 0j)}, "a real number, not complex64"),
    "loss: a term": ({"objective": Gives(with_terms)}, "the loss is nan: bad is nan; the parameters before"),
    "loss: a value": ({"data": {"x": X * torch.nan}}, "the loss is nan: x in the batch holds NaN"),
    "data: an array": ({"data": {"x": np.zeros((4, 3))}}, "x in the data is a ndarray"),
    "data: uneven": ({"data": DataLoader(Uneven(), sampler=[[0]], batch_size=None)}, "differ.*prior 7, x 24"),
    "valid: a list": ({"valid": [1]}, "valid must be a dict"),
    "valid: NaN": ({"valid": {"x": X * torch.nan}}, r"validation data \(valid\) is not finite"),
    "watch: no dict": ({"watch": lambda epoch: 3}, "watch must give a dict"),
    "watch: no function": ({"watch": 3}, "watch must be a function"),
    "stopping": ({"stopping": 3}, "stopping must be of the kind EarlyStopping, not 3"),
    "stopping: a figure": ({"stopping": EarlyStopping("acc")}, "further ones need watch="),
    "schedule": ({"schedule": "cos"}, "schedule must be of the kind LRScheduler"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case):
    options, message = WRONG[case]
    options = {"objective": Quadratic(), "data": DATA, "epochs": 1, "progress": False, **options}
    if options.get("optimizer") == "own":
        options["optimizer"] = SGD(options["objective"].parameters(), lr=0.1)
    if isinstance(options.get("optimizer"), type):
        options["optimizer"] = options["optimizer"](options["objective"].parameters())
    with pytest.raises(GraftError, match=message):
        fit(**options)


def test_nothing_to_learn_in_the_optimizer():
    objective = Quadratic()
    objective.idle.requires_grad_(False)
    with pytest.raises(GraftError, match="no parameter to learn"):
        run(objective, optimizer=SGD([objective.idle], lr=1.0))


def test_a_figure_that_is_not_there_costs_no_epoch(tmp_path):
    with pytest.raises(GraftError, match="early stopping on 'acc', but the figures are"):
        run(folder=tmp_path, stopping=EarlyStopping("acc"), watch=lambda epoch: {"ac": 1.0})
    assert [path.name[:5] for path in found(tmp_path / "checkpoints")] == ["00001"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    train(folder, epochs=2, watch=None)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def again(folder, objective=Noisy, optimizer=AdamW, steps=40, rates=None, **options):
    """As `train`, with parts that can be others."""
    learner = objective()
    rule = optimizer(learner.parameters(), **{"lr": 0.03, **(rates or {})})
    settings = {
        "data": {"x": X}, "epochs": 3, "batch_size": 5, "optimizer": rule, "schedule": CosineAnnealingLR(rule, steps),
        "schedule_each": "step", "clip": 1.0, "valid": {"x": X[:6]}, "stopping": EarlyStopping(patience=3), "seed": 3,
        "every": 2,
    }  # fmt: skip
    fit(learner, folder=folder, resume=True, progress=False, **settings | options)


DIFFERING = {
    "rows": ({"data": {"x": X[:20]}}, "data was .*24.* and is now .*20"),
    "a loader": ({"data": DataLoader([{"x": x} for x in X], batch_size=5)}, "data was .*'rows': 24"),
    "another loss": ({"objective": Other}, "objective was 'Noisy' and is now 'Other'"),
    "betas": ({"rates": {"betas": (0.5, 0.9)}}, "optimizer_settings was"),
    "weight decay": ({"rates": {"weight_decay": 0.5}}, "optimizer_settings was"),
    "optimizer": ({"optimizer": Adam}, "optimizer was 'AdamW' and is now 'Adam'"),
    "the schedule's length": ({"steps": 50}, "schedule_settings was .*40.* and is now .*50"),
    "no valid": ({"valid": None, "stopping": EarlyStopping("loss", patience=3)}, "valid was .* and is now None"),
    "no seed": ({"seed": None}, "seed was 3 and is now None"),
}


@pytest.mark.parametrize("case", DIFFERING)
def test_a_run_does_not_go_on_otherwise(finished, case):
    options, message = DIFFERING[case]
    with pytest.raises(GraftError, match=message):
        again(finished, **options)


def test_a_run_goes_on_with_another_rate_and_more_epochs(copy):
    again(copy, rates={"lr": 0.5})
    assert found(copy / "checkpoints")[0].name.startswith("00003")


def test_settings_that_move_are_not_compared():
    optimizer = AdamW([torch.zeros(1, requires_grad=True)])
    schedule = OneCycleLR(optimizer, 0.1, total_steps=9)
    before = groups(optimizer, cycled=True), made_with(schedule)
    optimizer.step()
    schedule.step()
    assert before == (groups(optimizer, cycled=True), made_with(schedule))
    assert made_with(StepLR(optimizer, 3)) != made_with(StepLR(optimizer, 4))


def test_damaged_weights_are_no_good_checkpoint(copy):
    newest = found(copy / "checkpoints")[0]
    damaged = shutil.copytree(newest, copy / "checkpoints" / "00009-000000099")
    (damaged / WEIGHTS).write_bytes(b"")
    with pytest.warns(UserWarning, match=f"going on from {newest.name}"):
        again(copy)


TAMPERED = {
    "random states": {"now": []},
    "position": {"position": 10**9},
    "log": {"log": [1]},
    "log: text": {"log": [{"epoch": 1, "step": 5, "loss": "x"}] * 2},
    "epoch": {"epoch": -3},
    "rows": {"rows": -1},
    "total": {"total": torch.tensor([torch.nan])},
    "best": {"best": {}},
    "optimizer": {"optimizer": {"state": {}, "param_groups": []}},
    "random words": {"now": [{"global": {"torch": 3}, "data": []}]},
    "schedule": {"schedule": {"_last_lr": 1}, "now": [{"global": {}, "data": []}]},
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_tampered_state_changes_nothing(copy, case):
    for path in found(copy / "checkpoints"):
        (path / STATE).write_bytes(encoded(read_state(path) | TAMPERED[case]))
    objective = Noisy()
    rule = AdamW(objective.parameters(), lr=0.03)
    schedule = CosineAnnealingLR(rule, 40)
    before = [p.clone() for p in objective.state_dict().values()]
    with pytest.raises(GraftError, match="does not hold the state of a run"):
        again(copy, objective=lambda: objective, optimizer=lambda *_, **__: rule, schedule=schedule)
    assert all(torch.equal(a, b) for a, b in zip(before, objective.state_dict().values(), strict=True))
    assert not rule.state and rule.param_groups[0]["lr"] == 0.03

"""`fit`: it learns, repeats itself to the bit, takes data in every form, and stops with a name on bad input."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from graft.errors import GraftError
from graft.factors import Categorical, Gaussian
from graft.inference.evidence import Partial
from graft.model import Model
from graft.objectives.likelihood import Likelihood
from graft.training.fit import fit

DATA = {"x": 3.0 + torch.randn(96, 1, generator=torch.Generator().manual_seed(0))}


def objective():
    torch.manual_seed(0)
    return Likelihood(Model({"x": Gaussian(dim=1, learn=True)}))


class Dicts(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return {"x": self.rows[i]}


FORMS = {
    "a dict": DATA,
    "a Dataset": Dicts(DATA["x"]),
    "a DataLoader": DataLoader(Dicts(DATA["x"]), batch_size=16),
}


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_it_learns_from_data_in_every_form(form):
    learner = objective()
    before = learner(DATA).item()
    run = fit(learner, FORMS[form], epochs=20, lr=0.1, seed=0, progress=False)
    assert len(run.history) == 20
    assert learner(DATA).item() < before - 1


def test_the_same_seed_gives_the_same_parameters_and_leaves_the_global_state():
    ends = []
    for _ in range(2):
        learner = objective()
        state = torch.random.get_rng_state()
        fit(learner, DATA, epochs=3, seed=7, progress=False)
        assert torch.equal(state, torch.random.get_rng_state())
        ends.append([p.clone() for p in learner.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_watched_figures_stand_in_the_history():
    run = fit(objective(), DATA, epochs=2, seed=0, progress=False, watch=lambda epoch: {"twice": 2.0 * epoch})
    assert [row["twice"] for row in run.history] == [2.0, 4.0]


def test_evidence_is_cut_into_batches_like_tensors():
    model = Model({"a": Categorical(3)})
    data = {"a": Partial(torch.eye(3).bool().repeat(10, 1))}
    assert len(fit(Likelihood(model), data, epochs=1, batch_size=7, progress=False).history) == 1


def test_the_same_batch_object_can_be_fed_again():
    learner = objective()
    for _ in range(3):
        learner(DATA).backward()


ERRORS = {
    "empty data": ({"x": torch.zeros(0, 1)}, {}, "x has no rows"),
    "no data": ({}, {}, "the data are empty"),
    "uneven rows": ({"x": torch.zeros(3, 1), "y": torch.zeros(2)}, {}, "x 3, y 2"),
    "a strange form": ([1, 2], {}, "not list"),
    "an empty Dataset": (Dicts(torch.zeros(0, 1)), {}, "the data set is empty"),
    "NaN": ({"x": torch.full((4, 1), float("nan"))}, {}, "x at .* is NaN"),
    "batch size": (DATA, {"batch_size": 0}, "batch_size"),
    "a tensor data set": (TensorDataset(DATA["x"]), {}, "dict"),
}


@pytest.mark.parametrize("case", ERRORS, ids=str)
def test_errors(case):
    data, options, message = ERRORS[case]
    with pytest.raises(GraftError, match=message):
        fit(objective(), data, epochs=1, progress=False, **options)


def test_nothing_to_learn():
    with pytest.raises(GraftError, match="no parameters"):
        fit(Likelihood(Model({"x": Gaussian(dim=1)})), DATA, epochs=1, progress=False)

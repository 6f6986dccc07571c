"""A fit that stops in the middle of an epoch goes on as if it had not, whatever kind of data it has."""

import os

import pytest
import torch
from tests.reference.training_run import X, left, train
from torch.utils.data import DataLoader, Dataset


class Rows(Dataset):
    """Rows with noise from the global random state: the hard case."""

    def __len__(self):
        return len(X)

    def __getitem__(self, row):
        return {"x": X[row] + 0.01 * torch.randn(3)}


class Groups(Dataset):
    """Looked up by the indices of a whole batch."""

    def __getitem__(self, rows):
        return {"x": X[rows]}

    def __len__(self):
        return len(X)


class Lazy:
    """A sampler that draws each batch only when it is asked for."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(5)

    def __iter__(self):
        for _ in range(5):
            yield torch.randint(len(X), (4,), generator=self.generator).tolist()

    def __len__(self):
        return 5


DATA = {
    "dict": lambda: {"x": X},
    "dataset": Rows,
    "loader": lambda: DataLoader(Rows(), batch_size=5, shuffle=True, generator=torch.Generator().manual_seed(4)),
    "loader without a generator": lambda: DataLoader(Rows(), batch_size=5, shuffle=True),
    "loader of whole batches": lambda: DataLoader(Groups(), sampler=Lazy(), batch_size=None),
    "loader in order": lambda: DataLoader(Groups(), batch_size=None, sampler=[[0, 1, 2], [3, 4], [5, 6]]),
}


class Interrupted(Exception):
    """Raised in place of a kill."""


def figures(epoch):
    """Drawn from torch alone: the checks of types in these tests draw from Python's generator too."""
    return {"torch": torch.rand(())}


def cut(monkeypatch, step):
    """Let the fit stop just before a step."""
    from graft.training import step as module

    made = module.Learner.step
    count = iter(range(10**6))

    def counted(self, share):
        if next(count) == step:
            raise Interrupted
        return made(self, share)

    monkeypatch.setattr(module.Learner, "step", counted)


@pytest.mark.parametrize("kind", DATA)
def test_a_fit_goes_on_in_the_middle_of_an_epoch(kind, tmp_path, monkeypatch):
    # no machine stops here: a busy disk need not be waited for
    monkeypatch.setattr(os, "fsync", lambda number: None)
    options = {"every": 1, "watch": figures, "epochs": 4}
    train(tmp_path / "whole", data=DATA[kind](), **options)
    for step in (1, 3, 7, 11):
        folder = tmp_path / str(step)
        with monkeypatch.context() as patch:
            cut(patch, step)
            with pytest.raises(Interrupted):
                train(folder, data=DATA[kind](), **options)
        train(folder, data=DATA[kind](), **options)
        assert left(folder)[0] == left(tmp_path / "whole")[0], step


def test_a_fit_that_is_over_is_left_as_it_is(tmp_path):
    train(tmp_path, every=1, watch=figures)
    before = left(tmp_path)
    train(tmp_path, every=1, watch=figures)
    assert left(tmp_path)[0] == before[0]

"""Fits in two processes, for comparison with the same in one; a program of its own, so that it forks without threads.

python -m tests.reference.training_processes FOLDER
"""

import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import nn
from torch.utils.data import DataLoader, Dataset

from graft.errors import GraftError
from graft.factors import Categorical, Gaussian
from graft.model import Model
from graft.objectives.likelihood import Likelihood
from graft.training.fit import fit
from graft.training.stopping import EarlyStopping
from graft.training.weights import save_weights

torch.set_num_threads(1)


def data():
    """Eleven ragged chains: batches of five leave a last one with a single row."""
    made = torch.Generator().manual_seed(0)
    return {
        "y": torch.randn(11, 6, 2, generator=made, dtype=torch.float64),
        "lengths": torch.tensor([6, 1, 3, 2, 6, 4, 5, 2, 6, 3, 1]),
    }


class Rows(Dataset):
    def __len__(self):
        return 11

    def __getitem__(self, row):
        return {name: value[row] for name, value in data().items()}


def objective():
    torch.manual_seed(0)
    hidden = {"s[0]": Categorical(3), "s[t] | s[t-1]": Categorical(3, given=3)}
    return Likelihood(Model({**hidden, "y[t] | s[t]": Gaussian(dim=2, given=3)})).double()


def own_share(rank, world):
    """Each process's own loader; the first has more batches than the second."""
    rows = [list(range(4)), list(range(4, 7))] if world == 2 and rank == 0 else [list(range(7, 11))]
    return DataLoader(Rows(), batch_sampler=rows if world == 2 else [[0, 1, 2, 3, 7, 8, 9, 10], [4, 5, 6]])


#: Data by name: made from the number of the process and how many there are.
FORMS = {
    "dict": lambda rank, world: {**data(), "sizes": {"t": 6}},
    "dataset": lambda rank, world: Rows(),
    "loader": own_share,
}


def train(fabric, name, folder):
    """A few steps of gradient descent, whose rate makes parameters differ as gradients do."""
    learner = objective()
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.1)
    run = fit(
        learner,
        FORMS[name](fabric.global_rank, fabric.world_size),
        epochs=2,
        batch_size=5,
        optimizer=optimizer,
        clip=5.0,
        seed=1,
        fabric=fabric,
        progress=False,
        valid=data(),
        stopping=EarlyStopping("loss", patience=9),
        folder=folder / f"{name} {fabric.world_size}",
        every=2,
    )
    if fabric.global_rank == 0:
        save_weights(learner, folder / f"{name} {fabric.world_size}.safetensors")
    return run


class Fails(nn.Module):
    """A loss that the second process alone cannot compute: it is NaN, or it raises."""

    def __init__(self, rank, way):
        super().__init__()
        self.at, self.bad = nn.Parameter(torch.zeros(())), way if rank == 1 else ""

    def forward(self, batch):
        if self.bad == "raises":
            raise GraftError("the loss cannot be had")
        return self.at * (torch.nan if self.bad == "nan" else 1.0) + 0.0 * batch["y"].sum()


def failing(fabric, folder):
    """What each process says when the second fails."""
    for way in ("nan", "raises"):
        try:
            fit(Fails(fabric.global_rank, way), data(), epochs=1, fabric=fabric, seed=0, progress=False)
            told = "nothing"
        except GraftError as error:
            told = str(error)
        (folder / f"{way} {fabric.global_rank}.txt").write_text(told)


def everything(fabric, folder):
    for name in FORMS:
        train(fabric, name, folder)
    if fabric.world_size > 1:
        failing(fabric, folder)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    strategy = DDPStrategy(
        start_method="fork", process_group_backend="gloo", cluster_environment=LightningEnvironment()
    )
    Fabric(accelerator="cpu", devices=2, strategy=strategy).launch(everything, place)
    everything(Fabric(accelerator="cpu", devices=1), place)

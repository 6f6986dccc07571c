"""A small fit in which everything is random that can be, and what it leaves behind."""

import random

import numpy as np
import torch
from torch import nn

from graft.training.checkpoint import found, read_state
from graft.training.fit import fit
from graft.training.stopping import EarlyStopping
from graft.training.weights import save_weights

X = torch.randn(24, 3, generator=torch.Generator().manual_seed(1))


class Noisy(nn.Module):
    """A regression with dropout, a Gaussian draw and a running mean."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.3), nn.Linear(4, 1))

    def forward(self, batch):
        x = batch["x"]
        return ((self.net(x + 0.1 * torch.randn_like(x)) - x.sum(-1, keepdim=True)) ** 2).mean()


def drawn(epoch):
    return {"epochs": epoch, "python": random.random(), "numpy": np.random.rand(), "torch": torch.rand(())}


def train(folder, resume=True, **options):
    """The fit; the same whatever was drawn before it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        objective = Noisy()
    optimizer = torch.optim.AdamW(objective.parameters(), lr=0.03)
    settings = {
        "epochs": 6,
        "batch_size": 5,
        "optimizer": optimizer,
        "schedule": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40),
        "schedule_each": "step",
        "clip": 1.0,
        "valid": {"x": X[:6]},
        "stopping": EarlyStopping(patience=3),
        "seed": 3,
        "watch": drawn,
        "every": 2,
    }
    data = settings.pop("data", {"x": X})
    run = fit(objective, options.pop("data", data), folder=folder, resume=resume, progress=False, **settings | options)
    save_weights(objective, folder / "end.safetensors")
    return run


def left(folder):
    """Everything that must be the same after any interruption: files as bytes, the state value by value."""
    newest = found(folder / "checkpoints")
    files = [folder / "log.csv", folder / "end.safetensors", *(path / "weights.safetensors" for path in newest)]
    state = read_state(newest[0])
    del state["seconds"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}, flat(state)


def flat(value, name=""):
    """Leaves of a nested value by name; tensors as bytes."""
    if isinstance(value, dict):
        return {k: v for key, one in value.items() for k, v in flat(one, f"{name}.{key}").items()}
    if isinstance(value, list | tuple):
        return {k: v for i, one in enumerate(value) for k, v in flat(one, f"{name}[{i}]").items()}
    return {name: (value.dtype, value.shape, value.numpy().tobytes()) if torch.is_tensor(value) else value}

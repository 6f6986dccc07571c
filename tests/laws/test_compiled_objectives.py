"""`torch.compile` of an objective: the same loss and gradients from the same seed.

In a process of its own: the shape checks that these tests put around functions would break the graph at each of them.
"""

import subprocess
import sys

import pytest

SCRIPT = """
import sys, torch
from torch import nn
from graft.factors import Bernoulli, Categorical, Gaussian
from graft.model import Model
from graft.objectives import ELBO, ImportanceWeighted

torch.manual_seed(0)
if sys.argv[1] == "plain":
    model = Model({"z": Gaussian(dim=2), "x | z": Bernoulli(nn.Linear(2, 5), dim=5)})
    guide = Model({"z | x": Gaussian(nn.Linear(5, 4), dim=2)})
else:
    model = Model({"y": Categorical(3), "z": Gaussian(dim=2), "x | y, z": Bernoulli(nn.Linear(5, 5), dim=5)})
    guide = Model({"y | x": Categorical(nn.Linear(5, 3), 3), "z | x, y": Gaussian(nn.Linear(8, 4), dim=2)})
x = torch.bernoulli(torch.rand(4, 5))
several = sys.argv[1] == "importance"
make = lambda: ImportanceWeighted(model, guide, samples=3) if several else ELBO(model, guide)
found = []
for compiled in (False, True):
    objective = make()
    call = torch.compile(objective, backend=sys.argv[2]) if compiled else objective
    for _ in range(2):
        torch.manual_seed(3)
        objective.zero_grad()
        loss = call({"x": x})
        loss.backward()
    found.append([loss.detach(), *(p.grad.clone() for p in objective.parameters())])
for a, b in zip(*found, strict=True):
    torch.testing.assert_close(a, b)
"""

CASES = [
    ("plain", "eager"),
    pytest.param("bound", "aot_eager", marks=pytest.mark.slow),
    pytest.param("importance", "aot_eager", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("objective", "backend"), CASES)
def test_compiled_objectives_give_the_same(objective, backend):
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, objective, backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]

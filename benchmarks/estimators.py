"""Gradient estimators of discrete latents: variance of a row's gradient, and the time of a step, by size.

Not a contest of times alone, so it writes its own table: `python benchmarks/estimators.py --write docs/estimators.md`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import nn

from graft.factors import Bernoulli, Categorical
from graft.model import Model
from graft.objectives import ELBO
from graft.objectives.estimators import (
    REBAR,
    Enumerate,
    GumbelSoftmax,
    InputDependent,
    LeaveOneOut,
    RunningAverage,
    ScoreFunction,
    StraightThrough,
)

PIXELS, ROWS, WARM, STEPS = 50, 64, 200, 200
UNITS, STATES = (5, 20, 100), (4, 16, 64)

#: by name: what makes it, and how many draws a row it has
ESTIMATORS = {
    "Enumerate": (lambda: Enumerate(), 1),
    "ScoreFunction()": (lambda: ScoreFunction(), 1),
    "ScoreFunction(RunningAverage())": (lambda: ScoreFunction(RunningAverage()), 1),
    "ScoreFunction(InputDependent(net))": (lambda: ScoreFunction(InputDependent(nn.Linear(PIXELS, 1), "x")), 1),
    "ScoreFunction(LeaveOneOut()), 2 draws": (lambda: ScoreFunction(LeaveOneOut()), 2),
    "ScoreFunction(LeaveOneOut()), 8 draws": (lambda: ScoreFunction(LeaveOneOut()), 8),
    "REBAR": (lambda: REBAR(), 1),
    "StraightThrough (biased)": (lambda: StraightThrough(), 1),
    "GumbelSoftmax(0.5) (biased)": (lambda: GumbelSoftmax(0.5), 1),
}


def units(count):
    model = Model({"h": Bernoulli(dim=count), "x | h": Bernoulli(nn.Linear(count, PIXELS), dim=PIXELS)})
    return model, Model({"h | x": Bernoulli(nn.Linear(PIXELS, count), dim=count)})


def states(count):
    model = Model({"h": Categorical(count), "x | h": Bernoulli(nn.Linear(count, PIXELS), dim=PIXELS)})
    return model, Model({"h | x": Categorical(nn.Linear(PIXELS, count), count)})


def measured(pair, make, samples):
    """The variance of a row's gradient by the guide's parameters, summed over them, and seconds a step."""
    torch.manual_seed(0)
    model, guide = pair()
    with torch.no_grad():
        for parameter in [*model.parameters(), *guide.parameters()]:
            parameter.normal_(0, 0.3)
    objective = ELBO(model, guide, samples=samples, estimators={"h": make()})
    x = torch.bernoulli(torch.rand(1, PIXELS)).expand(ROWS, -1)
    own = [p for p in objective.chosen.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(own, lr=0.01) if own else None
    for _ in range(WARM):  # baselines and temperatures learn; model and guide stay as they are
        objective.zero_grad()
        objective({"x": x}).backward()
        if optimizer is not None:
            optimizer.step()
    parameters, total, square, start = list(guide.parameters()), 0.0, 0.0, time.perf_counter()
    for _ in range(STEPS):
        gradients = torch.autograd.grad(objective({"x": x}), parameters)
        flat = torch.cat([g.flatten() for g in gradients]).double()
        total, square = total + flat, square + flat.square()
    seconds = (time.perf_counter() - start) / STEPS
    variance = (square / STEPS - (total / STEPS).square()).sum() * STEPS / (STEPS - 1)
    return float(variance) * ROWS, seconds


def table(title, sizes, make_pair, most):
    heads = " | ".join(f"{n}: variance | ms | variance x ms" for n in sizes)
    lines = [f"## {title}", "", f"| estimator | {heads} |"]
    lines.append("|---|" + "---|---|---|" * len(sizes))
    for name, (make, samples) in ESTIMATORS.items():
        cells = []
        for size in sizes:
            if name == "Enumerate" and most(size) > 1024:
                cells.append("- | - | -")
                continue
            variance, seconds = measured(lambda size=size: make_pair(size), make, samples)
            shown = 0.0 if variance < 1e-6 else variance
            cells.append(f"{shown:.3g} | {seconds * 1e3:.2f} | {shown * seconds * 1e3:.3g}")
            print(title, name, size, cells[-1], flush=True)
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", help="the page whose tables are replaced, below its line of dashes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [*table("Units", UNITS, units, lambda n: 2**n), ""]
    lines += table("States of one variable", STATES, states, lambda n: n)
    text = "\n".join(lines) + "\n"
    print(text)
    if options.write:
        page = Path(options.write)
        head = page.read_text().split("\n---\n")[0] if page.exists() else "# Estimators\n"
        page.write_text(f"{head}\n---\n\n{text}")


if __name__ == "__main__":
    main()

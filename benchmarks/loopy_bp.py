"""Loopy belief propagation on a grid of binary elements, 100 damped steps of sum-product, side by side with PGMax."""

from __future__ import annotations

from foreign import foreign
from harness import Case, Contestant, Section, Step, main

STEPS = 100
#: Of neighbours that agree; minus it of those that do not. Weak enough for messages to converge.
COUPLING = 0.3


def fields(side):
    """Log-weights of single elements: (side, side, 2)."""
    import numpy as np

    return np.random.default_rng(0).normal(size=(side, side, 2)).astype(np.float32)


def graft(side):
    import torch

    from graft import LoopyBP, Model
    from graft.factors import Scores, Table

    pair = COUPLING * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    model = Model({
        "y[i-1,j], y[i,j]": Table(values=pair),
        "y[i,j-1], y[i,j]": Table(values=pair),
        "y[i,j] | x": Scores(torch.nn.Identity()),
    })  # fmt: skip
    x = torch.from_numpy(fields(side)).unsqueeze(0)
    engine = LoopyBP(damping=0.5, iterations=STEPS, tolerance=0.0)

    def marginals():
        with torch.no_grad():
            posterior = model.given(x=x, using=engine)
            found = posterior.marginals["y"].probs[..., 1].double().mean()
        assert posterior.steps == STEPS
        return float(found)

    return Step(marginals, units=STEPS)


def sections(options):
    cases = [
        Case("50 x 50", (50,), quick=True),
        Case("200 x 200", (200,), quick=True, seconds=6.0),
        Case("500 x 500", (500,), seconds=20.0),
    ]
    contestants = [
        Contestant("graft", graft),
        Contestant("PGMax", foreign(options.jax, "jax_loopy_bp.py", units=STEPS)),
    ]
    yield Section(
        "loopy-bp",
        "Loopy belief propagation on an Ising grid",
        cases,
        contestants,
        about="One damped step of sum-product on both messages of every edge, float32: a hundredth of a call that "
        "gives all marginals after 100 steps, for graft with the model set up and the tables made anew in each call.",
        agree=1e-5,
        unit="step",
    )


if __name__ == "__main__":
    main(sections)

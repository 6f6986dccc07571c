"""EM for hidden Markov models with diagonal Gaussians: one iteration, through the faces that users call.

All begin at the same parameters; priors, floors and end states are off. The number that has to agree is the
log-likelihood before the last of the iterations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from harness import Case, Contestant, Section, Step, main

ITERATIONS = 8


class Start(NamedTuple):
    """Data (sequences, time, dimensions) and where everybody begins."""

    data: np.ndarray
    start: np.ndarray
    moves: np.ndarray
    means: np.ndarray
    variances: np.ndarray


def begun(rows: int, steps: int, states: int, width: int) -> Start:
    """Draws of such a model, and parameters some way off."""
    rng = np.random.default_rng(0)
    moves, means = rng.dirichlet(np.ones(states), size=states), 1.5 * rng.normal(size=(states, width))
    hidden = np.empty((rows, steps), int)
    hidden[:, 0] = rng.integers(0, states, rows)
    for t in range(1, steps):
        hidden[:, t] = (moves[hidden[:, t - 1]].cumsum(1) > rng.random((rows, 1))).argmax(1)
    data = means[hidden] + rng.normal(size=(rows, steps, width))
    off = means + 0.5 * rng.normal(size=means.shape)
    flat = 0.5 * moves + 0.5 / states
    return Start(data, np.full(states, 1.0 / states), flat, off, np.full(means.shape, 2.0))


def graft(*sizes: int, dtype: str = "float64") -> Step:
    from graft.sklearn import GaussianHMM

    at = begun(*sizes)

    def run() -> float:
        model = GaussianHMM(
            sizes[2], n_iter=ITERATIONS, tol=-1.0, init_params="", covars_prior=0.0, min_covar=0.0, dtype=dtype
        )
        model.startprob_, model.transmat_, model.means_, model.covars_ = at[1:]
        return model.fit(at.data).monitor_.history[-1]

    return Step(run, ITERATIONS)


def graft_single(*sizes: int) -> Step:
    return graft(*sizes, dtype="float32")


def hmmlearn(*sizes: int) -> Step:
    import logging

    from hmmlearn.hmm import GaussianHMM

    logging.getLogger("hmmlearn").setLevel(logging.ERROR)
    at = begun(*sizes)
    rows, lengths = at.data.reshape(-1, sizes[3]), [sizes[1]] * sizes[0]

    def run() -> float:
        model = GaussianHMM(sizes[2], n_iter=ITERATIONS, tol=-1e30, init_params="", covars_prior=0.0)
        model.startprob_, model.transmat_, model.means_, model.covars_ = at[1:]
        return model.fit(rows, lengths).monitor_.history[-1]

    return Step(run, ITERATIONS)


def pomegranate(*sizes: int) -> Step:
    import torch
    from pomegranate.distributions import Normal
    from pomegranate.hmm import DenseHMM

    at = begun(*sizes)
    data, start, moves, means, variances = (torch.from_numpy(x).float() for x in at)

    def run() -> float:
        states = [Normal(m, v, covariance_type="diag") for m, v in zip(means, variances, strict=True)]
        model = DenseHMM(states, edges=moves, starts=start, ends=torch.ones_like(start) / len(start))
        # what it learns of the ends of sequences others do not have
        model.ends.zero_()
        model.ends.frozen = True
        total = 0.0
        for _ in range(ITERATIONS):  # the loop of its `fit`, which knows no frozen ends
            total = float(model.summarize(data).sum())
            model._xw_ends_sum.zero_()
            model.from_summaries()
        return total

    return Step(run, ITERATIONS)


def sections(options):
    sizes = [(64, 200, 8, 8), (256, 100, 32, 16)]
    cases = [Case(str(size), size, quick=size[0] == 64, seconds=12) for size in sizes]
    yield Section(
        "em",
        "EM for hidden Markov models, one iteration, by (sequences, time, states, dimensions)",
        cases,
        [
            Contestant("graft", graft),
            Contestant("graft, float32", graft_single),
            Contestant("hmmlearn", hmmlearn),
            Contestant("pomegranate (float32)", pomegranate),
        ],
        about=f"The time of a fit of {ITERATIONS} iterations, divided by {ITERATIONS}; diagonal Gaussians, float64"
        " where nothing else is said.",
        agree=1e-4,
        unit="iteration",
    )


if __name__ == "__main__":
    main(sections)

"""Linear-Gaussian chains at the ends of the range of double precision."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from graft.structured.gaussian_parameters import Dynamics, Emission
from graft.structured.linear_gaussian_chain import LinearGaussianChain

DOUBLE = torch.float64


@pytest.mark.parametrize(("spread", "noise"), [(1.0, 1e-4), (1e6, 1e-8), (1e10, 1e-8)])
@pytest.mark.parametrize("cells", [1, 3])
def test_vague_starts_keep_their_digits(spread, noise, cells):
    """The default method, against a filter in exact fractions; three cells are condensed by sums of 1e9."""
    steps, eye = 4, torch.eye(2, dtype=DOUBLE)
    move = torch.tensor([[1.0, 1.0], [0.0, 1.0]], dtype=DOUBLE)
    loading = torch.tensor([[1.0, 0.0]] * cells, dtype=DOUBLE)
    x = torch.arange(float(steps), dtype=DOUBLE)[:, None].expand(steps, cells)
    dynamics = Dynamics(torch.zeros(2, dtype=DOUBLE), spread * eye, move, noise * eye)
    chain = LinearGaussianChain(dynamics, Emission(loading, noise * torch.eye(cells, dtype=DOUBLE)), x)
    found = chain.log_partition.item()
    assert found == pytest.approx(_in_fractions(spread, noise, cells, steps), abs=1e-6 if cells > 2 else 1e-9)


def _in_fractions(spread, noise, cells, steps):
    """log p(x) of the walk above, by a filter of one reading at a time in exact rational numbers."""
    q, zero = Fraction(noise), Fraction(0)
    mean, p = [zero, zero], [[Fraction(spread), zero], [zero, Fraction(spread)]]
    total = 0.0
    for t in range(steps):
        if t:
            mean = [mean[0] + mean[1], mean[1]]
            a, b, c = p[0][0], p[0][1], p[1][1]
            p = [[a + 2 * b + c + q, b + c], [b + c, c + q]]
        for _ in range(cells):
            s, error = p[0][0] + q, t - mean[0]
            total -= 0.5 * (float(error * error / s) + math.log(2 * math.pi) + math.log(s))
            gain = [p[0][0] / s, p[1][0] / s]
            mean = [mean[0] + gain[0] * error, mean[1] + gain[1] * error]
            p = [[p[i][j] - gain[i] * p[0][j] for j in range(2)] for i in range(2)]
    return total


@pytest.mark.parametrize("method", ["sequential", "parallel"])
@pytest.mark.parametrize("cells", [1, 3])
def test_evidence_out_of_all_range_is_impossible(cells, method):
    """Its log-density is below the least number, so it is `-inf`, and never NaN, also at later steps."""
    eye = torch.eye(2, dtype=DOUBLE)
    x = torch.zeros(2, 4, cells, dtype=DOUBLE)
    x[0, 1] = 1e170
    dynamics = Dynamics(torch.zeros(2, dtype=DOUBLE), eye, eye, eye)
    emission = Emission(torch.ones(cells, 2, dtype=DOUBLE), torch.eye(cells, dtype=DOUBLE))
    found = LinearGaussianChain(dynamics, emission, x, method=method).log_partition
    assert found[0] == -math.inf and torch.isfinite(found[1])

"""R-hat and effective sample size written out with ranks, as in Vehtari et al. 2021, for one quantity."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, rankdata


def split(draws: np.ndarray) -> np.ndarray:
    half = draws.shape[0] // 2
    return np.concatenate([draws[:half], draws[-half:]], axis=1)


def ranked(draws: np.ndarray) -> np.ndarray:
    ranks = rankdata(draws, method="average").reshape(draws.shape)
    return norm.ppf((ranks - 0.375) / (draws.size + 0.25))


def rhat(draws: np.ndarray) -> float:
    """(draws, chains): rank-normalised split R-hat, bulk."""
    z = ranked(split(draws))
    n = z.shape[0]
    within, between = z.var(0, ddof=1).mean(), n * z.mean(0).var(ddof=1)
    return float(np.sqrt(((n - 1) / n * within + between / n) / within))


def ess(draws: np.ndarray) -> float:
    """(draws, chains): bulk effective sample size, autocorrelations one lag at a time."""
    z = ranked(split(draws))
    n, m = z.shape
    centred = z - z.mean(0)
    cov = np.array([(centred[: n - t] * centred[t:]).sum(0).mean() / n for t in range(n)])
    within = cov[0] * n / (n - 1)
    plus = within * (n - 1) / n + z.mean(0).var(ddof=1)
    rho = 1 - (within - cov) / plus
    rho[0] = 1.0
    total, least = 0.0, np.inf
    for t in range(0, n - 1, 2):
        pair = rho[t] + rho[t + 1]
        if pair <= 0:
            break
        least = min(least, pair)
        total += least
    return float(n * m / max(2 * total - 1, 1 / np.log10(n * m)))

"""EM for hidden Markov models in plain numpy and double precision, one sequence at a time, in log space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def log_sum(x: np.ndarray, axis: int) -> np.ndarray:
    top = x.max(axis, keepdims=True)
    return np.log(np.exp(x - top).sum(axis)) + top.squeeze(axis)


@dataclass
class GaussianStates:
    """One Gaussian per state: means (S, D), covariances (S, D, D), of which `kind` says what may differ."""

    means: np.ndarray
    covariances: np.ndarray
    kind: str

    def log_densities(self, x: np.ndarray) -> np.ndarray:
        """(T, S), of the cells that are no NaN."""
        found = np.zeros((len(x), len(self.means)))
        for t, row in enumerate(x):
            seen = ~np.isnan(row)
            for s, (mean, whole) in enumerate(zip(self.means, self.covariances, strict=True)):
                apart, block = (row - mean)[seen], whole[np.ix_(seen, seen)]
                log_norm = np.linalg.slogdet(2 * np.pi * block)[1] if seen.any() else 0.0
                found[t, s] = -0.5 * (log_norm + apart @ np.linalg.solve(block, apart)) if seen.any() else 0.0
        return found

    def filled(self, row: np.ndarray, s: int) -> tuple[np.ndarray, np.ndarray]:
        """Expected vector and covariance of one element in one state, given its known cells."""
        seen, mean, whole = ~np.isnan(row), self.means[s], self.covariances[s]
        gone = ~seen
        x, left = np.where(seen, row, mean), np.zeros_like(whole)
        if gone.any():
            known, cross = whole[np.ix_(seen, seen)], whole[np.ix_(gone, seen)]
            gain = cross @ np.linalg.inv(known) if seen.any() else np.zeros((gone.sum(), 0))
            x[gone] = mean[gone] + gain @ (row - mean)[seen]
            left[np.ix_(gone, gone)] = whole[np.ix_(gone, gone)] - gain @ cross.T
        return x, left

    def best(self, x: np.ndarray, weights: np.ndarray) -> GaussianStates:
        """The M-step with responsibilities (T, S) of all elements end to end."""
        if self.kind in ("diag", "spherical"):
            return self.best_by_cell(x, weights)
        states = len(self.means)
        means, scatters = np.zeros_like(self.means), np.zeros_like(self.covariances)
        for s in range(states):
            full = [self.filled(row, s) for row in x]
            means[s] = sum(w * one for w, (one, _) in zip(weights[:, s], full, strict=True)) / weights[:, s].sum()
            for w, (one, left) in zip(weights[:, s], full, strict=True):
                scatters[s] += w * (np.outer(one - means[s], one - means[s]) + left)
        mass = weights.sum(0)
        whole = scatters / mass[:, None, None]
        if self.kind == "tied":
            whole = np.stack([scatters.sum(0) / mass.sum()] * states)
        return GaussianStates(means, whole, self.kind)

    def best_by_cell(self, x: np.ndarray, weights: np.ndarray) -> GaussianStates:
        """The same where dimensions are independent: cells that are missing drop out."""
        seen = (~np.isnan(x)).astype(float)
        x = np.where(np.isnan(x), 0.0, x)
        means, variances = np.zeros_like(self.means), np.zeros_like(self.means)
        for s in range(len(means)):
            mass = weights[:, s, None] * seen
            means[s] = (mass * x).sum(0) / mass.sum(0)
            squares = (mass * (x - means[s]) ** 2).sum(0)
            variances[s] = squares / mass.sum(0) if self.kind == "diag" else squares.sum() / mass.sum()
        return GaussianStates(means, np.stack([np.diag(one) for one in variances]), self.kind)


@dataclass
class SymbolStates:
    """One table of symbols per state, (S, K)."""

    table: np.ndarray

    def log_densities(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.stack([np.log(self.table[:, k]) if k >= 0 else np.zeros(len(self.table)) for k in x[:, 0]])

    def best(self, x: np.ndarray, weights: np.ndarray) -> SymbolStates:
        counts = np.zeros_like(self.table)
        for k, row in zip(x[:, 0], weights, strict=True):
            if k >= 0:
                counts[:, k] += row
            else:
                counts += row[:, None] * self.table
        return SymbolStates(counts / counts.sum(1, keepdims=True))


@dataclass
class HMM:
    """A hidden Markov model: start (S,), moves (S, S), and the emissions."""

    start: np.ndarray
    moves: np.ndarray
    states: GaussianStates | SymbolStates

    def smoothed(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Log-likelihood, state probabilities (T, S) and expected moves (S, S) of one sequence."""
        unary = self.states.log_densities(x)
        with np.errstate(divide="ignore"):
            log_start, log_moves = np.log(self.start), np.log(self.moves)
        alpha, beta = np.zeros_like(unary), np.zeros_like(unary)
        alpha[0] = log_start + unary[0]
        for t in range(1, len(x)):
            alpha[t] = unary[t] + log_sum(alpha[t - 1][:, None] + log_moves, 0)
        for t in range(len(x) - 2, -1, -1):
            beta[t] = log_sum(log_moves + unary[t + 1] + beta[t + 1], 1)
        total = float(log_sum(alpha[-1], 0))
        counts = np.zeros_like(self.moves)
        for t in range(1, len(x)):
            counts += np.exp(alpha[t - 1][:, None] + log_moves + unary[t] + beta[t] - total)
        return total, np.exp(alpha + beta - total), counts

    def stepped(self, sequences: list[np.ndarray]) -> tuple[float, HMM]:
        """The log-likelihood of sequences, and the model after one step of EM."""
        found = [self.smoothed(x) for x in sequences if len(x)]
        start, moves = sum(gamma[0] for _, gamma, _ in found), sum(counts for _, _, counts in found)
        every, weights = np.concatenate(sequences), np.concatenate([gamma for _, gamma, _ in found])
        states = self.states.best(every, weights)
        after = HMM(start / start.sum(), moves / moves.sum(1, keepdims=True), states)
        return sum(total for total, _, _ in found), after

"""A linear-Gaussian chain as one dense Gaussian over all states and observations: slow, and plainly right."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi

import torch
from torch import Tensor


@dataclass
class Dense:
    """One row of a batch, in float64; lists hold one entry per existing element.

    Attributes:
        mean, covariance: of the first state.
        steps: (A, b, Q) into each later state.
        emissions: (C, d, R, x, seen) of each element, or None.
        messages: (J, h) of each element, or None.
    """

    mean: Tensor
    covariance: Tensor
    steps: list[tuple[Tensor, Tensor, Tensor]]
    emissions: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor] | None]
    messages: list[tuple[Tensor, Tensor] | None]

    @property
    def length(self) -> int:
        return len(self.emissions)

    def prior(self) -> tuple[Tensor, Tensor]:
        """Mean (T D) and covariance of all states, by composing the steps."""
        d = len(self.mean)
        mean, rows = [self.mean], [[self.covariance]]
        for step, offset, noise in self.steps:
            mean.append(step @ mean[-1] + offset)
            last = rows[-1]
            new = [step @ block for block in last]
            rows.append([*new, step @ last[-1] @ step.T + noise])
        total = torch.zeros(self.length * d, self.length * d, dtype=torch.float64)
        for i, row in enumerate(rows):
            for j, block in enumerate(row):
                total[i * d : (i + 1) * d, j * d : (j + 1) * d] = block
                total[j * d : (j + 1) * d, i * d : (i + 1) * d] = block.T
        return torch.cat(mean), total

    def posterior(self, upto: int | None = None, before: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and covariance of all states given evidence (up to or before an element), and its log-probability."""
        mean, covariance = self.prior()
        d, total = len(self.mean), torch.zeros((), dtype=torch.float64)
        last = self.length if upto is None and before is None else before if upto is None else upto + 1
        loading, value, noise = [], [], []
        for t, found in enumerate(self.emissions[:last]):
            if found is None:
                continue
            c, offset, r, x, seen = found
            wide = torch.zeros(len(c), len(mean), dtype=torch.float64)
            wide[:, t * d : (t + 1) * d] = c
            loading.append(wide[seen])
            value.append((x - offset)[seen])
            noise.append(r[seen][:, seen])
        if loading:
            c, x, r = torch.cat(loading), torch.cat(value), torch.block_diag(*noise)
            spread = c @ covariance @ c.T + r
            if len(x):
                error = x - c @ mean
                total = total - 0.5 * (error @ torch.linalg.solve(spread, error))
                total = total - 0.5 * torch.linalg.slogdet(spread)[1] - 0.5 * len(x) * log(2 * pi)
                gain = torch.linalg.solve(spread, c @ covariance).T
                mean, covariance = mean + gain @ error, covariance - gain @ c @ covariance
        precision, shift = torch.zeros_like(covariance), torch.zeros_like(mean)
        for t, message in enumerate(self.messages[:last]):
            if message is not None:
                place = slice(t * d, (t + 1) * d)
                precision[place, place], shift[place] = message
        wide = torch.eye(len(mean), dtype=torch.float64) + covariance @ precision
        pull = shift - precision @ mean
        total = total + shift @ mean - 0.5 * mean @ precision @ mean
        total = total + 0.5 * pull @ torch.linalg.solve(wide, covariance @ pull) - 0.5 * torch.linalg.slogdet(wide)[1]
        after = torch.linalg.solve(wide, covariance)
        return mean + after @ pull, (after + after.T) / 2, total

    def states(self, kind: str) -> tuple[Tensor, Tensor]:
        """Means (T, D) and covariances (T, D, D) of single states: smoothed, filtered or predicted."""
        d, means, covariances = len(self.mean), [], []
        for t in range(self.length):
            told = {"smoothed": {}, "filtered": {"upto": t}, "predicted": {"before": t}}[kind]
            mean, covariance, _ = self.posterior(**told)
            means.append(mean[t * d : (t + 1) * d])
            covariances.append(covariance[t * d : (t + 1) * d, t * d : (t + 1) * d])
        return torch.stack(means), torch.stack(covariances)

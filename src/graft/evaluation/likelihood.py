"""The log-likelihood of data under a latent-variable model: exact where it can be, else by importance sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from graft.errors import GraftError
from graft.evaluation.drawing import Drawing, log_ratios
from graft.evaluation.exactly import exactly
from graft.evaluation.figure import Figure
from graft.evaluation.kinds import Kind
from graft.evaluation.moments import LogWeights
from graft.evaluation.rows import Rows, at_once, at_rest, portions
from graft.inference.draws import seeded
from graft.inference.how_many import positive


@dataclass(frozen=True, eq=False)
class LogLikelihood(Figure):
    r"""$\log p(x)$ of every row, in nats.

    An estimate lies below $\log p(x)$ in mean (Jensen's inequality), to first order by half the variance of the
    normalised weight divided by K: `shortfall`. It is not corrected for.

    Args:
        samples: draws of the guide for each row, K; 0 if the figure is exact.
        effective: the effective sample size of each row, between 1 and K; 0 where every weight is 0, infinite if exact.
        shortfall: by how much each row lies below in mean, to first order.
    """

    samples: int
    effective: Float64[Tensor, "*batch"]
    shortfall: Float64[Tensor, "*batch"]

    @property
    def doubtful(self) -> int:
        """Rows with fewer than ten effective samples: of these few, neither the value nor its error says much."""
        return int((self.effective < 10).sum())

    def _notes(self) -> list[str]:
        if self.kind == Kind.EXACT:
            return super()._notes()
        least, half = float(self.effective.min()), float(self.effective.median())
        notes = [*super()._notes(), f"{self.samples} samples, effective {half:.0f}, least {least:.0f}"]
        notes.append(f"low by {float(self.shortfall.mean()):.1g}")
        if self.doubtful:
            notes.append(f"doubtful rows: {self.doubtful}")
        return notes


def log_likelihood(
    model: Any,
    guide: Any,
    batch: Any,
    samples: int = 5000,
    chunk: int | None = None,
    exact: bool = True,
    seed: int | None = None,
) -> LogLikelihood:
    r"""$\log p(x) \approx \log \frac1K \sum_k p(x, z_k) / q(z_k \mid x)$ with $z_k \sim q(z \mid x)$.

    Latent variables that the guide leaves out are summed exactly for each draw. Where the model's own `log_prob` can
    sum or integrate all of them, its answer is given instead and nothing is drawn. Networks are in evaluation mode
    while this runs.

    The standard error of a row is $s / (\bar w \sqrt K)$ (delta method). It is honest where the weights have a
    variance: a guide that is narrower than the posterior may miss mass and not know it, which a small effective sample
    size or a figure that rises with K betrays.

    Args:
        model: p, with an input for everything that it does not draw in `batch`.
        guide: q, from which latent values are proposed.
        batch: values and evidence by name, and possibly `lengths`, `mask` or `sizes`.
        samples: K, at least two.
        chunk: draws that one run holds, samples times rows; by default as many as make values of four million numbers.
        exact: sum exactly where that can be done.
        seed: makes the draws repeatable without touching the global random state.

    Raises:
        FormulaError: if the guide does not fit the model.
        GraftError: wrong names, shapes or values; an empty batch; fewer than two samples; a weight that is NaN or
            infinite.

    Source: Rezende, Mohamed & Wierstra 2014, appendix E; Burda, Grosse & Salakhutdinov 2016, section 5.1.

    Example:
        >>> from graft.factors import Gaussian
        >>> from graft.model import Model
        >>> from torch import nn
        >>> p = Model({"z": Gaussian(dim=2), "x | z": Gaussian(nn.Linear(2, 3), dim=3, scale=1.0)})
        >>> q = Model({"z | x": Gaussian(nn.Linear(3, 4), dim=2)})
        >>> found = log_likelihood(p, q, {"x": torch.zeros(5, 3)}, samples=100, seed=0)
        >>> found.kind.value, found.rows.shape, found.error < 0.2
        ('estimate', torch.Size([5]), True)
    """
    objective = Drawing(model, guide, "log_likelihood")
    count = several(samples)
    with at_rest(model, guide), seeded(seed):
        rows = Rows(model, batch, "log_likelihood")
        most = at_once(chunk, rows.width)
        found = exactly(model, rows) if exact else None
        if found is not None:
            return as_exact(rows, found)
        size = max(1, most // count)
        weights = [weighed(objective, rows.take(*piece), count, max(1, most // size)) for piece in rows.pieces(size)]
        return as_estimate(rows, weights, count)


def several(samples: Any) -> int:
    """A number of samples of which a standard error can be told.

    Raises:
        GraftError: it is no whole number of at least two.
    """
    count = positive(samples, "samples")
    if count < 2:
        raise GraftError("samples must be at least 2: one draw has no standard error")
    return count


def weighed(objective: Drawing, batch: Any, samples: int, most: int) -> LogWeights:
    """The weights of some rows.

    Args:
        objective: of model and guide.
        batch: with one batch dimension or none.
        samples: K.
        most: samples of one run.
    """
    found = LogWeights()
    for count in portions(samples, most):
        log_w = log_ratios(objective.run(batch, samples=count))
        # a guide without draws gives one weight, which all samples share
        found.add(log_w.reshape(len(log_w), -1).expand(count, -1))
    return found


def as_exact(rows: Rows, found: Float64[Tensor, " rows"]) -> LogLikelihood:
    """The result from exact log-probabilities."""
    value = rows.back(found)
    none = torch.zeros_like(value)
    return LogLikelihood("log p(x)", Kind.EXACT, value, none, 0, torch.full_like(value, torch.inf), none)


def as_estimate(rows: Rows, weights: list[LogWeights], samples: int) -> LogLikelihood:
    """The result from weights, piece by piece."""
    relative = torch.cat([one.relative_variance for one in weights])
    return LogLikelihood(
        "log p(x)",
        Kind.ESTIMATE,
        rows.back(torch.cat([one.log_mean for one in weights])),
        rows.back((relative / samples).sqrt()),
        samples,
        rows.back(torch.cat([one.effective for one in weights])),
        rows.back(relative / (2 * samples)),
    )

"""The gap between the evidence lower bound and the log-likelihood, split into its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.evaluation.drawing import Drawing, cells, draws, log_ratios
from graft.evaluation.exactly import exactly
from graft.evaluation.figure import Figure
from graft.evaluation.fitting import fitted, placed
from graft.evaluation.kinds import Kind
from graft.evaluation.likelihood import LogLikelihood, as_estimate, as_exact, several, weighed
from graft.evaluation.moments import LogWeights, Moments
from graft.evaluation.row_by_row import freed
from graft.evaluation.rows import Rows, at_once, at_rest, portions
from graft.inference.draws import seeded
from graft.inference.how_many import positive
from graft.model import Model


@dataclass(frozen=True, eq=False)
class Gap:
    r"""$\log p(x) - L[q]$ and its parts, each a figure of every row in nats; L is the evidence lower bound.

    Args:
        log_likelihood: $\log p(x)$.
        bound: $L[q]$ of the guide.
        best: $L[q^*]$ of the best member of its family, fitted to each row.
        total: $\log p(x) - L[q]$.
        family: $\log p(x) - L[q^*]$: what no member of the family can close; too large if the fit is not done.
        amortisation: $L[q^*] - L[q]$: what the network loses to parameters of each row's own; then too small.
        last_change: by how much the bound at the end of the fit exceeds that of the last but one fifth of its steps.
        steps: of the fit.
    """

    log_likelihood: LogLikelihood
    bound: Figure
    best: Figure
    total: Figure
    family: Figure
    amortisation: Figure
    last_change: Figure
    steps: int

    @property
    def settled(self) -> bool:
        """Whether the last change was below a hundredth of a nat in mean, or no larger than twice its error."""
        return self.last_change.mean < max(0.01, 2 * self.last_change.error)

    def __str__(self) -> str:
        figures = (self.log_likelihood, self.bound, self.best, self.total, self.family, self.amortisation)
        done = "settled" if self.settled else "NOT settled: more steps are needed"
        return "\n".join([*map(str, figures), f"fit: {self.steps} steps, {done}; {self.last_change}"])


def gap(
    model: Any,
    guide: Any,
    batch: Any,
    steps: int = 1000,
    lr: float = 0.02,
    samples: int = 5000,
    draws: int = 8,
    chunk: int | None = None,
    exact: bool = True,
    seed: int | None = None,
) -> Gap:
    r"""Split $\log p(x) - L[q] = (\log p(x) - L[q^*]) + (L[q^*] - L[q])$: what the family lacks, what amortising costs.

    $q^*$ has parameters of its own in every row (and at every element), which start from what the guide says of the
    row and follow the bound by Adam, its rate going to 0 over the second half of the steps. Model and guide stay as
    they are. $\log p(x)$ is exact where it can be, else sampled from $q^*$. The two bounds are compared draw by draw on
    common noise. The border between the parts is found by a search, so that even without sampling noise the family's
    part is an upper bound and the other a lower one.

    Args:
        model: p.
        guide: q; what its factors read does not depend on draws.
        batch: values and evidence by name, and possibly `lengths`, `mask` or `sizes`.
        steps: of Adam, for each piece of rows.
        lr: Adam's rate in the first half.
        samples: draws for each row, of the bounds and the likelihood; at least two.
        draws: for each row, of a step; at least two.
        chunk: draws that one run holds, samples times rows; it also tells how many rows are fitted at once.
        exact: sum the likelihood exactly where that can be done.
        seed: makes the draws repeatable without touching the global random state.

    Raises:
        FormulaError: if the guide does not fit the model.
        GraftError: wrong names, shapes or values; an empty batch; a factor of the guide that reads draws, or is of a
            family that is not fitted here; a bound that is not finite.

    Source: Cremer, Li & Duvenaud 2018, section 3.

    Example:
        >>> from graft.factors import Gaussian
        >>> from torch import nn
        >>> p = Model({"z": Gaussian(dim=2), "x | z": Gaussian(nn.Linear(2, 3), dim=3, scale=1.0)})
        >>> q = Model({"z | x": Gaussian(nn.Linear(3, 4), dim=2)})
        >>> found = gap(p, q, {"x": torch.ones(5, 3)}, steps=20, samples=100, seed=0)
        >>> found.family.rows.shape, found.amortisation.kind.value
        (torch.Size([5]), 'estimate')
    """
    drawing = Drawing(model, guide, "gap")
    told = Settings(several(samples), positive(steps, "steps"), _rate(lr), several(draws))
    with at_rest(model, guide), seeded(seed):
        rows = Rows(model, batch, "gap")
        most = at_once(chunk, rows.width * cells(Drawing(model, guide, "gap", enumerating=True)))
        known = exactly(model, rows) if exact else None
        size = max(1, most // max(told.draws, 64))
        pieces = [
            _of_piece(drawing, guide, rows.take(*piece), told, max(1, most // (piece[1] - piece[0])), known is None)
            for piece in rows.pieces(size)
        ]
    if known is not None:
        likelihood = as_exact(rows, known)
    else:
        likelihood = as_estimate(rows, [one.weights for one in pieces if one.weights is not None], told.samples)
    return _joined(rows, likelihood, pieces, told.steps)


@dataclass(frozen=True)
class Settings:
    """How rows are fitted and measured."""

    samples: int
    steps: int
    lr: float
    draws: int


@dataclass(frozen=True, eq=False)
class Piece:
    """What was found of some rows."""

    bound: Moments
    best: Moments
    rise: Moments
    change: Moments
    weights: LogWeights | None
    exact: bool


def _of_piece(drawing: Drawing, guide: Model, batch: Any, told: Settings, most: int, sampled: bool) -> Piece:
    """Fit some rows and measure what came of it."""
    own, free = freed(drawing, guide, batch)
    before_end = fitted(drawing.model, own, free, batch, told.steps, told.lr, told.draws)
    start = Drawing(drawing.model, guide, "gap", enumerating=True)
    end = Drawing(drawing.model, own, "gap", enumerating=True)
    exact = not draws(start, start.intake.take(batch).known)
    bound, best, rise, change = Moments(), Moments(), Moments(), Moments()
    for count in portions(1 if exact else told.samples, most):
        # common noise: what all have of it drops out of differences
        noise = int(torch.randint(2**62, ()))
        one, two = (_bounds(objective, batch, count, noise) for objective in (start, end))
        bound.add(one)
        best.add(two)
        rise.add(two - one)
        with placed(free, before_end):
            change.add(two - _bounds(end, batch, count, noise))
    weights = weighed(Drawing(drawing.model, own, "gap"), batch, told.samples, most) if sampled else None
    return Piece(bound, best, rise, change, weights, exact)


def _bounds(objective: Drawing, batch: Any, samples: int, seed: int) -> Tensor:
    """(samples, rows): log p - log q at every draw."""
    with seeded(seed):
        found = log_ratios(objective.run(batch, samples=samples)).cpu().double()
    if not bool(torch.isfinite(found).all()):
        raise GraftError("gap: a draw of the guide is impossible under the model, so that the bound is -infinity")
    return found.reshape(len(found), -1)


def _joined(rows: Rows, likelihood: LogLikelihood, pieces: list[Piece], steps: int) -> Gap:
    exact = all(piece.exact for piece in pieces)
    kind = Kind.EXACT if exact else Kind.ESTIMATE
    bound = _figure("bound", kind, rows, [piece.bound for piece in pieces], exact)
    best = _figure("bound of the best in the family", kind, rows, [piece.best for piece in pieces], exact)
    amortised = Kind.LOWER if exact else Kind.ESTIMATE
    rise = _figure("amortisation", amortised, rows, [piece.rise for piece in pieces], exact)
    sure = exact and likelihood.kind == Kind.EXACT
    total = _difference("gap", Kind.EXACT if sure else Kind.ESTIMATE, likelihood, bound)
    family = _difference("family", Kind.UPPER if sure else Kind.ESTIMATE, likelihood, best)
    change = _figure("last change", kind, rows, [piece.change for piece in pieces], exact)
    return Gap(likelihood, bound, best, total, family, rise, change, steps)


def _figure(name: str, kind: Kind, rows: Rows, pieces: list[Moments], exact: bool) -> Figure:
    mean = rows.back(torch.cat([one.mean.reshape(-1) for one in pieces]))
    error = torch.zeros_like(mean) if exact else rows.back(torch.cat([one.error.reshape(-1) for one in pieces]))
    return Figure(name, kind, mean, error)


def _difference(name: str, kind: Kind, one: Figure, other: Figure) -> Figure:
    """Of two figures whose draws are independent."""
    error = (one.row_errors.square() + other.row_errors.square()).sqrt()
    return Figure(name, kind, one.rows - other.rows, error)


def _rate(lr: Any) -> float:
    if isinstance(lr, bool) or not isinstance(lr, int | float) or not 0 < lr < float("inf"):
        raise GraftError(f"lr must be a positive number, not {lr!r}")
    return float(lr)

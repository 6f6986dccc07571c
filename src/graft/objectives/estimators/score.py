"""Score-function estimators: for any variable, at the price of variance."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from graft.distributions.density import Density
from graft.errors import GraftError
from graft.objectives.estimators.base import Estimator, Parts, Signal
from graft.objectives.estimators.baselines import Baseline


class ScoreFunction(Estimator):
    r"""$\nabla_\phi E_q[f(z)] = E_q[(f(z) - b) \nabla_\phi \log q_\phi(z)]$ for any $b$ that does not look at $z$.

    The signal $f$ holds only those log-factors that depend on the variable.

    Args:
        baseline: `RunningAverage()`, `InputDependent(net, of)` (NVIL), `LeaveOneOut()`; None for b = 0.

    Raises:
        GraftError: `baseline` is none of these.

    Source: Glynn 1990; Williams 1992; with a network as a baseline, Mnih & Gregor 2014 (NVIL).

    Example:
        >>> from graft.objectives.estimators.baselines import RunningAverage
        >>> ScoreFunction(RunningAverage()).title
        'ScoreFunction(RunningAverage)'
    """

    scores: ClassVar[bool] = True

    def __init__(self, baseline: Baseline | None = None) -> None:
        super().__init__()
        if baseline is not None and not isinstance(baseline, Baseline):
            raise GraftError(f"a baseline is RunningAverage, InputDependent or LeaveOneOut, not {baseline!r}")
        self.baseline = baseline

    def draw(self, density: Density, lead: tuple[int, ...]) -> Tensor:
        return density.draw(lead)

    def parts(self, log_q: Tensor, signal: Signal) -> Parts:
        weight = 1.0 if signal.weight is None else signal.weight
        if self.baseline is None:
            return Parts(log_q * (weight * signal.cost))
        guess = self.baseline.guess(signal)
        spread = self.baseline.spread()
        scale = 1.0 if spread is None else 1.0 / float(spread)
        # fitted in units of the spread, so that one learning rate serves signals of any size
        loss = 0.5 * ((signal.cost - guess) * scale).square() if self.baseline.learns else None
        guess = guess.detach()
        self.baseline.see(signal, guess)
        return Parts(log_q * (weight * signal.cost * scale), log_q * (weight * guess * scale), loss)

    @property
    def scales(self) -> bool:
        return getattr(self.baseline, "normalise", False)

    @property
    def title(self) -> str:
        inside = "" if self.baseline is None else f"({type(self.baseline).__name__})"
        return f"ScoreFunction{inside}"


class VIMCO(Estimator):
    r"""Score function for a bound of K samples, each compared with the bound that the others would have given.

    $b_k = \log \frac{1}{K} \big( \sum_{j \ne k} w_j + \hat w_k \big)$, where $\hat w_k$ is the geometric mean of the
    others' weights.

    Raises:
        GraftError: at a call, with fewer than two samples, or in an objective that is no bound of several.

    Source: Mnih & Rezende 2016, eqs. 9 to 11.

    Example:
        >>> VIMCO().several
        True
    """

    scores: ClassVar[bool] = True
    several: ClassVar[bool] = True

    def draw(self, density: Density, lead: tuple[int, ...]) -> Tensor:
        return density.draw(lead)

    def parts(self, log_q: Tensor, signal: Signal) -> Parts:
        """`signal.cost` holds the log-weights of the samples."""
        if signal.samples is None or signal.cost.shape[signal.samples] < 2:
            raise GraftError("VIMCO compares samples: ask for samples=2 or more")
        place, log_w = signal.samples, signal.cost
        count = log_w.shape[place]
        bound = log_w.logsumexp(place, keepdim=True) - math.log(count)
        control = without_each(log_w, place)
        # where all others are impossible there is nothing to compare with: any number that does not look at the draw
        return Parts(log_q * bound, log_q * control.masked_fill(control == -torch.inf, 0.0))


def without_each(log_w: Tensor, place: int) -> Tensor:
    """For each sample, the bound in which the geometric mean of the others stands for it; like `log_w`.

    Example:
        >>> without_each(torch.zeros(3, 1), 0).flatten().tolist()
        [0.0, 0.0, 0.0]
    """
    log_w = log_w.movedim(place, -1)
    count = log_w.shape[-1]
    zero = log_w == -torch.inf
    finite = log_w.masked_fill(zero, 0.0)
    stand_in = (finite.sum(-1, keepdim=True) - finite) / (count - 1)
    stand_in = stand_in.masked_fill((zero.sum(-1, keepdim=True) - zero.long()) > 0, -torch.inf)
    others = log_w.unsqueeze(-2).expand((*log_w.shape, count))
    replaced = torch.where(torch.eye(count, dtype=torch.bool, device=log_w.device), stand_in.unsqueeze(-1), others)
    return (replaced.logsumexp(-1) - math.log(count)).movedim(-1, place)

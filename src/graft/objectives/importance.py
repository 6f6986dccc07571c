"""The importance-weighted bound of several draws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from graft.errors import GraftError
from graft.inference.guided.dependence import reach
from graft.inference.program import Program
from graft.objectives.base import total
from graft.objectives.estimators.base import Estimator, Signal
from graft.objectives.estimators.pathwise import Reparameterised
from graft.objectives.guided import GuidedObjective, Run, zero_valued


class ImportanceWeighted(GuidedObjective):
    r"""$E\big[\log \tfrac{1}{K} \sum_k p(x, z_k) / q(z_k \mid x)\big] \le \log p(x)$, tighter with every draw.

    With `doubly=True` the gradient of the guide is the doubly reparameterised one, whose variance does not grow with K:
    the weight of each draw enters squared, and only through the draw.

    Args:
        model: p.
        guide: q.
        samples: K.
        estimators: by variable; by default reparameterised draws, and VIMCO for discrete variables.
        doubly: the DReG gradient, for a guide whose draws are reparameterised and do not read each other.

    Raises:
        FormulaError: if the guide does not fit the model.
        GraftError: an estimator does not serve its variable or would be biased here; `doubly` with a guide whose
            draws are not all reparameterised, that reads its own draws, or what the model computes.

    Source: Burda, Grosse & Salakhutdinov 2016, eq. 8; DReG, Tucker et al. 2019, eq. 6; discrete variables, Mnih &
        Rezende 2016.

    Example:
        >>> import torch
        >>> from graft.factors import Gaussian
        >>> from graft.model import Model
        >>> from torch import nn
        >>> p = Model({"z": Gaussian(dim=2), "x | z": Gaussian(nn.Linear(2, 6), dim=3)})
        >>> q = Model({"z | x": Gaussian(nn.Linear(3, 4), dim=2)})
        >>> sorted(ImportanceWeighted(p, q, samples=5)({"x": torch.zeros(5, 3)}).terms)
        ['bound']
    """

    def __init__(
        self,
        model: Any,
        guide: Any,
        *,
        samples: int = 5,
        estimators: Mapping[str, Estimator] | None = None,
        doubly: bool = False,
    ) -> None:
        super().__init__(model, guide, samples, estimators, several=True)
        self.doubly = doubly
        if doubly:
            _may_be_doubled(self)

    def terms(self, batch: Any) -> dict[str, Tensor]:
        run = self.run(batch)
        log_w = log_weights(run, doubled=self.doubly)
        place = run.samples
        bound = log_w if place is None else log_w.logsumexp(place) - math.log(self.samples)
        if self.doubly:
            _weigh_paths(run, log_w)
        parts = {"bound": bound}
        for name in self.names:
            if self.estimator(name).scores and name not in run.known:
                parts.update(self._score(run, name, log_w.detach(), bound.detach()))
        return parts

    def _score(self, run: Run, name: str, log_w: Tensor, bound: Tensor) -> dict[str, Tensor]:
        estimator, place = self.estimator(name), run.samples
        whole = bound if place is None else bound.unsqueeze(place).expand_as(log_w)
        cost = log_w if estimator.several else whole
        signal = Signal(cost, None, place, run.evidence, len(run.trace.batch), several=True)
        log_q = run.spread(total([run.trace.log_q(node) for node in run.nodes(name)]))
        found = estimator.parts(log_q, signal)
        score = found.controlled
        # every draw has a part in the one bound: the sum, where a mean over draws would count it once
        parts = {f"score({name})": zero_valued(score if place is None else score.sum(place))}
        if found.baseline is not None:
            mean = found.baseline if place is None else found.baseline.mean(place)
            parts[f"baseline({name})"] = -zero_valued(mean)
        return parts


def log_weights(run: Run, doubled: bool = False) -> Tensor:
    r"""$\log p(x, z_k) - \log q(z_k \mid x)$ of each draw, (samples, batch).

    Args:
        run: of the guide.
        doubled: without the direct gradient of $\log q$.
    """
    trace = run.trace
    parts = [trace.log_joint()]
    for node in trace.guide:
        log_q = trace.log_q(node)
        parts.append(-(log_q - zero_valued(trace.direct(node)) if doubled else log_q))
    return run.spread(total(parts))


def _weigh_paths(run: Run, log_w: Tensor) -> None:
    """Multiply what reaches each draw by its weight once more."""
    if run.samples is None:
        return
    weight = log_w.detach().softmax(run.samples)
    for value in run.trace.draws.values():
        if value.requires_grad:
            value.register_hook(lambda g: g * weight.reshape(weight.shape + (1,) * (g.dim() - weight.dim())))


def _may_be_doubled(objective: GuidedObjective) -> None:
    """Whether every draw is reparameterised, and all that the guide's gradient passes through is its draws.

    Raises:
        GraftError: naming the variable.
    """
    program: Program = objective.program
    reached = reach(program, frozenset())
    for name in objective.names:
        if type(objective.estimator(name)) is not Reparameterised:
            raise GraftError(f"doubly=True needs reparameterised draws; {name} has {objective.estimator(name).title}")
    for node in program.guide.nodes:
        for term in node.reads:
            other = program.model.variables.get(term.name)
            if node.kind == "conditional" and reached.get(term.name):
                raise GraftError(f"doubly=True: {node} reads a draw, whose weight would be counted twice")
            if other is not None and other.is_computed and not program.guide.variables[term.name].nodes:
                raise GraftError(f"doubly=True: the guide reads {term.name}, which the model's parameters compute")

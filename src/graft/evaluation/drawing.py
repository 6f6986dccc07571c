"""Runs of a guide for the sake of what its draws are worth: no gradients, and any family of draws will do."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.inference.guided.trace import Drawer, Trace
from graft.model import Model
from graft.objectives.estimators.base import Estimator
from graft.objectives.estimators.choose import FEW
from graft.objectives.estimators.enumeration import Enumerate
from graft.objectives.estimators.held import Held
from graft.objectives.guided import GuidedObjective, Run
from graft.objectives.importance import log_weights
from graft.objectives.truth import is_model


class Drawing(GuidedObjective):
    """A model and its guide, to be measured.

    Args:
        model: p.
        guide: q.
        who: measures; named in errors.
        enumerating: go through all states of variables with few, in place of drawing them.

    Raises:
        FormulaError: if the guide does not fit the model.
        GraftError: one of the two is no model, or the guide proposes an input of the model.
    """

    def __init__(self, model: Any, guide: Any, who: str, *, enumerating: bool = False) -> None:
        is_model(model, who)
        if not isinstance(guide, Model):
            raise GraftError(f"{who} takes a guide second, a Model, not {type(guide).__name__}")
        super().__init__(model, guide, 1, _ways(model, guide) if enumerating else Held)
        for name in self.program.proposes:
            if self.program.model.variables[name].is_input:
                raise GraftError(f"{who}: the guide gives {name}, an input of the model, which p is not a density of")

    def terms(self, batch: Any) -> dict[str, Tensor]:
        """The evidence lower bound, from one draw of every row."""
        return {"bound": log_ratios(self.run(batch)).mean(0)}

    def observe(self, batch: Any, drawer: Drawer) -> Trace:
        """Run the guide once with somebody else making the values.

        Args:
            batch: values and evidence by name.
            drawer: is shown every factor of the guide with its density, and gives a value.
        """
        return self.traced(self.intake.take(batch), (), drawer)


def log_ratios(run: Run) -> Tensor:
    r"""$\log p(x, z) - \log q(z \mid x)$ at every draw, the mean taken over enumerated states: (samples, batch).

    Raises:
        GraftError: one of them is NaN or +infinity; the factor at fault is named.
    """
    log_w = log_weights(run)
    weight = run.weight()
    bad = log_w.isnan() | (log_w == torch.inf)
    if weight is not None:
        bad = bad & (weight > 0)
    if bool(bad.any()):
        raise GraftError(f"log p - log q is {float(log_w[bad][0])} at a draw: {_at_fault(run)}")
    return over_states(run, log_w)


def over_states(run: Run, part: Tensor) -> Tensor:
    """The mean of something over enumerated states, for every sample: (samples, batch)."""
    part, weight = run.spread(part), run.weight()
    if weight is not None:
        # a state that the guide rules out counts for nothing, whatever it would be worth
        part = torch.where(weight > 0, part * weight, 0.0).sum(tuple(range(len(run.enumerated))))
    return part.unsqueeze(0) if run.samples is None else part


def draws(objective: Drawing, known: frozenset[str]) -> frozenset[str]:
    """The variables that a run really draws, where these names are evidence."""
    variables = objective.program.model.variables
    return frozenset(
        name
        for name in objective.names
        if name not in known and objective.estimator(name).states(variables[name].support) is None
    )


def cells(objective: Drawing) -> int:
    """Joint states that a run goes through at every draw."""
    variables = objective.program.model.variables
    return prod(objective.estimator(name).states(variables[name].support) or 1 for name in objective.names)


def _ways(model: Model, guide: Model) -> dict[str, Estimator]:
    found: dict[str, Estimator] = {}
    for name in guide.graph.random:
        known = model.graph.variables.get(name) or guide.graph.variables[name]
        few = known.support is not None and known.support.states is not None and known.support.states <= FEW
        found[name] = Enumerate() if few and not known.axes else Held()
    return found


def _at_fault(run: Run) -> str:
    """The first factor whose log-density is no number, or what else may be the matter."""
    trace = run.trace
    for node in trace.guide:
        log_q = trace.log_q(node)
        if bool(log_q.isnan().any() | log_q.isinf().any()):
            return f"q({node}) is {float(log_q[log_q.isnan() | log_q.isinf()][0])}"
    for node in () if trace.unknown else trace.model:
        log_p = trace.log_p(node)
        if bool((log_p.isnan() | (log_p == torch.inf)).any()):
            return f"p({node}) is {float(log_p[log_p.isnan() | (log_p == torch.inf)][0])}"
    return "the sum over what the guide leaves out"

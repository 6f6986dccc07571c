"""A bound whose ways are known: what one run of a guide found out is not found out again by the next of its kind.

The general run keeps a trace, asks which factor has a divergence in closed form, what depends on which draw, and
whether every shape fits. For rows that run straight through, with one reparameterised draw of each variable, the
answers depend on the shapes of the batch alone: they are kept as two lists, of what is made and of what is summed, and
later batches only compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graft.distributions.density import Density
from graft.factors.base import Call
from graft.graph.nodes import Node
from graft.inference.guided.straight import Step, StraightTrace, called
from graft.inference.guided.trace import Trace
from graft.objectives.estimators.base import Estimator
from graft.objectives.estimators.pathwise import Reparameterised
from graft.objectives.term import Term


@dataclass(frozen=True)
class Factor:
    """One factor, ready to be called.

    Attributes:
        step: what is called.
        name: of the variable on its left.
        call: how to read what it reads.
        shape: of the distribution, or of the value of a function.
        estimator: makes the draw; None for functions and for what the model scores.
    """

    step: Step
    name: str
    call: Call
    shape: tuple[int, ...]
    estimator: Estimator | None = None

    def at(self, values: Mapping[str, Tensor]) -> Any:
        """What the module makes of these values; None if it has another shape than before."""
        inputs = tuple([values[name] for name in self.step.reads])
        out = called(self.step, inputs, self.call)
        return out if isinstance(out, (Density, Tensor)) and tuple(out.shape) == self.shape else None


class Express:
    """The bound of one kind of batch.

    Args:
        trace: of a run of that kind, whose shapes were found to fit.
        terms: what was summed.
        estimators: by variable.
    """

    def __init__(self, trace: StraightTrace, terms: Sequence[Term], estimators: Callable[[str], Estimator]) -> None:
        self.batch = trace.batch
        self.makes = tuple(_factor(trace, step.node, estimators) for step in trace.plan.makes)
        made = {factor.step.node for factor in self.makes}
        asked = dict.fromkeys(node for term in terms for node in term.of)
        self.scores = tuple(_factor(trace, node) for node in asked if node not in made)
        self.terms = tuple((term.label, term.how, term.of) for term in terms)

    def parts(self, given: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """The bound by factor, of shape batch; None if a factor's shape is not what it was."""
        values, densities = dict(given), {}
        for factor in self.makes:
            out = factor.at(values)
            if out is None:
                return None
            if factor.estimator is not None:
                densities[factor.step.node] = out
                out = factor.estimator.draw(out, self.batch)
            values[factor.name] = out
        for factor in self.scores:
            out = densities[factor.step.node] = factor.at(values)
            if out is None:
                return None
        return self._summed(values, densities)

    def _summed(self, values: Mapping[str, Tensor], densities: Mapping[Node, Density]) -> dict[str, Tensor] | None:
        parts: dict[str, Tensor] = {}
        for label, how, of in self.terms:
            first = densities[of[0]]
            if how == "kl":
                divergence = first.kl(densities[of[1]])
                if divergence is None:
                    return None
                part = -divergence
            elif how == "entropy":
                part = first.entropy()  # type: ignore[assignment]
            else:
                part = first.log_prob(values[of[0].head.name])
                part = -part if how == "log_q" else part
            if part.shape != self.batch:
                part = part.expand(self.batch)
            parts[label] = parts[label] + part if label in parts else part
        return parts


def express(trace: Trace, terms: Sequence[Term], estimators: Callable[[str], Estimator]) -> Express | None:
    """The short way of a run of a guide; None if it has none."""
    if not isinstance(trace, StraightTrace) or trace.extra or trace.plan.same or torch.compiler.is_compiling():
        return None
    if any(type(estimators(name)) is not Reparameterised for name in trace.draws) or not all(t.of for t in terms):
        return None
    return Express(trace, terms, estimators)


def _factor(trace: StraightTrace, node: Node, estimators: Callable[[str], Estimator] | None = None) -> Factor:
    step = trace.plan.steps[node]
    value, drawn = trace.values[node.head.name], node.kind == "conditional"
    shape = tuple(trace.density(node).shape if drawn else value.shape)
    estimator = estimators(node.head.name) if drawn and estimators is not None else None
    return Factor(step, node.head.name, step.call(len(trace.batch)), shape, estimator)

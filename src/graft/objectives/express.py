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
class Ready:
    """One factor, ready to be called.

    Attributes:
        step: what is called.
        name: of the variable on its left.
        call: how to read what it reads.
        shape: leading shape and event of the distribution, or the shape of the value of a function.
        estimator: makes the draw; None for functions and for what the model scores.
    """

    step: Step
    name: str
    call: Call
    shape: tuple[Any, ...]
    estimator: Estimator | None = None

    def at(self, values: Mapping[str, Tensor]) -> Any:
        """What the module makes of these values.

        Raises:
            ChangedError: it has another shape than before.
        """
        out = called(self.step, tuple([values[name] for name in self.step.reads]), self.call)
        if _shape(out) != self.shape:
            raise ChangedError
        return out


class ChangedError(Exception):
    """A factor is not what it was when the short way was found; never seen outside."""


class Express:
    """The bound of one kind of batch.

    Args:
        trace: of a run of that kind, whose shapes were found to fit.
        terms: what was summed.
        estimators: by variable.
    """

    def __init__(self, trace: StraightTrace, terms: Sequence[Term], estimators: Callable[[str], Estimator]) -> None:
        self.batch = trace.batch
        self.makes = tuple(_ready(trace, step.node, estimators) for step in trace.plan.makes)
        made = {ready.step.node for ready in self.makes}
        asked = dict.fromkeys(node for term in terms for node in term.of)
        self.scores = {node: _ready(trace, node) for node in asked if node not in made}
        self.terms = tuple((term.label, term.how, term.of) for term in terms)

    def parts(self, given: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        """The bound by factor, of shape batch; None if a factor is not what it was."""
        try:
            return self._parts(dict(given))
        except ChangedError:
            return None

    def _parts(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        densities: dict[Node, Density] = {}
        for ready in self.makes:
            out = ready.at(values)
            if ready.estimator is not None:
                densities[ready.step.node] = out
                out = ready.estimator.draw(out, self.batch)
            values[ready.name] = out
        parts: dict[str, Tensor] = {}
        for label, how, of in self.terms:
            # in the order of the general way, for what is recomputed by it or for it
            for node in of:
                if node not in densities:
                    densities[node] = self.scores[node].at(values)
            part = _value(how, [densities[node] for node in of], values[of[0].head.name])
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


def _value(how: str, densities: Sequence[Density], value: Tensor) -> Tensor:
    """What a term is of its factors; see `Term`."""
    found: Tensor | None
    if how == "kl":
        found = densities[0].kl(densities[1])
    elif how == "entropy":
        found = densities[0].entropy()
    else:
        found = densities[0].log_prob(value)
    if found is None:
        raise ChangedError
    return -found if how in ("kl", "log_q") else found


def _shape(out: Any) -> tuple[Any, ...]:
    if isinstance(out, Density):
        return out.leading, out.event
    return tuple(out.shape) if isinstance(out, Tensor) else ()


def _ready(trace: StraightTrace, node: Node, estimators: Callable[[str], Estimator] | None = None) -> Ready:
    step, drawn = trace.plan.steps[node], node.kind == "conditional"
    shape = _shape(trace.density(node) if drawn else trace.values[node.head.name])
    estimator = estimators(node.head.name) if drawn and estimators is not None else None
    return Ready(step, node.head.name, step.call(len(trace.batch)), shape, estimator)

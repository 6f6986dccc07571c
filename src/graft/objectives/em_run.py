"""Iterations of EM over all data, until the likelihood stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import Any

from graft.errors import GraftError
from graft.factors.maximise import Cases
from graft.graph.nodes import Node
from graft.inference.expected import Expectation
from graft.inference.how_many import positive
from graft.objectives.em_chain import ChainStep


@dataclass(frozen=True)
class EMRun:
    """What a fit by EM was like.

    Attributes:
        log_likelihoods: of all data before each step, in nats.
        history: the same with the log-priors, which is what no step lowers.
        converged: whether the last gain of the history was within the tolerance.
    """

    log_likelihoods: tuple[float, ...]
    history: tuple[float, ...]
    converged: bool


@dataclass(frozen=True, eq=False)
class Prepared:
    """A batch with what of its E-step does not depend on parameters.

    Attributes:
        batch: as the user gave it.
        expectation: its plan, and where each factor stands.
        cases: of the factors with a closed form.
        chain: a faster way to the same, where there is one.
    """

    batch: Mapping[str, Any]
    expectation: Expectation
    cases: dict[Node, Cases]
    chain: ChainStep | None = None


class Batches:
    """The data of EM, batch by batch, each with what of its E-step does not depend on parameters.

    Args:
        data: one batch, or anything that gives batches each time it is iterated over.
        prepare: makes the E-step of a batch ready.
        keep: hold batches ready between iterations, where that is right for the model.

    Raises:
        GraftError: the data are neither.
    """

    def __init__(self, data: Any, prepare: Callable[[Any], Prepared], keep: bool = False) -> None:
        one = isinstance(data, Mapping)
        if not one and (not isinstance(data, Iterable) or isinstance(data, str | bytes)):
            raise GraftError(f"EM takes a dict of values by name, or several, not {type(data).__name__}")
        if keep and isinstance(data, Iterator):
            raise GraftError("EM goes through the data many times: pass a list of batches, not an iterator")
        self.data: Iterable[Any] = [data] if one else data
        self.prepare, self.keep = prepare, keep and isinstance(self.data, list | tuple)
        self.ready: dict[int, Prepared] = {}

    def __iter__(self) -> Iterator[Prepared]:
        for number, batch in enumerate(self.data):
            prepared = self.ready.get(number) or self.prepare(batch)
            if self.keep and prepared.expectation.lasting:
                self.ready[number] = prepared
            yield prepared


def climb(step: Callable[[], tuple[float, float]], iterations: Any, tolerance: Any, monotone: bool = True) -> EMRun:
    """Steps of EM until the gain is within the tolerance.

    Args:
        step: gives the log-likelihood and the log-prior that it found.
        iterations: at most so many.
        tolerance: in nats.
        monotone: no step lowers their sum but by rounding, which then is a reason to stop.

    Raises:
        GraftError: the number of iterations or the tolerance is none.
    """
    iterations = positive(iterations, "iterations")
    if isinstance(tolerance, bool) or not isinstance(tolerance, Real) or not isfinite(tolerance):
        raise GraftError(f"tolerance is a finite number, in nats, not {tolerance!r}")
    found: list[float] = []
    history: list[float] = []
    for _ in range(iterations):
        likelihood, prior = step()
        found.append(likelihood)
        history.append(likelihood + prior)
        gain = history[-1] - history[-2] if len(history) > 1 else float("inf")
        if (gain if monotone else abs(gain)) <= tolerance:
            return EMRun(tuple(found), tuple(history), True)
    return EMRun(tuple(found), tuple(history), False)

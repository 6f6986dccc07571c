"""What `using=` takes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal, get_args

import torch

from graft.errors import GraftError
from graft.inference.approximate.implicit import attached
from graft.inference.approximate.iterate import Iterated, Process, iterate
from graft.inference.approximate.solution import Solution
from graft.inference.problem import Problem
from graft.ops.modes import ordinary

Gradient = Literal["unrolled", "implicit"]


class Engine(ABC):
    """An approximate way to answer a query; made with its settings, used by `model.given(..., using=engine)`."""

    #: The method, for `explain`.
    method: str
    #: Whether factors that define their own messages need no table.
    senders: bool = False

    @abstractmethod
    def solve(self, problem: Problem, budget: int) -> Solution:
        """Answer one problem.

        Args:
            problem: what is asked.
            budget: bytes that the tables may take.

        Raises:
            IntractableError: if the tables do not fit.
        """

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({told})"


def run(process: Process, batch: int, iterations: int, tolerance: float, gradient: Gradient) -> Iterated:
    """Iterate to a fixed point, so that it can be differentiated as asked."""
    if gradient == "unrolled" or not torch.is_grad_enabled():
        return iterate(process, batch, iterations, tolerance)
    with ordinary(), torch.no_grad():
        found = iterate(process, batch, iterations, tolerance)
    state = attached(process, found, iterations, tolerance)
    return Iterated(state, found.steps, found.residual, found.converged)


def a_count(value: Any, name: str, least: int = 1) -> int:
    """A whole number that a setting takes.

    Raises:
        GraftError: if it is none, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise GraftError(f"{name} is a whole number from {least}, not {value!r}")
    return value


def a_number(value: Any, name: str, low: float, high: float) -> float:
    """A number in [low, high) that a setting takes.

    Raises:
        GraftError: if it is none, or outside.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < high:
        shown = f"a number from {low:g}" + ("" if math.isinf(high) else f" and below {high:g}")
        raise GraftError(f"{name} is {shown}, not {value!r}")
    return float(value)


def a_gradient(value: Any) -> Gradient:
    """How to differentiate.

    Raises:
        GraftError: if it is neither way.
    """
    if value not in get_args(Gradient):
        raise GraftError(f"gradient is 'unrolled' or 'implicit', not {value!r}")
    return value

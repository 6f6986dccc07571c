"""One driver for everything iterative: `init`, `step`, `terminate`; it tells how far it came."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

State = tuple[Tensor, ...]


class Process(ABC):
    """A map on states whose fixed point is wanted; each tensor of a state is (..., batch, elements)."""

    @abstractmethod
    def init(self) -> State:
        """Where to start."""

    @abstractmethod
    def step(self, state: State) -> State:
        """The next state."""

    @abstractmethod
    def residual(self, old: State, new: State) -> Float[Tensor, " batch"]:
        """How far each row is from a fixed point."""


@dataclass(frozen=True, eq=False)
class Iterated:
    """Where the iterations ended.

    Attributes:
        state: the last one.
        steps: how many were made.
        residual: of each row at the last step; infinite if none was made.
        converged: the rows whose residual is within the tolerance.
    """

    state: State
    steps: int
    residual: Float[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]


def iterate(process: Process, batch: int, iterations: int, tolerance: float, every: int = 10) -> Iterated:
    """Step until every row has converged, or the iterations are used up.

    Args:
        process: what to iterate.
        batch: how many rows it has.
        iterations: at most so many.
        tolerance: of the residual.
        every: the residual is looked at every so many steps; it costs about as much as one of them.
    """
    state = process.init()
    device = state[0].device if state else None
    # without messages there is nothing to wait for
    residual = torch.full((batch,), torch.inf if state else 0.0, device=device)
    steps = 0
    while state and steps < iterations:
        new = process.step(state)
        steps += 1
        # nothing is within a tolerance of zero
        if (tolerance > 0.0 and steps % every == 0) or steps == iterations:
            with torch.no_grad():
                residual = process.residual(state, new)
        state = new
        if bool((residual <= tolerance).all()):
            break
    return Iterated(state, steps, residual, residual <= tolerance)

"""Phases in turn: each call is one phase, which moves its own parameters alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from graft.errors import GraftError
from graft.inference.how_many import positive
from graft.objectives.base import Objective


class Alternating(Objective):
    """The phases of an objective, one call each: wake and sleep, or the guide's steps (E) and the model's (M).

    What a phase does not move takes no part in its gradient: an optimizer over all parameters leaves it alone, as long
    as gradients are set to None between steps, which is what `zero_grad` does.

    Args:
        objective: with phases.
        turns: how many calls each phase has in a round, in their order; one each if not told.

    Raises:
        GraftError: the objective has a single phase, or `turns` does not fit its phases.

    Source: variational EM as coordinate ascent, Neal & Hinton 1998.

    Example:
        >>> import torch
        >>> from graft.factors import Gaussian
        >>> from graft.model import Model
        >>> from graft.objectives.elbo import ELBO
        >>> from torch import nn
        >>> p = Model({"z": Gaussian(dim=2), "x | z": Gaussian(nn.Linear(2, 6), dim=3)})
        >>> q = Model({"z | x": Gaussian(nn.Linear(3, 4), dim=2)})
        >>> turns = Alternating(ELBO(p, q), turns=(2, 1))
        >>> [turns.step({"x": torch.zeros(5, 3)}) for _ in range(4)]
        ['guide', 'guide', 'model', 'guide']
    """

    def __init__(self, objective: Any, turns: Sequence[int] | None = None) -> None:
        super().__init__()
        if not isinstance(objective, Objective):
            raise GraftError(f"Alternating takes an objective, not {type(objective).__name__}")
        phases = objective.phases()
        if len(phases) < 2:
            raise GraftError(f"{type(objective).__name__} has a single phase: there is nothing to alternate")
        turns = (1,) * len(phases) if turns is None else tuple(positive(n, "turns") for n in turns)
        if len(turns) != len(phases):
            names = ", ".join(phase.name for phase in phases)
            raise GraftError(f"turns tells the calls of each phase, {names}, not {turns}")
        self.objective, self.turns = objective, turns
        self._position = 0

    @property
    def phase(self) -> str:
        """The phase that the next call is."""
        return self.objective.phases()[self._place()].name

    def terms(self, batch: Any) -> dict[str, Tensor]:
        raise GraftError("the phases of an alternating objective have losses of their own: call it, or read loss.terms")

    def forward(self, batch: Any) -> Tensor:
        """The loss of the phase whose turn it is; in training the turn moves on."""
        phase = self.objective.phases()[self._place()]
        moved = {id(p) for p in phase.parameters}
        still = [p for p in self.objective.parameters() if p.requires_grad and id(p) not in moved]
        for parameter in still:
            parameter.requires_grad_(False)
        try:
            loss = phase.loss(batch)
        finally:
            for parameter in still:
                parameter.requires_grad_(True)
        if self.training:
            self._position += 1
        return loss

    def step(self, batch: Any) -> str:
        """Compute the loss of a phase and its gradients; the name of the phase."""
        name = self.phase
        self.zero_grad()
        self(batch).backward()
        return name

    def get_extra_state(self) -> dict[str, int]:
        return {"position": self._position}

    def set_extra_state(self, state: Any) -> None:
        self._position = int(state["position"])

    def _place(self) -> int:
        left = self._position % sum(self.turns)
        for place, count in enumerate(self.turns):
            if left < count:
                return place
            left -= count
        raise AssertionError("a position lies within a round")

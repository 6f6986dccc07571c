"""Draws that pass no gradient on, for objectives whose phases hold one side fixed."""

from __future__ import annotations

from torch import Tensor

from graft.distributions.density import Density
from graft.objectives.estimators.base import Estimator


class Held(Estimator):
    """A draw without a gradient.

    Example:
        >>> Held().title
        'none: draws are held fixed'
    """

    def draw(self, density: Density, lead: tuple[int, ...]) -> Tensor:
        return density.draw(lead)

    @property
    def title(self) -> str:
        return "none: draws are held fixed"

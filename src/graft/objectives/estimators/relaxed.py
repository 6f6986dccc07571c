"""Relaxed draws of discrete variables: gradients pass through values that lie between the states."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from graft.distributions.density import Density
from graft.distributions.density_families import BernoulliDensity, CategoricalDensity
from graft.distributions.supports import Binary, Finite, Support
from graft.errors import GraftError
from graft.objectives.estimators.base import Estimator
from graft.objectives.schedules import Schedule, as_schedule


class _Relaxed(Estimator):
    biased: ClassVar[bool] = True
    relaxes: ClassVar[bool] = True

    def check(self, name: str, support: Support | None, axes: tuple[str, ...]) -> None:
        if not isinstance(support, Binary | Finite):
            raise GraftError(f"{name} is not discrete: {type(self).__name__} relaxes binary units and finite states")


class StraightThrough(_Relaxed):
    r"""Hard draws whose gradient is that of the probabilities: biased.

    Forward $b \sim q$; backward $\partial b / \partial \ell = \partial q(1) / \partial \ell$.

    Source: Bengio, Léonard & Courville 2013, section 4; Hinton's lectures, 2012.

    Example:
        >>> StraightThrough().title
        'StraightThrough (biased)'
    """

    def draw(self, density: Density, lead: tuple[int, ...]) -> Tensor:
        probs = _probabilities(density)
        hard = density.draw(lead)
        if isinstance(density, CategoricalDensity):
            hard = torch.nn.functional.one_hot(hard, density.states).to(probs.dtype)
        return hard + (probs - probs.detach())


class GumbelSoftmax(_Relaxed):
    r"""$y = \mathrm{softmax}((\ell + g) / \tau)$ with Gumbel noise $g$; for units, $\sigma((\ell + g_1 - g_0)/\tau)$.

    Biased for $\tau > 0$; the discrete model is what is evaluated. With `hard=True` the value is the nearest state and
    the gradient that of the relaxed one.

    Args:
        temperature: a positive number, or a schedule of the step.
        hard: straight-through.

    Raises:
        GraftError: a temperature that is not positive.

    Source: Jang, Gu & Poole 2017, eq. 2; Maddison, Mnih & Teh 2017.

    Example:
        >>> GumbelSoftmax(0.5, hard=True).title
        'GumbelSoftmax(hard) (biased)'
    """

    def __init__(self, temperature: float | Schedule = 1.0, hard: bool = False) -> None:
        super().__init__()
        self.temperature, self.hard = as_schedule(temperature, "temperature", positive=True), hard

    def draw(self, density: Density, lead: tuple[int, ...]) -> Tensor:
        heat = self.temperature.now(self.training)
        soft = relaxed(density, lead, heat)
        if not self.hard:
            return soft
        if isinstance(density, CategoricalDensity):
            nearest = torch.nn.functional.one_hot(soft.argmax(-1), density.states).to(soft.dtype)
        else:
            nearest = (soft > 0.5).to(soft.dtype)
        return nearest + (soft - soft.detach())

    @property
    def title(self) -> str:
        return f"GumbelSoftmax{'(hard)' if self.hard else ''} (biased)"


def relaxed(density: Density, lead: tuple[int, ...], temperature: float | Tensor) -> Tensor:
    """A relaxed draw, (lead, event) of units or (lead, states)."""
    if isinstance(density, CategoricalDensity):
        logits = density.logits
        uniform = torch.rand((*lead, density.states), dtype=logits.dtype, device=logits.device)
        return ((logits - (-uniform.clamp_min(_tiny(uniform)).log()).log()) / temperature).softmax(-1)
    logits = _units(density).logits
    uniform = torch.rand((*lead, *density.event), dtype=logits.dtype, device=logits.device)
    uniform = uniform.clamp(_tiny(uniform), 1 - torch.finfo(uniform.dtype).eps)
    return ((logits + uniform.log() - (-uniform).log1p()) / temperature).sigmoid()


def _probabilities(density: Density) -> Tensor:
    return density.probs if isinstance(density, CategoricalDensity) else _units(density).probs


def _units(density: Density) -> BernoulliDensity:
    if not isinstance(density, BernoulliDensity):
        raise GraftError(f"{density.family} is neither Bernoulli nor categorical: it cannot be relaxed")
    return density


def _tiny(like: Tensor) -> float:
    return torch.finfo(like.dtype).tiny

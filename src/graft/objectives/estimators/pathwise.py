"""Reparameterised draws: the gradient passes through the value."""

from __future__ import annotations

from torch import Tensor

from graft.distributions.density import Density
from graft.distributions.supports import Support
from graft.errors import GraftError
from graft.objectives.estimators.base import Estimator


class Reparameterised(Estimator):
    r"""$z = g(\epsilon, \phi)$ with noise that has no parameters, so that
    $\nabla_\phi E_q[f(z)] = E_\epsilon[\nabla_\phi f(g(\epsilon, \phi))]$.

    Serves every family whose torch distribution has `rsample`: normal with diagonal or full covariance, and flows.

    Raises:
        GraftError: at a call, if the family has no such draws.

    Source: Kingma & Welling 2014, section 2.4; Rezende, Mohamed & Wierstra 2014, section 3.

    Example:
        >>> Reparameterised().title
        'Reparameterised'
    """

    def check(self, name: str, support: Support | None, axes: tuple[str, ...]) -> None:
        if support is not None and support.states is not None:
            raise GraftError(
                f"{name} is discrete ({support}), which has no reparameterised draws: use Enumerate, ScoreFunction, "
                "or (biased) StraightThrough, GumbelSoftmax"
            )

    def draw(self, density: Density, lead: tuple[int, ...]) -> Tensor:
        if not density.reparameterised:
            raise GraftError(f"{density.family} has no reparameterised draws: use ScoreFunction for its variable")
        return density.rdraw(lead)


class StickingTheLanding(Reparameterised):
    r"""Reparameterised draws without the direct part of the gradient of $\log q_\phi(z)$, whose mean is zero.

    Its variance vanishes where the guide equals the posterior.

    Source: Roeder, Wu & Duvenaud 2017, section 2.

    Example:
        >>> StickingTheLanding.lands
        True
    """

    lands = True

"""All states of a discrete variable, each weighed by its probability: no draw, no variance."""

from __future__ import annotations

import torch
from torch import Tensor

from graft.distributions.density import Density
from graft.distributions.supports import Support
from graft.errors import GraftError
from graft.objectives.estimators.base import Estimator


class Enumerate(Estimator):
    r"""$\nabla_\phi \sum_k q_\phi(k) f(k)$, exactly; everything that follows is computed once for each state.

    Serves discrete variables without axes. Variables with axes are summed exactly when the guide leaves them out.

    Args:
        most: states that are enumerated without complaint.

    Raises:
        GraftError: the variable is not discrete, has axes, or has more states.

    Example:
        >>> from graft.distributions.supports import Finite
        >>> Enumerate().states(Finite(10))
        10
    """

    def __init__(self, most: int = 1024) -> None:
        super().__init__()
        self.most = most

    def check(self, name: str, support: Support | None, axes: tuple[str, ...]) -> None:
        if support is None or support.states is None:
            raise GraftError(f"{name} is not discrete, so its states cannot be enumerated")
        if axes:
            raise GraftError(
                f"{name} has the axes {', '.join(axes)}: states are enumerated for variables without axes; leave it "
                "out of the guide, so that it is summed exactly, or draw it"
            )
        if support.states > self.most:
            raise GraftError(f"{name} has {support.states} states, more than Enumerate(most={self.most}) goes through")

    def states(self, support: Support | None) -> int | None:
        return None if support is None else support.states

    def draw(self, density: Density, lead: tuple[int, ...]) -> Tensor:
        raise AssertionError("enumerated variables are laid out, not drawn")


def laid_out(support: Support, place: int, lead: tuple[int, ...], like: Tensor | None = None) -> Tensor:
    """All states along one leading dimension, the same along the others: (lead, event)."""
    assert support.states is not None
    values = support.decode(torch.arange(support.states, device=None if like is None else like.device))
    if like is not None and values.is_floating_point():
        values = values.to(like.dtype)
    shape = [1] * len(lead)
    shape[place] = support.states
    return values.reshape((*shape, *support.event_shape)).expand((*lead, *support.event_shape))

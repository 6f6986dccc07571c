"""Normalising flows of another library, with inputs as a formula has them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from graft.distributions.supports import Real
from graft.errors import GraftError, ShapeError
from graft.factors.base import Call, Conditional, apply_network


class Flow(Conditional):
    """A module `flow(context)` that returns a distribution over vectors, such as a flow of zuko.

    A bare flow serves as a conditional of one real vector. This serves any inputs: several, joined on the last axis;
    states, one-hot; scalars; images, through a network that makes a context of them.

    Args:
        flow: called with the context, (leading, features), or with nothing if the formula has no inputs.
        dim: the length of the vector.
        net: makes the context of the inputs; without one they are the context.
        onehot: categorical inputs one-hot.
        concat: give the network its inputs joined on the last axis.

    Raises:
        GraftError: inputs apart, or states as they are, and no network to read them; at a call, the module returned no
            distribution.
        ShapeError: at a call, another event shape than `dim`, or a context of another width than the flow reads.

    Source: Rezende & Mohamed 2015; as a library, Rozet et al. 2022 (zuko).

    Example:
        >>> from graft.model import Model
        >>> class Shifted(nn.Linear):
        ...     def forward(self, c):
        ...         return torch.distributions.Independent(torch.distributions.Normal(super().forward(c), 1.0), 1)
        >>> model = Model({"x | a, b": Flow(Shifted(5, 2), dim=2)})
        >>> model.log_prob(a=torch.zeros(4, 3), b=torch.zeros(4, 2), x=torch.zeros(4, 2)).shape
        torch.Size([4])
    """

    def __init__(
        self,
        flow: nn.Module,
        *,
        dim: int,
        net: nn.Module | None = None,
        onehot: bool = True,
        concat: bool = True,
    ) -> None:
        super().__init__()
        if net is None and not (onehot and concat):
            raise GraftError("onehot=False and concat=False are for a network: net=...")
        self.flow, self.net, self.dim, self.onehot, self.concat = flow, net, dim, onehot, concat
        self.support = Real(dim)
        #: widths of context for which the flow was seen to work
        self._served: set[int] = set()

    def distribution(self, inputs: tuple[Tensor, ...], call: Call) -> Distribution:
        context = None
        if inputs or self.net is not None:
            net: Callable[..., Tensor] = _same if self.net is None else self.net
            context = apply_network(net, inputs, call, onehot=self.onehot, concat=self.concat)
        found = self.flow() if context is None else self.flow(context)
        if not isinstance(found, Distribution):
            raise GraftError(f"Flow: {type(self.flow).__name__} returned {type(found).__name__}, not a distribution")
        if tuple(found.event_shape) != (self.dim,):
            raise ShapeError(f"Flow: event shape {tuple(found.event_shape)}, where dim={self.dim}")
        width = 0 if context is None else context.shape[-1]
        if width not in self._served:
            self._try(found)
            self._served.add(width)
        return found

    def _try(self, found: Distribution) -> None:
        """Ask for a density: a flow that reads its context only then complains of it here, where it has a name."""
        like = next(self.flow.parameters(), torch.zeros(()))
        with torch.no_grad(), suppress(ValueError):  # zeros may lie outside the support
            found.log_prob(torch.zeros((*found.batch_shape, self.dim), dtype=like.dtype, device=like.device))


def _same(context: Tensor) -> Tensor:
    return context

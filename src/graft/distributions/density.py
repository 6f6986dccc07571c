"""Densities on the hot path: what estimators ask of a distribution, without the cost of making one.

A `torch.distributions.Distribution` checks and broadcasts its parameters when it is made, which takes as long as a
small network. A density keeps parameters as they are, of shape (some leading dimensions, event), where the leading ones
broadcast from the right; the three families of the usual guides are written out in `density_families`, and every other
distribution is wrapped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch import distributions as td

from graft.distributions.marginal import log_prob
from graft.errors import GraftError


class Density(ABC):
    """A family with its parameters.

    Attributes:
        event_rank: dimensions of one value.
        reparameterised: whether draws carry gradients to the parameters.
    """

    event_rank: int
    reparameterised: bool

    @property
    @abstractmethod
    def family(self) -> str:
        """Its name, for messages."""

    @property
    @abstractmethod
    def leading(self) -> tuple[int, ...]:
        """The leading shape of the parameters."""

    @property
    @abstractmethod
    def event(self) -> tuple[int, ...]:
        """The shape of one value."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading shape and event."""
        return (*self.leading, *self.event)

    @property
    def like(self) -> Tensor | None:
        """A parameter, whose type and device values take; None if it does not say."""
        return None

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of values (leading, event): leading. Linear between the corners for relaxed discrete values."""

    @abstractmethod
    def draw(self, lead: tuple[int, ...]) -> Tensor:
        """Values (lead, event) without gradients."""

    @abstractmethod
    def rdraw(self, lead: tuple[int, ...]) -> Tensor:
        """Values (lead, event) whose gradients reach the parameters.

        Raises:
            GraftError: if the family has no such draws.
        """

    @abstractmethod
    def entropy(self) -> Tensor | None:
        """In nats, leading; None where it has no closed form."""

    def kl(self, other: Density) -> Tensor | None:
        """The divergence from this density to another, in nats, leading; None where it has no closed form."""
        try:
            return td.kl_divergence(self.distribution(), other.distribution())
        except NotImplementedError:
            return None

    @abstractmethod
    def distribution(self) -> td.Distribution:
        """The same as a torch distribution."""


class Wrapped(Density):
    """Any torch distribution as a density.

    Example:
        >>> gamma = Wrapped(td.Independent(td.Gamma(torch.ones(4, 3), torch.ones(4, 3)), 1))
        >>> gamma.leading, gamma.event, gamma.rdraw((2, 4)).shape
        ((4,), (3,), torch.Size([2, 4, 3]))
    """

    def __init__(self, dist: td.Distribution) -> None:
        self.dist = dist
        self.event_rank = len(dist.event_shape)
        self.reparameterised = bool(dist.has_rsample)

    @property
    def family(self) -> str:
        base = self.dist.base_dist if isinstance(self.dist, td.Independent) else self.dist
        return type(base).__name__

    @property
    def leading(self) -> tuple[int, ...]:
        return tuple(self.dist.batch_shape)

    @property
    def event(self) -> tuple[int, ...]:
        return tuple(self.dist.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return log_prob(self.dist, value)

    def draw(self, lead: tuple[int, ...]) -> Tensor:
        with torch.no_grad():
            return self.dist.sample(self._extra(lead))

    def rdraw(self, lead: tuple[int, ...]) -> Tensor:
        if not self.reparameterised:
            raise GraftError(f"{self.family} has no reparameterised draws")
        return self.dist.rsample(self._extra(lead))

    def entropy(self) -> Tensor | None:
        try:
            return self.dist.entropy()
        except NotImplementedError:
            return None

    def distribution(self) -> td.Distribution:
        return self.dist

    def _extra(self, lead: tuple[int, ...]) -> tuple[int, ...]:
        """The dimensions to draw, the parameters having the others; a wide draw where they must be spread."""
        own = self.leading
        if tuple(lead[len(lead) - len(own) :]) != own:
            self.dist = self.dist.expand(lead)
            return ()
        return tuple(lead[: len(lead) - len(own)])

"""What one run of a model and its guide leaves behind: draws, and log-factors asked for by name.

Two ways of running give the same trace: `straight` for programs without axes, whose factors are called one after the
other on plain tensors, and `general` for everything else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from graft.distributions.density import Density
from graft.graph.nodes import Node

#: Makes a value of shape (lead, event) for a factor of the guide.
Drawer = Callable[[Node, Density, tuple[int, ...]], Tensor]


class Trace(ABC):
    """One run.

    Attributes:
        batch: shape of the data's leading dimensions.
        extra: dimensions before it: one for each enumerated variable, then one of samples, if asked for.
        draws: values by name, (extra, batch, axes, event).
        guide: the factors of the guide that drew.
        model: the conditionals of the model.
        unknown: names that neither evidence nor guide gives, summed out exactly.
    """

    batch: tuple[int, ...]
    extra: tuple[int, ...]
    draws: dict[str, Tensor]
    guide: tuple[Node, ...]
    model: tuple[Node, ...]
    unknown: tuple[str, ...]

    @abstractmethod
    def log_q(self, node: Node) -> Tensor:
        """The log-density of a factor of the guide at its draw, axes summed: (extra, batch) or broadcast to it."""

    @abstractmethod
    def direct(self, node: Node) -> Tensor:
        """The same, its gradient reaching the parameters alone: neither the draw nor what the factor reads."""

    @abstractmethod
    def log_p(self, node: Node) -> Tensor:
        """The log-density of a conditional of the model, likewise."""

    @abstractmethod
    def log_joint(self) -> Tensor:
        """All log-factors of the model together, what is unknown summed out."""

    @abstractmethod
    def kl(self, guide: Node, model: Node) -> Tensor | None:
        """The divergence from a factor of the guide to one of the model; None without a closed form."""

    @abstractmethod
    def entropy(self, node: Node) -> Tensor | None:
        """Of a factor of the guide; None without a closed form."""

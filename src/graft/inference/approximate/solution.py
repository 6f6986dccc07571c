"""What an engine found, and the questions that can be asked of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from graft.errors import GraftError
from graft.inference.approximate.holders import Elements
from graft.inference.approximate.network import Network


@dataclass(eq=False)
class Solution(ABC):
    """The result of an engine on one problem.

    Attributes:
        network: the problem in flat form.
        steps: how many were made.
        residual: (batch): how far each row is from the end.
        converged: (batch): whether that is within the tolerance.
    """

    network: Network
    steps: int
    residual: Float[Tensor, " batch"]
    converged: Bool[Tensor, " batch"]

    @property
    def kind(self) -> str:
        """What `value` is: estimate, lower bound or upper bound."""
        return "estimate"

    @property
    def dead(self) -> Bool[Tensor, " batch"]:
        """(batch): rows found to be impossible."""
        return self.network.constant == -torch.inf

    @property
    def value(self) -> Float[Tensor, " batch"]:
        """(batch): the approximation of log Z.

        Raises:
            GraftError: if the engine has none.
        """
        raise GraftError(self.lacks("log_partition"))

    @abstractmethod
    def marginals(self) -> list[Tensor]:
        """Per layer (states, batch, elements): probabilities."""

    @abstractmethod
    def joint(self, wanted: Sequence[Elements], what: str) -> Tensor:
        """(states of each term, batch, columns): joint probabilities of several elements per column.

        Raises:
            GraftError: if the engine has no such table.
        """

    def entropy(self) -> Float[Tensor, " batch"]:
        """(batch): the entropy that belongs to the approximation, in nats.

        Raises:
            GraftError: if the engine has none.
        """
        raise GraftError(self.lacks("entropy"))

    def mode(self) -> list[Tensor]:
        """Per layer (batch, elements): the states of an assignment of high probability.

        Raises:
            GraftError: if the engine has none.
        """
        raise GraftError(self.lacks("mode"))

    def draws(self, count: int) -> list[Tensor]:
        """Per layer (draws, batch, elements): joint samples.

        Raises:
            GraftError: if the engine has none.
        """
        raise GraftError(self.lacks("sample"))

    def lacks(self, what: str) -> str:
        """The message for a question that the engine cannot answer."""
        others = {
            "log_partition": "LoopyBP() (estimate), TreeReweighted() (upper bound) and MeanField() (lower bound)",
            "entropy": "LoopyBP(), TreeReweighted() and MeanField()",
            "mode": "LoopyBP(temperature=0) and MeanField()",
            "sample": "Gibbs()",
        }
        return f"{self.engine} has no {what}; of the approximate engines it is had from {others[what]}"

    @property
    def engine(self) -> str:
        """The name of the engine, for messages."""
        return type(self).__name__

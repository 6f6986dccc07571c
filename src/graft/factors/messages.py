"""Potentials that know a better way to send messages than by their table."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from graft.factors.base import Call, TablePotential


class MessagePotential(TablePotential):
    r"""A potential without inputs that defines its own sum-product messages.

    Loopy belief propagation calls `messages` in place of summing over the table, wherever all terms of the factor are
    unknown. Other engines, and max-product, read the table.
    """

    given = ()

    @abstractmethod
    def messages(self, incoming: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        r"""The message to each term, $m_i(x_i) = \log \sum_{x_j, j \ne i} e^{\psi(x) + \sum_{j \ne i} c_j(x_j)}$.

        Args:
            incoming: per term $c_j$, (states, rows): logarithms, finite or `-inf`.

        Returns:
            Per term (states, rows), differentiable, not normalised; equal to what the table gives.
        """

    def message_table(self) -> Tensor:
        """The log-potentials that the messages are of: one axis of states per term."""
        return self.table((), Call(None))

"""One summand of a bound."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from graft.graph.nodes import Node


@dataclass(frozen=True)
class Term:
    """One summand.

    Attributes:
        label: as in the loss's `terms`.
        value: (extra, batch), or broadcast to it.
        depends: draws that it depends on.
        how: what it is of the factors in `of`: minus `log_q`, minus the `kl` of the first to the second, `entropy`,
            `log_p`.
        of: those factors; none if it is the sum of all of them, or scaled.
    """

    label: str
    value: Tensor
    depends: frozenset[str]
    how: str = "log_p"
    of: tuple[Node, ...] = ()

    def scaled(self, beta: float) -> Term:
        """Times a number."""
        return self if beta == 1.0 else replace(self, value=self.value * beta, of=())

"""A table of log-potentials that a network returns."""

from __future__ import annotations

from torch import Tensor, nn

from graft.distributions.supports import Finite
from graft.errors import ShapeError
from graft.factors.base import Call, TablePotential, apply_network
from graft.factors.events import check_event


class Scores(TablePotential):
    """Log-potentials from a network, with one axis of states per left term, in order.

    Args:
        net: returns leading (+ axes), then one axis per left term.
        states: the number of states of each left term, if they are to be checked.
        onehot: give the network its categorical inputs one-hot.
        concat: give the network its inputs joined on the last axis.

    Raises:
        ShapeError: at a call, if the output does not have these states.

    Example:
        >>> import torch
        >>> from graft.distributions.supports import Real
        >>> from graft.factors.base import Argument
        >>> emission = Scores(nn.Linear(4, 17), states=(17,))
        >>> words = torch.zeros(2, 9, 4)
        >>> emission.table((words,), Call(1, (Argument("words", Real(4), whole=1),), as_given=True)).shape
        torch.Size([2, 9, 17])
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        states: int | tuple[int, ...] | None = None,
        onehot: bool = True,
        concat: bool = True,
    ) -> None:
        super().__init__()
        self.net, self.onehot, self.concat = net, onehot, concat
        self.states = (states,) if isinstance(states, int) else states
        self.supports = None if self.states is None else tuple(Finite(n) for n in self.states)

    def table(self, inputs: tuple[Tensor, ...], call: Call) -> Tensor:
        out = apply_network(self.net, inputs, call, onehot=self.onehot, concat=self.concat)
        if self.states is not None:
            check_event(out, self.states, call, f"Scores of states {self.states}")
        elif out.dim() <= (call.leading or 0):
            raise ShapeError(f"Scores needs an axis of states; its network returned {tuple(out.shape)}")
        return out

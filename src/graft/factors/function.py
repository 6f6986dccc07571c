"""A variable that a network computes."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from graft.distributions.supports import Real
from graft.factors.base import Call, apply_network
from graft.factors.base import Function as Computed
from graft.factors.events import check_event, told_event


class Function(Computed):
    """The output of a network, or of any function of tensors.

    Args:
        net: what computes the value.
        dim: the length of the vector it returns, if it is to be known and checked.
        shape: the event shape, in place of `dim`.
        onehot: give it its categorical inputs one-hot.
        concat: give it its inputs joined on the last axis.

    Raises:
        GraftError: if both `dim` and `shape` are told.
        ShapeError: at a call, if the output has another event shape.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from graft.distributions.supports import Finite
        >>> from graft.factors.base import Argument
        >>> decoder = Function(nn.Linear(5, 2), dim=2)
        >>> call = Call(1, (Argument("z", Real(3)), Argument("c", Finite(2))))
        >>> decoder.compute((torch.zeros(7, 3), torch.zeros(7, dtype=torch.long)), call).shape
        torch.Size([7, 2])
    """

    def __init__(
        self,
        net: Callable[..., Tensor],
        *,
        dim: int | None = None,
        shape: tuple[int, ...] | None = None,
        onehot: bool = True,
        concat: bool = True,
    ) -> None:
        super().__init__()
        self.net, self.onehot, self.concat = net, onehot, concat
        self.event = told_event(dim, shape)
        self.support = None if self.event is None else Real(*self.event)

    def compute(self, inputs: tuple[Tensor, ...], call: Call) -> Tensor:
        out = apply_network(self.net, inputs, call, onehot=self.onehot, concat=self.concat)
        if self.event is not None:
            check_event(out, self.event, call, "Function")
        return out

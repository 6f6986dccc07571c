"""A potential that only a network knows."""

from __future__ import annotations

from torch import Tensor, nn

from graft.errors import ShapeError
from graft.factors.base import Call, Potential, apply_network
from graft.factors.events import names


class Energy(Potential):
    r"""A log-potential $-E(v, x)$ that a network computes: opaque to exact engines.

    The network receives the values of the left terms, then the inputs, apart. It returns the *negative*
    energy, one number per row, of shape (rows,) or (rows, 1).

    Args:
        net: takes one tensor per left term and input.
        onehot: give it categorical values and inputs one-hot.

    Raises:
        ShapeError: at a call, if the output is not one number per row.

    Example:
        >>> import torch
        >>> from graft.distributions.supports import Real
        >>> from graft.factors.base import Argument
        >>> energy = Energy(nn.Bilinear(3, 2, 1))
        >>> call = Call(2, (Argument("y", Real(3)), Argument("x", Real(2))))
        >>> energy.log_potential((torch.zeros(4, 5, 3),), (torch.zeros(4, 1, 2),), call).shape
        torch.Size([4, 5])
    """

    def __init__(self, net: nn.Module, *, onehot: bool = True) -> None:
        super().__init__()
        self.net, self.onehot = net, onehot

    def log_potential(self, values: tuple[Tensor, ...], inputs: tuple[Tensor, ...], call: Call) -> Tensor:
        out = apply_network(self.net, (*values, *inputs), call, onehot=self.onehot, concat=False)
        if call.leading is None:
            return out
        if out.dim() == call.leading + 1 and out.shape[-1] == 1:
            out = out.squeeze(-1)
        if out.dim() != call.leading:
            raise ShapeError(
                f"Energy needs one number per row, of {call.leading} leading dimensions; its network "
                f"returned {tuple(out.shape)} from ({names(call)})"
            )
        return out

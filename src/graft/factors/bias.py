"""A potential of one vector: the biases of a Boltzmann machine."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graft.errors import ShapeError
from graft.factors.base import Call, LinearPotential
from graft.factors.bilinear import vector_of
from graft.factors.events import refuse_inputs


class Bias(LinearPotential):
    r"""The log-potential $b^\top v$ of one vector term; a categorical term counts as its one-hot vector.

    Args:
        dim: the length of the term.

    Raises:
        ShapeError: at a call, if there is not one term of this length, or there are inputs.

    Example:
        >>> from graft.distributions.supports import Binary
        >>> from graft.factors.base import Argument
        >>> Bias(3).log_potential((torch.ones(5, 3),), (), Call(1, (Argument("v", Binary(3)),))).shape
        torch.Size([5])
    """

    given = ()

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.supports = (None,)
        self.bias = nn.Parameter(0.1 * torch.randn(dim))

    def log_potential(self, values: tuple[Tensor, ...], inputs: tuple[Tensor, ...], call: Call) -> Tensor:
        refuse_inputs(inputs, call, "Bias")
        if len(values) != 1:
            raise ShapeError(f"Bias is a potential of one term, not of {len(values)}")
        return vector_of(values[0], call.arguments[0], len(self.bias)).to(self.bias.dtype) @ self.bias

    def linear(
        self, position: int, values: tuple[Tensor | None, ...], inputs: tuple[Tensor, ...], call: Call
    ) -> Tensor:
        """The biases, whatever the other values."""
        refuse_inputs(inputs, call, "Bias")
        return self.bias.reshape(*(1,) * (call.leading or 0), -1)

    def extra_repr(self) -> str:
        return str(len(self.bias))

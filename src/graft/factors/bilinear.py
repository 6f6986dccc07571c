"""The interaction of two vectors: the edge of a Boltzmann machine."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graft.errors import ShapeError
from graft.factors.base import Argument, Call, LinearPotential, encode
from graft.factors.events import refuse_inputs


class Bilinear(LinearPotential):
    r"""The log-potential $a^\top W b$ of two vector terms, as in a restricted Boltzmann machine.

    A categorical term counts as its one-hot vector.

    Args:
        a: the length of the first term.
        b: the length of the second.

    Raises:
        ShapeError: at a call, if there are not two terms of these lengths, or there are inputs.

    Example:
        >>> from graft.distributions.supports import Binary
        >>> edge = Bilinear(3, 2)
        >>> call = Call(1, (Argument("v", Binary(3)), Argument("h", Binary(2))))
        >>> edge.log_potential((torch.ones(5, 3), torch.ones(1, 2)), (), call).shape
        torch.Size([5])
    """

    given = ()

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.supports = (None, None)
        self.weight = nn.Parameter(0.1 * torch.randn(a, b))

    def log_potential(self, values: tuple[Tensor, ...], inputs: tuple[Tensor, ...], call: Call) -> Tensor:
        a, b = self._vector(0, values, call), self._vector(1, values, call)
        refuse_inputs(inputs, call, "Bilinear")
        return torch.linalg.vecdot(a @ self.weight, b)

    def linear(
        self, position: int, values: tuple[Tensor | None, ...], inputs: tuple[Tensor, ...], call: Call
    ) -> Tensor:
        """W b for the first term, W^T a for the second."""
        refuse_inputs(inputs, call, "Bilinear")
        weight = self.weight.T if position == 0 else self.weight
        return self._vector(1 - position, values, call) @ weight

    def _vector(self, position: int, values: tuple[Tensor | None, ...], call: Call) -> Tensor:
        value = values[position] if len(values) == 2 else None
        if value is None:
            raise ShapeError(f"Bilinear needs the values of two terms, not {len(values)}")
        argument = call.arguments[position]
        return vector_of(value, argument, self.weight.shape[position]).to(self.weight.dtype)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.weight.shape))


def vector_of(value: Tensor, argument: Argument, length: int) -> Tensor:
    """A value as a vector of this length, one-hot if it is categorical.

    Raises:
        ShapeError: if it has another length.
    """
    vector = encode(value, argument)
    if vector.shape[-1:] != (length,):
        raise ShapeError(f"{argument.name} has shape {tuple(value.shape)}, where a vector of {length} is due")
    return vector

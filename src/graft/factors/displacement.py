"""A pair potential on a grid that depends only on where one variable lies from the other."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graft.distributions.supports import Finite
from graft.factors.base import Call, TablePotential
from graft.factors.events import refuse_inputs


class Displacement(TablePotential):
    r"""The log-potential of two grid positions by their displacement,
    $\psi(p, q) = k[q - p + (H - 1, W - 1)]$.

    The terms have support `Finite((H, W))` each. Messages through it are convolutions with `kernel`.

    Source: J. Tompson et al., Joint training of a convolutional network and a graphical model for human pose
    estimation, NeurIPS 2014, section 3.2.

    Args:
        height: H.
        width: W.

    Raises:
        ShapeError: at a call, if there are inputs.

    Example:
        >>> limb = Displacement(3, 4)
        >>> table = limb.table((), Call(1))
        >>> table.shape, bool(table[0, 5] == limb.kernel[2 + 1, 3 + 1])
        (torch.Size([12, 12]), True)
    """

    given = ()

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.kernel = nn.Parameter(0.1 * torch.randn(2 * height - 1, 2 * width - 1))
        self.supports = (Finite((height, width)),) * 2

    def table(self, inputs: tuple[Tensor, ...], call: Call) -> Float[Tensor, "cells cells"]:
        refuse_inputs(inputs, call, "Displacement")
        # window [a, b, k, l] of the kernel is kernel[a + k, b + l]; position (i, j) is window (H-1-i, W-1-j)
        windows = self.kernel.unfold(0, self.height, 1).unfold(1, self.width, 1)
        cells = self.height * self.width
        return windows.flip(0, 1).reshape(cells, cells)

    def extra_repr(self) -> str:
        return f"{self.height}, {self.width}"

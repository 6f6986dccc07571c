"""A pair potential on a grid that depends only on where one variable lies from the other."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graft.distributions.supports import Finite
from graft.errors import GraftError
from graft.factors.base import Call
from graft.factors.convolution import log_correlate
from graft.factors.events import refuse_inputs
from graft.factors.messages import MessagePotential
from graft.ops.logspace import logsumexp


class Displacement(MessagePotential):
    r"""The log-potential of two grid positions by their displacement,
    $\psi(p, q) = k[q - p + (H - 1, W - 1)]$.

    The terms have support `Finite((H, W))` each. Loopy belief propagation sends messages through it as convolutions
    with $e^k$, by FFT in $O(HW \log HW)$ and without the table; every entry is right to about $10^{-6}$ (see
    `log_correlate`).

    Source: J. Tompson et al., Joint training of a convolutional network and a graphical model for human pose
    estimation, NeurIPS 2014, section 3.2.

    Args:
        height: H.
        width: W.
        method: of messages: "fft", or "table" to sum over all pairs of positions in log space.

    Raises:
        GraftError: no such method, or a grid without cells.
        ShapeError: at a call, if there are inputs.

    Example:
        >>> limb = Displacement(3, 4)
        >>> table = limb.table((), Call(1))
        >>> table.shape, bool(table[0, 5] == limb.kernel[2 + 1, 3 + 1])
        (torch.Size([12, 12]), True)
        >>> shoulder, elbow = torch.randn(2, 12, 5)
        >>> to_shoulder, to_elbow = limb.messages((shoulder, elbow))
        >>> torch.allclose(to_elbow, torch.logsumexp(table[:, :, None] + shoulder[:, None, :], 0), atol=1e-5)
        True
    """

    def __init__(self, height: int, width: int, method: str = "fft") -> None:
        super().__init__()
        for name, size in (("height", height), ("width", width)):
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise GraftError(f"{name} of a Displacement must be a positive whole number, not {size!r}")
        if method not in ("fft", "table"):
            raise GraftError(f"messages of a Displacement go by 'fft' or 'table', not {method!r}")
        self.height, self.width, self.method = height, width, method
        self.kernel = nn.Parameter(0.1 * torch.randn(2 * height - 1, 2 * width - 1))
        self.supports = (Finite((height, width)),) * 2

    def table(self, inputs: tuple[Tensor, ...], call: Call) -> Float[Tensor, "cells cells"]:
        refuse_inputs(inputs, call, "Displacement")
        # window [a, b, k, l] of the kernel is kernel[a + k, b + l]; position (i, j) is window (H-1-i, W-1-j)
        windows = self.kernel.unfold(0, self.height, 1).unfold(1, self.width, 1)
        cells = self.height * self.width
        return windows.flip(0, 1).reshape(cells, cells)

    def messages(self, incoming: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        first, second = (part.T.reshape(-1, self.height, self.width) for part in incoming)
        if self.method == "table":
            table = self.message_table()
            return _summed(table.T, incoming[1]), _summed(table, incoming[0])
        # towards the first term the displacement is turned round
        to_first, to_second = log_correlate(second, self.kernel), log_correlate(first, self.kernel.flip(0, 1))
        return to_first.flatten(1).T, to_second.flatten(1).T

    def extra_repr(self) -> str:
        return f"{self.height}, {self.width}" + ("" if self.method == "fft" else f", method={self.method!r}")


def _summed(table: Tensor, incoming: Tensor) -> Tensor:
    """(states, rows): the log-sum over the first axis of a table, row by row, which bounds the memory."""
    return torch.stack([logsumexp(table + row.unsqueeze(-1), 0) for row in incoming.T], -1)

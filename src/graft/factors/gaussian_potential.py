"""A network's Gaussian message to one real vector."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn
from torch.nn.functional import softplus

from graft.distributions.supports import Real
from graft.errors import ShapeError
from graft.factors.base import Call, Potential, apply_network
from graft.factors.events import check_event


class GaussianPotential(Potential):
    r"""The log-potential $h^\top v - \tfrac12 \sum_i J_i v_i^2$ with natural parameters from a network.

    The halves of the network's last axis are h and r, with precision $J = \log(1 + e^r) > 0$.

    Source: M. J. Johnson et al., Composing graphical models with neural networks for structured
    representations and fast inference, NeurIPS 2016, section 4 (recognition potentials).

    Args:
        net: returns 2 d numbers for a vector of length d.
        dim: d, if it is to be checked.
        onehot: give the network its categorical inputs one-hot.
        concat: give the network its inputs joined on the last axis.

    Raises:
        ShapeError: at a call, if the output does not have the two halves, or there is more than one left
            term.

    Example:
        >>> import torch
        >>> from graft.factors.base import Argument
        >>> potential = GaussianPotential(nn.Linear(4, 6), dim=3)
        >>> h, precision = potential.natural((torch.zeros(5, 4),), Call(1, (Argument("x", Real(4)),)))
        >>> h.shape, bool((precision > 0).all())
        (torch.Size([5, 3]), True)
    """

    def __init__(self, net: nn.Module, *, dim: int | None = None, onehot: bool = True, concat: bool = True) -> None:
        super().__init__()
        self.net, self.dim, self.onehot, self.concat = net, dim, onehot, concat
        self.supports = (None if dim is None else Real(dim),)

    def natural(self, inputs: tuple[Tensor, ...], call: Call) -> tuple[Tensor, Tensor]:
        """h and the diagonal of J, each leading (+ axes if `call.as_given`), then d.

        `call.arguments` describes the inputs only.
        """
        out = apply_network(self.net, inputs, call, onehot=self.onehot, concat=self.concat)
        event = None if self.dim is None else (2 * self.dim,)
        check_event(out, event, call, "GaussianPotential, h and the precision,")
        if out.shape[-1] % 2:
            raise ShapeError(
                f"h and the precision are two halves, but the network returned {tuple(out.shape)}, of odd size"
            )
        h, raw = out.chunk(2, -1)
        return h, softplus(raw)

    def log_potential(self, values: tuple[Tensor, ...], inputs: tuple[Tensor, ...], call: Call) -> Tensor:
        if len(values) != 1:
            raise ShapeError(f"GaussianPotential is a potential of one term, not of {len(values)}")
        h, precision = self.natural(inputs, replace(call, arguments=call.arguments[1:]))
        v = values[0]
        return (v * (h - 0.5 * precision * v)).sum(-1)

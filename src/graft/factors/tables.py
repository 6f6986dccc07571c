"""A potential that is one learnable table."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graft.distributions.supports import Finite
from graft.errors import GraftError
from graft.factors.base import Call, TablePotential
from graft.factors.events import refuse_inputs


class Table(TablePotential):
    """Log-potentials of discrete terms, one axis of states per left term, in order.

    `Table(17, 17)` is learnable and starts small and random, `Table(values=tensor)` starts from given
    log-potentials. An entry of minus infinity forbids its states; it stays so, with zero gradient.

    Args:
        states: the number of states of each left term.
        values: log-potentials to start from, in place of `states`.

    Raises:
        GraftError: if neither or both are told, or a value is NaN or plus infinity.
        ShapeError: at a call, if there are inputs.

    Example:
        >>> Table(values=torch.tensor([[0.0, -torch.inf], [1.0, 2.0]])).table((), Call(1))
        tensor([[0., -inf],
                [1., 2.]], grad_fn=...)
    """

    given = ()

    def __init__(self, *states: int, values: Tensor | None = None) -> None:
        super().__init__()
        if bool(states) == (values is not None):
            raise GraftError("a table needs its numbers of states, Table(17, 17), or values=tensor")
        start = 0.1 * torch.randn(states) if values is None else _log_potentials(values)
        self.values = nn.Parameter(start)
        self.states = tuple(start.shape)
        self.supports = tuple(Finite(n) for n in self.states)

    def table(self, inputs: tuple[Tensor, ...], call: Call) -> Tensor:
        refuse_inputs(inputs, call, "Table")
        # a hard zero is a rule of the model, not a parameter
        return self.values.masked_fill(self.values == -torch.inf, -torch.inf)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.states))


def _log_potentials(values: Tensor) -> Tensor:
    if values.dim() == 0 or bool((values.isnan() | (values == torch.inf)).any()):
        raise GraftError("log-potentials are numbers or -inf, with one axis per left term")
    values = values if values.is_floating_point() else values.to(torch.get_default_dtype())
    return values.detach().clone()

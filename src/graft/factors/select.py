"""Reading the row of a plate variable that a discrete variable points to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from graft.distributions.supports import Finite
from graft.errors import ShapeError
from graft.factors.base import Argument, Call, Conditional
from graft.factors.events import names
from graft.factors.lookup import check_states, state_index


class Select(Conditional):
    r"""The inner conditional given the selected rows, as in `"z[n] | c[n], mu"`: $p(z_n \mid \mu_{c_n})$.

    The first discrete input (categorical or scalar binary) that is not read whole selects. Every input that
    is read whole is flattened over its whole axes to K rows, of which one is picked; the others pass along.

    Args:
        inner: a graft conditional, or a module that returns a distribution; it receives the inputs without
            the selector.

    Raises:
        ShapeError: at a call, if nothing selects or nothing is selected from, or the states of the selector
            are not as many as the rows.

    Example:
        >>> from graft.distributions.supports import Real
        >>> from graft.factors.gaussian import Gaussian
        >>> component = Select(Gaussian(nn.Identity(), scale=0.1))
        >>> c, mu = torch.tensor([2, 0]), torch.tensor([[1.0], [2.0], [3.0]])
        >>> call = Call(1, (Argument("c[n]", Finite(3)), Argument("mu", Real(1), whole=1)))
        >>> component.distribution((c, mu.unsqueeze(0)), call).mean
        tensor([[3.],
                [1.]])
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.support = inner.support if isinstance(inner, Conditional) else None
        self.indexes = True

    def distribution(self, inputs: tuple[Tensor, ...], call: Call) -> Distribution:
        place = _selector(inputs, call)
        argument = call.arguments[place]
        index = state_index(inputs[place], argument)
        pairs = [(v, a) for k, (v, a) in enumerate(zip(inputs, call.arguments, strict=True)) if k != place]
        picked = tuple(_Rows(v, a, call).picked(index, argument) if a.whole else v for v, a in pairs)
        if isinstance(self.inner, Conditional):
            arguments = tuple(replace(a, whole=0) for _, a in pairs)
            return self.inner.distribution(picked, replace(call, arguments=arguments))
        return self.inner(*picked)


@dataclass(frozen=True)
class _Rows:
    """An input that is read whole, and how to read it."""

    value: Tensor
    argument: Argument
    call: Call

    def picked(self, index: Tensor, selector: Argument) -> Tensor:
        """The row that each index points to: leading, then event."""
        rows, lead = self._flat(), self._lead()
        count, event = rows.shape[lead], rows.shape[lead + 1 :]
        self._check(count, selector)
        check_states(index, count, selector.name)
        # an index into all rows of all leading elements: nothing is expanded, and one index_select picks
        shape = (*rows.shape[:lead], *(1,) * (index.dim() - lead))
        first = torch.arange(prod(shape), device=index.device).reshape(shape) * count
        flat = first + index
        return rows.reshape(-1, *event).index_select(0, flat.reshape(-1)).reshape(flat.shape + event)

    def _lead(self) -> int:
        if self.call.leading is not None:
            return self.call.leading
        support = self.argument.support
        event_rank = int(self.value.is_floating_point()) if support is None else support.event_rank
        return self.value.dim() - event_rank - self.argument.whole

    def _flat(self) -> Tensor:
        lead, whole = self._lead(), self.argument.whole
        return self.value.flatten(lead, lead + whole - 1)

    def _check(self, count: int, selector: Argument) -> None:
        states = count if selector.support is None else selector.support.states
        if states != count:
            raise ShapeError(
                f"{selector.name} has {states} states, but {self.argument.name} of shape "
                f"{tuple(self.value.shape)} has {count} rows to select from"
            )


def _selector(inputs: tuple[Tensor, ...], call: Call) -> int:
    places = [k for k, a in enumerate(call.arguments) if not a.whole and _selects(inputs[k], a)]
    if not places or not any(a.whole for a in call.arguments):
        raise ShapeError(f"Select needs a discrete input and one read whole, not ({names(call)})")
    return places[0]


def _selects(value: Tensor, argument: Argument) -> bool:
    support = argument.support
    if support is None:
        return not value.is_floating_point()
    return isinstance(support, Finite) or (support.states is not None and support.event_rank == 0)

"""A recurrent cell as the function that computes the next state of a network."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import torch
from torch import Tensor, nn

from graft.distributions.supports import Real
from graft.errors import GraftError, ShapeError
from graft.factors.base import Call, Function, apply_network

State = Tensor | tuple[Tensor, Tensor]


class Recurrent(Function):
    r"""The next state of a cell, $h_t = f(x_t, h_{t-1})$; the last input of the formula is its own past.

    The other inputs are encoded and joined to one vector. An LSTM's state is a pair, kept for the next step,
    of which readers see the first.

    Args:
        cell: `nn.GRUCell`, `nn.RNNCell`, `nn.LSTMCell`, or any module called as cell(input, past) on rows.
        dim: the length of a state, where the cell has no attribute `hidden_size`.
        learn_initial: learn the state before the first, instead of zeros.
        pair: the state is a pair of tensors; by default only an LSTM's is.
        onehot: give the cell its categorical inputs one-hot.

    Raises:
        GraftError: if nobody says how long a state is.
        ShapeError: at a call, if a state does not fit.

    Example:
        >>> from graft.factors.base import Argument
        >>> h = Recurrent(nn.GRUCell(3, 4))
        >>> call = Call(1, (Argument("x[t]", Real(3)), Argument("h[t-1]", Real(4))))
        >>> h.output(h.step((torch.zeros(7, 3),), h.initial((7,)), call)).shape
        torch.Size([7, 4])
    """

    def __init__(
        self,
        cell: nn.Module,
        *,
        dim: int | None = None,
        learn_initial: bool = False,
        pair: bool | None = None,
        onehot: bool = True,
    ) -> None:
        super().__init__()
        self.cell, self.onehot = cell, onehot
        self.dim = _length(cell, dim)
        self.pair = isinstance(cell, nn.LSTMCell) if pair is None else pair
        self.support = Real(self.dim)
        start = torch.zeros(2 if self.pair else 1, self.dim)
        self.start = nn.Parameter(start) if learn_initial else None

    def initial(self, batch_shape: tuple[int, ...]) -> State:
        """The state before the first one: learnt or zeros, of shape batch_shape, then dim."""
        start: Tensor | None = self.start
        if start is None:
            like = next(self.cell.parameters(), torch.zeros(()))
            start = torch.zeros(2 if self.pair else 1, self.dim, dtype=like.dtype, device=like.device)
        states = start.reshape(-1, *(1,) * len(batch_shape), self.dim).expand(-1, *batch_shape, self.dim)
        return (states[0], states[1]) if self.pair else states[0]

    def started(self, output: Tensor) -> State:
        """The state that readers see as this output: an LSTM's memory is as it was before the first step."""
        if not self.pair:
            return output
        memory = self.initial(tuple(output.shape[:-1]))[1]
        return output, memory

    def step(self, inputs: tuple[Tensor, ...], past: State, call: Call) -> State:
        """The next state from the inputs (without the past) and the past state.

        `call.arguments` describes the inputs; what it says of the past is not read.
        """
        parts = past if isinstance(past, tuple) else (past,)
        self._check_past(parts)
        lead = parts[0].dim() - 1 if call.leading is None else call.leading
        features = self._features(inputs, replace(call, leading=lead), parts[0])
        shape = torch.broadcast_shapes(features.shape[:lead], parts[0].shape[:lead])
        # the cell takes rows only: (N, features) and (N, dim)
        x, *rows = (_rows(v, shape, lead) for v in (features, *parts))
        state = self.cell(x, tuple(rows) if self.pair else rows[0])
        if self.pair:
            return state[0].reshape(*shape, self.dim), state[1].reshape(*shape, self.dim)
        return state.reshape(*shape, self.dim)

    def output(self, state: State) -> Tensor:
        """What readers of the variable see of a state."""
        return state[0] if isinstance(state, tuple) else state

    def compute(self, inputs: tuple[State, ...], call: Call) -> Tensor:
        """One step from the inputs, the last of which is the past state."""
        tensors = tuple(x for x in inputs[:-1] if isinstance(x, Tensor))
        return self.output(self.step(tensors, inputs[-1], call))

    def _features(self, inputs: tuple[Tensor, ...], call: Call, past: Tensor) -> Tensor:
        if not inputs:
            return past[..., :0]
        call = replace(call, arguments=call.arguments[: len(inputs)])
        return apply_network(_same, inputs, call, onehot=self.onehot)

    def _check_past(self, parts: tuple[Tensor, ...]) -> None:
        if len(parts) != (2 if self.pair else 1):
            raise ShapeError("an LSTM steps from its pair of states, not from its output alone")
        for part in parts:
            if part.shape[-1:] != (self.dim,):
                raise ShapeError(f"the cell has a past of length {self.dim}, not of shape {tuple(part.shape)}")


def _same(x: Tensor) -> Tensor:
    return x


def _rows(x: Tensor, shape: tuple[int, ...], lead: int) -> Tensor:
    wide = x.shape[lead:]
    return x.expand(shape + wide).reshape(prod(shape), prod(wide))


def _length(cell: nn.Module, dim: int | None) -> int:
    known: int | None = getattr(cell, "hidden_size", None)
    length = known if dim is None else dim
    if length is None:
        raise GraftError(f"{type(cell).__name__} does not say its hidden_size: give dim=")
    if known is not None and length != known:
        raise GraftError(f"dim={dim}, but the cell's hidden_size is {known}")
    return length

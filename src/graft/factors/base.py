"""The contract between a formula and the module that stands right of it.

A *conditional* returns a `torch.distributions.Distribution`, a *function* a tensor, a *potential*
log-potentials. Each receives its inputs as plain tensors, in the order of the formula, together with a `Call`
that tells how their dimensions are to be read. A bare `nn.Module` receives the tensors alone.

Shapes. Every input has `leading` dimensions, which all inputs share up to broadcasting (size 1 where an input
lacks an axis), then its own: axes read whole, then event. A factor flattens the leading dimensions to one
around its network and restores them. What comes back has the leading dimensions, then the event (conditional,
function) or nothing (the value of a potential).

Where a factor reads only inputs of the model, its inputs arrive as the user gave them: `leading` then counts
the batch alone (None: not known yet, do not flatten), and the output carries the axes of the formula after
the batch, so that a BiLSTM over (batch, time, features) returns (batch, time, outputs).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from graft.distributions.density import Density
from graft.distributions.density_of import density_of
from graft.distributions.supports import Binary, Finite, Support
from graft.errors import GraftError, ShapeError

Kind = Literal["conditional", "potential", "function"]


@dataclass(frozen=True)
class Argument:
    """What a factor is told about one of its inputs (or, for a potential, about one of its left terms).

    Attributes:
        name: the term as written, for messages.
        support: what values it takes; None if nobody said.
        whole: how many axes are read whole; they stand between the leading and the event dimensions.
    """

    name: str
    support: Support | None = None
    whole: int = 0


@dataclass(frozen=True)
class Call:
    """How the tensors of one call are to be read.

    Attributes:
        leading: number of leading dimensions to flatten around a network; None leaves the inputs as they are.
        arguments: one per input.
        as_given: the factor reads only inputs of the model, so its output carries the axes after the batch.
    """

    leading: int | None
    arguments: tuple[Argument, ...] = ()
    as_given: bool = False

    @cached_property
    def plain(self) -> bool:
        """Whether one vector of numbers is read by row: nothing is to be encoded, flattened or joined."""
        if self.leading != 1 or len(self.arguments) != 1:
            return False
        support = self.arguments[0].support
        return support is None or (support.event_rank > 0 and not isinstance(support, Finite))


class Factor(nn.Module, ABC):
    """A module that knows its kind before any call.

    Attributes:
        kind: conditional, potential or function.
        indexes: the factor looks states up in a table, so it cannot read *no state* (-1).
        support: of the variable on the left, where the factor knows it.
        given: the number of states of each parent that the factor looks up; () if it takes no inputs at all, None
            if it does not say.
    """

    kind: ClassVar[Kind]
    indexes: bool = False
    support: Support | None = None
    given: tuple[int, ...] | None = None


class Conditional(Factor):
    """A factor that returns a distribution over the one variable on its left."""

    kind = "conditional"

    @abstractmethod
    def distribution(self, inputs: tuple[Tensor, ...], call: Call) -> Distribution:
        """The distribution given the inputs; batch shape = leading (+ axes if `call.as_given`)."""

    def density(self, inputs: tuple[Tensor, ...], call: Call) -> Density:
        """The same as a `Density`, whose parameters need not be spread over the leading dimensions."""
        return density_of(self.distribution(inputs, call))


class Function(Factor):
    """A factor that computes the variable on its left."""

    kind = "function"

    @abstractmethod
    def compute(self, inputs: tuple[Tensor, ...], call: Call) -> Tensor:
        """The value given the inputs: leading (+ axes if `call.as_given`), then event."""


class Potential(Factor):
    """A factor over one or several variables, not normalised.

    Attributes:
        supports: of the left terms in order, where the factor knows them.
    """

    kind = "potential"
    supports: tuple[Support | None, ...] | None = None

    @abstractmethod
    def log_potential(self, values: tuple[Tensor, ...], inputs: tuple[Tensor, ...], call: Call) -> Tensor:
        """The log-potential at these values of the left terms, summed over events: shape = leading.

        `call.arguments` describes the left terms, then the inputs.
        """


class LinearPotential(Potential):
    """A potential that is linear in each of its vector terms when the others are fixed."""

    @abstractmethod
    def linear(
        self, position: int, values: tuple[Tensor | None, ...], inputs: tuple[Tensor, ...], call: Call
    ) -> Tensor:
        """The coefficients c (leading..., d) such that the log-potential is c . values[position].

        `values[position]` is not read; a dimension that no value has is 1.
        """


class TablePotential(Factor):
    """A potential whose left terms are all discrete and whose table is at hand as one tensor.

    Attributes:
        supports: of the left terms in order, where the factor knows them.
    """

    kind = "potential"
    supports: tuple[Support | None, ...] | None = None

    @abstractmethod
    def table(self, inputs: tuple[Tensor, ...], call: Call) -> Tensor:
        """Log-potentials: leading (+ axes if `call.as_given`), then one axis of states per left term in
        order.

        `call.arguments` describes the inputs only.
        """


def encode(value: Tensor, argument: Argument, onehot: bool = True) -> Tensor:
    """A tensor that a network can read: one-hot for a categorical (zeros for *no state*), else unchanged.

    A scalar binary or real gets one feature dimension.
    """
    support = argument.support
    if isinstance(support, Finite):
        if value.is_floating_point():
            return _relaxed(value, argument, onehot)
        if not onehot:
            return value
        states = torch.arange(support.states, device=value.device)
        return (value.unsqueeze(-1) == states).to(torch.get_default_dtype())
    if support is not None and support.event_rank == 0:
        value = value.unsqueeze(-1)
    if isinstance(support, Binary) and not value.is_floating_point():
        return value.to(torch.get_default_dtype())
    return value


def _relaxed(value: Tensor, argument: Argument, onehot: bool) -> Tensor:
    """A relaxed state is a vector of weights already; an embedding cannot look it up."""
    if not onehot:
        raise GraftError(f"{argument.name} is relaxed to weights over its states, which onehot=False cannot look up")
    return value


def apply_network(
    net: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    call: Call,
    *,
    onehot: bool = True,
    concat: bool = True,
) -> Tensor:
    """Run a network on a factor's inputs: encode, flatten the leading dimensions, concatenate, restore.

    Args:
        net: any module; without inputs it is called with nothing.
        inputs: as the factor received them.
        call: how to read them.
        onehot: turn categorical inputs into one-hot vectors (False for embeddings).
        concat: one input, joined on the last axis (False: inputs passed apart).

    Returns:
        The output with the leading dimensions restored.

    Raises:
        ShapeError: if the inputs cannot be joined, or the network changes the number of rows.
    """
    if call.plain and inputs[0].is_floating_point():
        return _restored(net(inputs[0]), inputs[0].shape[:1])
    encoded = [encode(v, a, onehot) for v, a in zip(inputs, call.arguments, strict=True)]
    if call.leading is None or not encoded:
        return net(*_joined(encoded, call, None, concat))
    lead = call.leading
    if len(encoded) == 1:
        return _flattened(net, encoded[0], lead)
    shape = torch.broadcast_shapes(*(v.shape[:lead] for v in encoded))
    # one flat batch: views where an input already has the full leading shape
    flat = [v.expand(shape + v.shape[lead:]).reshape(prod(shape), *v.shape[lead:]) for v in encoded]
    return _restored(net(*_joined(flat, call, 1, concat)), shape)


def _flattened(net: Callable[..., Tensor], value: Tensor, lead: int) -> Tensor:
    """A network on one input; rows that are one dimension already are left as they are."""
    shape = value.shape[:lead]
    if lead != 1:
        value = value.reshape(prod(shape), *value.shape[lead:])
    return _restored(net(value), shape)


def _restored(out: Tensor, shape: torch.Size) -> Tensor:
    """What a network returned, with the leading dimensions back.

    Raises:
        ShapeError: if it changed the number of rows.
    """
    rows = shape[0] if len(shape) == 1 else prod(shape)
    if out.dim() == 0 or out.shape[0] != rows:
        raise ShapeError(
            f"the network received {rows} rows and returned shape {tuple(out.shape)}; the first "
            "dimension must be the rows"
        )
    return out if len(shape) == 1 else out.reshape(shape + out.shape[1:])


def _joined(values: list[Tensor], call: Call, lead: int | None, concat: bool) -> list[Tensor]:
    if not concat or len(values) <= 1:
        return values
    if lead is not None and not call.as_given:
        # a whole axis beside plain vectors: every input becomes one vector of features
        if len({v.dim() for v in values}) > 1 or len({v.shape[:-1] for v in values}) > 1:
            values = [v.flatten(lead) for v in values]
    dtype = torch.result_type(values[0], values[0])
    for value in values[1:]:
        dtype = torch.promote_types(dtype, value.dtype)
    try:
        return [torch.cat([v.to(dtype) for v in values], -1)]
    except RuntimeError as error:
        shapes = ", ".join(f"{a.name} {tuple(v.shape)}" for a, v in zip(call.arguments, values, strict=True))
        raise ShapeError(
            f"inputs cannot be joined on their last axis: {shapes}; pass them apart with concat=False"
        ) from error

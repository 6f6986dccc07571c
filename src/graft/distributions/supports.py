"""What values a variable takes: `Real(5)`, `Binary(784)`, `Finite(10)`.

A support knows the event shape of a variable and, where its values can be counted, how to list them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod

import torch
from torch import Tensor


class Support(ABC):
    """The set of values one element of a variable can take.

    Attributes:
        event_shape: shape of one value.
        states: how many values there are, or None if they cannot be counted.
    """

    event_shape: tuple[int, ...]
    states: int | None

    @property
    def event_rank(self) -> int:
        return len(self.event_shape)

    @abstractmethod
    def decode(self, index: Tensor) -> Tensor:
        """Values (..., *event_shape) of the states with these integer indices (...); -1 is *no state*."""

    @abstractmethod
    def encode(self, value: Tensor) -> Tensor:
        """Integer indices (...) of values (..., *event_shape); the inverse of `decode`."""

    @abstractmethod
    def check(self, value: Tensor) -> Tensor:
        """Which of these values (..., *event_shape) belong to the support: a boolean tensor (...)."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.event_shape, self.states))


class Real(Support):
    """Real vectors or arrays.

    Args:
        shape: the event shape; none for a scalar.

    Example:
        >>> Real(1, 28, 28).event_shape
        (1, 28, 28)
    """

    def __init__(self, *shape: int) -> None:
        self.event_shape = shape
        self.states = None

    def decode(self, index: Tensor) -> Tensor:
        raise TypeError("the values of a real variable cannot be listed")

    def encode(self, value: Tensor) -> Tensor:
        raise TypeError("the values of a real variable cannot be listed")

    def check(self, value: Tensor) -> Tensor:
        good = torch.isfinite(value)
        return good.flatten(good.dim() - self.event_rank).all(-1) if self.event_rank else good

    def __repr__(self) -> str:
        return f"Real({', '.join(map(str, self.event_shape))})"


class Binary(Support):
    r"""Zeros and ones, as floats: a scalar `Binary()` or an array of units, `Binary(784)`.

    The state with index $k$ of an array of $d$ units holds the binary digits of $k$, the first unit the
    most significant.

    Example:
        >>> Binary(2).decode(torch.arange(4)).tolist()
        [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """

    def __init__(self, *shape: int) -> None:
        self.event_shape = shape
        self.units = prod(shape)
        self.states = 2**self.units

    def decode(self, index: Tensor) -> Tensor:
        dtype = torch.get_default_dtype()
        if not self.event_shape:
            return index.clamp_min(0).to(dtype)
        places = torch.arange(self.units - 1, -1, -1, device=index.device)
        bits = (index.clamp_min(0).unsqueeze(-1) >> places) & 1
        return bits.to(dtype).reshape(*index.shape, *self.event_shape)

    def encode(self, value: Tensor) -> Tensor:
        if not self.event_shape:
            return value.long()
        bits = value.reshape(*value.shape[: value.dim() - self.event_rank], self.units).long()
        places = torch.arange(self.units - 1, -1, -1, device=value.device)
        return (bits << places).sum(-1)

    def check(self, value: Tensor) -> Tensor:
        good = (value == 0) | (value == 1)
        return good.flatten(good.dim() - self.event_rank).all(-1) if self.event_rank else good

    def __repr__(self) -> str:
        return f"Binary({', '.join(map(str, self.event_shape))})"


class Finite(Support):
    """Finitely many unordered states, as integers from 0; -1 stands for *no state*.

    Args:
        states: how many, or a shape: `Finite((64, 48))` is a position on a grid, counted row by row.

    Example:
        >>> Finite((64, 48)).states
        3072
    """

    states: int

    def __init__(self, states: int | tuple[int, ...]) -> None:
        self.grid = (states,) if isinstance(states, int) else tuple(states)
        self.event_shape = ()
        self.states = prod(self.grid)

    def decode(self, index: Tensor) -> Tensor:
        return index

    def encode(self, value: Tensor) -> Tensor:
        return value.long()

    def check(self, value: Tensor) -> Tensor:
        return (value >= 0) & (value < self.states) & (value == value.long())

    def __repr__(self) -> str:
        return f"Finite({self.grid[0] if len(self.grid) == 1 else self.grid})"

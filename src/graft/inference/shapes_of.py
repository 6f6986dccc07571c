"""What the values of a call say about its batch shape and the sizes of its axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from graft.errors import GraftError, ShapeError
from graft.graph.nodes import Variable
from graft.inference.evidence import EVIDENCE, ON_STATES, Partial, Soft


class Sizes:
    """Collects batch shape and axis sizes, and complains of the first disagreement."""

    def __init__(self, told: Mapping[str, int]) -> None:
        self.batch: tuple[int, ...] | None = None
        self.of: dict[str, int] = {}
        self.told = dict(told)
        self._who: dict[str, str] = {}

    def batch_is(self, batch: tuple[int, ...], who: str) -> None:
        """Note a batch shape.

        Raises:
            ShapeError: if another value has another one.
        """
        if self.batch is None:
            self.batch, self._who[""] = batch, who
        elif self.batch != batch:
            raise ShapeError(f"{who} has batch shape {batch}, {self._who['']} has {self.batch}")

    def axis_is(self, letter: str, size: int, who: str) -> None:
        """Note the size of an axis.

        Raises:
            ShapeError: if another value, or `sizes`, has another one.
        """
        if letter not in self.of:
            self.of[letter], self._who[letter] = size, who
            if self.told.get(letter, size) != size:
                raise ShapeError(f"{who} has {size} elements on axis {letter!r}, sizes says {self.told[letter]}")
        elif self.of[letter] != size:
            other = f"{self._who[letter]} has {self.of[letter]}"
            raise ShapeError(f"{who} has {size} elements on axis {letter!r}, {other}")

    def complete(self, letters: tuple[str, ...], longest: Mapping[str, int]) -> None:
        """Fill what no value told from `sizes`, else from the greatest length.

        Raises:
            GraftError: naming the axis without a size.
        """
        for letter in letters:
            if letter not in self.of:
                size = self.told.get(letter, longest.get(letter))
                if size is None:
                    rule = f"axis {letter!r} has no size: give a value that has it, lengths=, mask=, or"
                    raise GraftError(f"{rule} sizes={{{letter!r}: ...}}")
                self.of[letter] = size


def event_rank(variable: Variable, value: Tensor) -> int:
    """How many event dimensions a value has: as told, else one for a float and none for an integer."""
    if variable.support is not None:
        return variable.support.event_rank
    return int(value.is_floating_point())


def note(sizes: Sizes, variable: Variable, value: Any) -> None:
    """Take batch and axis sizes from one value, if its event rank is known.

    Raises:
        ShapeError: if it has too few dimensions, or disagrees.
    """
    tensor, event, on_states = raw(value), 1, isinstance(value, ON_STATES)
    if not on_states:
        if variable.is_input and not variable.axes and variable.support is None:
            return  # read whole: only its factors know what its dimensions mean
        event = event_rank(variable, tensor)
    rank = tensor.dim() - event - len(variable.axes)
    shape = tuple(tensor.shape)
    if rank < 0:
        axes = f"axes [{', '.join(variable.axes)}] and " if variable.axes else ""
        raise ShapeError(f"{variable.name} has shape {shape}, too few for {axes}{event} event dimensions")
    expected = variable.support.event_shape if variable.support is not None else None
    if on_states:
        _states(variable, shape[-1])
    elif expected is not None and shape[len(shape) - event :] != expected:
        raise ShapeError(f"{variable.name} has shape {shape}; its values have event shape {expected}")
    sizes.batch_is(shape[:rank], variable.name)
    for letter, size in zip(variable.axes, shape[rank:], strict=False):
        sizes.axis_is(letter, size, variable.name)


def _states(variable: Variable, states: int) -> None:
    if not variable.is_discrete:
        raise GraftError(f"{variable.name} is not discrete: Partial and Soft evidence is about states")
    assert variable.support is not None
    if states != variable.support.states:
        raise ShapeError(f"evidence on {variable.name} has {states} states, the variable {variable.support.states}")


def raw(value: Any) -> Tensor:
    """The tensor inside a value or evidence."""
    if not isinstance(value, EVIDENCE):
        return value
    if isinstance(value, Partial):
        return value.allowed
    if isinstance(value, Soft):
        return value.log_weights
    return value.value

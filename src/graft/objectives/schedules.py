"""Numbers that change with the step: weights of KL terms, temperatures."""

from __future__ import annotations

import math
from abc import abstractmethod
from numbers import Real

import torch
from torch import Tensor, nn

from graft.errors import GraftError


class Schedule(nn.Module):
    """A number as a function of how often it was asked for in training; the count is saved with the model."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        # beside the buffer, so that a step does not wait for a device
        self._steps = 0

    @abstractmethod
    def at(self, step: int) -> float:
        """Its value at a step, counted from 0."""

    def now(self, training: bool) -> float:
        """Its value; in training the count moves on."""
        value = self.at(self._steps)
        if training:
            self._steps += 1
            self.count.add_(1)
        return value

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._steps = int(self.count)


class Constant(Schedule):
    """The same at every step.

    Example:
        >>> Constant(0.5).at(1000)
        0.5
    """

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = float(value)

    def at(self, step: int) -> float:
        return self.value

    def now(self, training: bool) -> float:
        return self.value


class LinearSchedule(Schedule):
    """From one value to another in equal steps, then constant.

    Args:
        start: the first value.
        end: the last.
        steps: how many it takes.

    Raises:
        GraftError: `steps` is not positive.

    Source: as a warm-up of the KL term, Bowman et al. 2016; Sønderby et al. 2016.

    Example:
        >>> warm_up = LinearSchedule(0.0, 1.0, steps=4)
        >>> [warm_up.at(step) for step in range(6)]
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(self, start: float, end: float, steps: int) -> None:
        super().__init__()
        if steps < 1:
            raise GraftError(f"a schedule takes at least one step, not {steps}")
        self.start, self.end, self.steps = float(start), float(end), steps

    def at(self, step: int) -> float:
        share = min(step / self.steps, 1.0)
        return self.start + (self.end - self.start) * share


class ExponentialSchedule(Schedule):
    r"""$\max(\text{least}, \text{start} \cdot e^{-r \cdot \text{step}})$, held for `every` steps at a time.

    Args:
        start: the first value.
        rate: r, per step.
        least: never below.
        every: steps between changes.

    Source: of temperatures, Jang, Gu & Poole 2017, section 4.2.

    Example:
        >>> round(ExponentialSchedule(1.0, 1e-4, least=0.5).at(10**6), 3)
        0.5
    """

    def __init__(self, start: float, rate: float, least: float = 0.0, every: int = 1) -> None:
        super().__init__()
        if every < 1:
            raise GraftError(f"every counts steps, it is not {every}")
        self.start, self.rate, self.least, self.every = float(start), float(rate), float(least), every

    def at(self, step: int) -> float:
        return max(self.least, self.start * math.exp(-self.rate * (step // self.every) * self.every))


def as_schedule(value: object, what: str, positive: bool = False) -> Schedule:
    """A number or a schedule as a schedule.

    Raises:
        GraftError: it is neither, or is not finite, or (at its start) too small.
    """
    if isinstance(value, Schedule):
        return value
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(float(value)):
        raise GraftError(f"{what} is a number or a schedule, not {value!r}")
    if float(value) < 0 or (positive and float(value) == 0):
        raise GraftError(f"{what} must be {'positive' if positive else '0 or more'}, not {value}")
    return Constant(float(value))

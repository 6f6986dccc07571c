"""The M-step: factors whose parameters have a best value in closed form, given expected statistics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graft.errors import GraftError
from graft.factors.base import Call
from graft.factors.lookup import look_up
from graft.factors.maximise_held import Held
from graft.factors.maximise_points import Points, points
from graft.factors.maximise_prior import Prior

#: Sums over cases by name, in double precision.
Statistics = dict[str, Tensor]


@dataclass(eq=False)
class Cases:
    """What a factor stands for in a batch: its value and its parents, at all states of what is unknown.

    Attributes:
        lead: sizes of its leading dimensions: states of what is unknown, batch, axes.
        slots: how many of these run over states.
        parents: what `Maximiser.parents` made of the inputs: (lead, ...), size 1 where they do not vary.
        value: of the variable on the left: (lead, event), likewise.
        event: how many event dimensions it has.
        seen: which cells of the value are there; None if all are.
    """

    lead: tuple[int, ...]
    slots: int
    parents: Tensor
    value: Tensor
    event: int
    seen: Tensor | None = None

    @property
    def constant(self) -> bool:
        """Whether the value is the same at all states."""
        return all(n == 1 for n in self.value.shape[: self.slots])

    @cached_property
    def points(self) -> Points:
        """The value as rows: batch and axes, and the states too where it varies with them."""
        return points(self.rows(self.value), None if self.seen is None else self.rows(self.seen))

    def rows(self, x: Tensor) -> Tensor:
        """The value, or what is in its shape, as `points` has it."""
        lead = self.lead[self.slots :] if self.constant else self.lead
        event = self.value.shape[self.value.dim() - self.event :]
        x = x.reshape(x.shape[self.slots :]) if self.constant else x
        return x.expand(*lead, *event).reshape(prod(lead), prod(event))

    @cached_property
    def listed(self) -> int:
        """How many rows of a table the states list in order, the value being the same at all; 0 if they do not."""
        index, rows = self.parents, prod(self.lead[: self.slots])
        in_order = (
            self.constant
            and index.numel() == rows == prod(index.shape[: self.slots])
            and torch.equal(index.reshape(-1), torch.arange(rows, device=index.device))
        )
        return rows if in_order else 0

    def by_row(self, weights: Tensor, rows: int) -> Tensor:
        """Weights (lead) by the row of a table that a case belongs to: (rows, points)."""
        kinds = prod(self.lead[: self.slots]) if self.constant else 1
        weights = weights.double().reshape(self.lead)
        if self.listed == rows:
            return weights.reshape(rows, -1)
        index = self.parents.expand(self.lead).reshape(kinds, -1)
        return weights.new_zeros(rows, index.shape[1]).scatter_add_(0, index, weights.reshape(kinds, -1))


class Maximiser(ABC):
    """The closed-form M-step of one factor.

    Args:
        factor: whose parameters it moves; those that require no gradient stay as they are.
        prior: of its parameters; None for a default one.

    Attributes:
        prior_type: the kind of prior that it takes.
        compiled: whether its M-step may use the compiler, which an E-step has loaded.
        held: its parameters.
    """

    prior_type: type[Any]
    compiled: bool = False

    def __init__(self, factor: Any, prior: Prior | None = None) -> None:
        self.factor = factor
        self.held = Held(factor)
        self.prior: Any = self.prior_type() if prior is None else prior
        if not isinstance(self.prior, self.prior_type):
            wanted, got = self.prior_type.__name__, type(prior).__name__
            raise GraftError(f"{type(factor).__name__} takes a {wanted} for a prior, not {got}")

    def __getstate__(self) -> dict[str, Any]:
        """Without what may not be where a copy goes."""
        return {name: value for name, value in self.__dict__.items() if name != "compiled"}

    def parents(self, inputs: tuple[Tensor, ...], call: Call) -> Tensor:
        """What the statistics need of the inputs: the row of the table, (leading)."""
        given = self.factor.given or ()
        rows = torch.arange(prod(given), device=inputs[0].device if inputs else None)
        return look_up(rows.reshape(given), given, inputs, call)

    def log_table(self, cases: Cases) -> Tensor | None:
        """Log-densities (lead) of an observed value by a faster way than the factor's own; None if there is none."""
        return None

    @abstractmethod
    def statistics(self, weights: Tensor, cases: Cases) -> Statistics:
        """What the M-step needs of a batch, with the expected count (lead) of each case."""

    @abstractmethod
    def maximise(self, found: Statistics) -> None:
        """Move the parameters to their best values; what has no mass stays as it is."""

    @abstractmethod
    def log_prior(self) -> float:
        """The logarithm of the prior at the present parameters, up to a constant."""

    def joined(self, one: Statistics, other: Statistics, share: float = 1.0, rest: float = 1.0) -> Statistics:
        """The sum of statistics of two batches, each times a number."""
        return {name: rest * one[name] + share * other[name] for name in one}


def assign(parameter: Tensor, value: Tensor | np.ndarray, what: str) -> None:
    """Write new values into a parameter that may move.

    Raises:
        GraftError: a value is NaN, or infinite where no probability is meant; nothing is written then.
    """
    if not parameter.requires_grad:
        return
    values: Tensor
    if isinstance(value, np.ndarray):
        bad, values = bool(np.isnan(value).any()), torch.from_numpy(value.reshape(parameter.shape))
    else:
        bad, values = bool(value.isnan().any()), value.reshape(parameter.shape)
    if bad:
        raise GraftError(f"the M-step of {what} gives NaN: the data are too great for {parameter.dtype}")
    parameter.detach().copy_(values)

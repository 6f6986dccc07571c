"""Evidence that says less than a value: some states allowed, weights on states, cells that are missing.

Plain classes, not dataclasses: training loops take dataclasses in a batch apart.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from graft.errors import GraftError
from graft.ops.modes import plain


class Partial:
    """A discrete variable is known to be in one of several states.

    Args:
        allowed: True where a state is possible; shape batch, axes, states.

    Example:
        >>> import torch
        >>> Partial(torch.tensor([[True, True, False]])).allowed.shape
        torch.Size([1, 3])
    """

    def __init__(self, allowed: Bool[Tensor, "*batch states"]) -> None:
        self.allowed = _tensor(allowed, "Partial")

    def to(self, *args: Any, **options: Any) -> Partial:
        """The same on another device, as `Tensor.to`."""
        return Partial(self.allowed.to(*args, **options))

    def __len__(self) -> int:
        return len(self.allowed)

    def __getitem__(self, rows: Any) -> Partial:
        """The evidence of some rows of the batch."""
        return Partial(self.allowed[rows])


class Soft:
    """Virtual evidence: log-weights on the states of a discrete variable (Pearl 1988, section 2.2.2).

    Args:
        log_weights: added to the log-joint; shape batch, axes, states; `-inf` rules a state out.

    Example:
        >>> import torch
        >>> Soft(torch.tensor([[0.0, -1.0]])).log_weights.shape
        torch.Size([1, 2])
    """

    def __init__(self, log_weights: Float[Tensor, "*batch states"]) -> None:
        self.log_weights = _tensor(log_weights, "Soft")

    def to(self, *args: Any, **options: Any) -> Soft:
        """The same on another device, as `Tensor.to`."""
        return Soft(self.log_weights.to(*args, **options))

    def __len__(self) -> int:
        return len(self.log_weights)

    def __getitem__(self, rows: Any) -> Soft:
        """The evidence of some rows of the batch."""
        return Soft(self.log_weights[rows])


class Missing:
    """A value some cells of which were not observed.

    Args:
        value: batch, axes, event; what stands in missing cells does not matter.
        where: True where a cell is missing; the shape of the value, or of its batch and axes alone.

    Example:
        >>> import torch
        >>> Missing(torch.zeros(2, 3), torch.eye(2, 3).bool()).where.sum().item()
        2
    """

    def __init__(self, value: Tensor, where: Bool[Tensor, "..."]) -> None:
        self.value, self.where = _tensor(value, "Missing"), _tensor(where, "Missing")

    def to(self, *args: Any, **options: Any) -> Missing:
        """The same on another device, as `Tensor.to`."""
        return Missing(self.value.to(*args, **options), self.where.to(*args, **options))

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, rows: Any) -> Missing:
        """The evidence of some rows of the batch."""
        return Missing(self.value[rows], self.where[rows])


#: Kinds that weigh states, and all kinds; calls wait for unions that are made anew at every look.
ON_STATES = (Partial, Soft)
EVIDENCE = (Partial, Soft, Missing)


def _tensor(value: Any, who: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise GraftError(f"{who} takes tensors, not {type(value).__name__}")
    return value


def kept(value: Any) -> Any:
    """A value, evidence or a dict of them, as autograd may save it, also if it was made in inference mode."""
    if isinstance(value, Tensor):
        return plain(value)
    if isinstance(value, dict):
        return {name: kept(one) for name, one in value.items()}
    if isinstance(value, EVIDENCE):
        return type(value)(*(plain(part) for part in vars(value).values()))
    return value

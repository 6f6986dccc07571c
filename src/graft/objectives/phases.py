"""Objectives with phases that take turns: which loss, and which parameters it moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Phase:
    """One of several losses that are lowered in turn.

    Attributes:
        name: such as "wake".
        loss: of a batch.
        parameters: that it moves; the others are held fixed.
    """

    name: str
    loss: Callable[[Any], Tensor]
    parameters: tuple[nn.Parameter, ...]

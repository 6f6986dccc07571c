"""`System`: one row of the table of systems, small enough to build in an instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graft.model import Model

#: Example inputs (and `lengths`, where a formula reads them) for a batch shape.
Inputs = Callable[[tuple[int, ...]], dict[str, Any]]


def no_inputs(batch: tuple[int, ...]) -> dict[str, Any]:
    """The inputs of a model that reads none."""
    return {}


@dataclass(frozen=True)
class System:
    """A system as formulas and small modules.

    Attributes:
        name: what commands call it.
        title: its usual name.
        row: what it is, in one sentence, and where it comes from.
        model: makes the model.
        guide: makes the guide; None if the system has none.
        inputs: example inputs of the model for a batch shape, by name.
        sizes: of axes that no input has.

    Example:
        >>> from graft.zoo.formulas import SYSTEMS
        >>> system = SYSTEMS["vae"]
        >>> system.model().sample((3,), **system.inputs(()), sizes=system.sizes)["x"].shape
        torch.Size([3, 6])
    """

    name: str
    title: str
    row: str
    model: Callable[[], Model]
    guide: Callable[[], Model] | None = None
    inputs: Inputs = no_inputs
    sizes: Mapping[str, int] = field(default_factory=dict)

"""The rows of a batch, to be taken a few at a time, and the state that networks are in while they are measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from graft.errors import GraftError
from graft.inference.evidence import Missing, Partial, Soft, kept
from graft.inference.how_many import positive
from graft.inference.shapes_of import raw
from graft.model import Model
from graft.objectives.truth import told
from graft.ops.modes import ordinary

#: Numbers that a value may hold over all draws and rows of one run, unless `chunk=` says otherwise.
NUMBERS = 2**20
#: Draws of one run at most, however small each is: hidden layers are wider than small data.
DRAWS = 2**15


class Rows:
    """A batch whose rows are taken by number; batch dimensions are joined to one.

    Args:
        model: whose evidence it is.
        batch: values and evidence by name, and possibly `lengths`, `mask` or `sizes`.
        who: takes it.
        empty: no rows will do.

    Raises:
        GraftError: wrong names, shapes or values, or no rows where there must be some.

    Example:
        >>> from graft.factors import Gaussian
        >>> rows = Rows(Model({"x": Gaussian(dim=3)}), {"x": torch.zeros(2, 5, 3)}, "this")
        >>> rows.count, rows.take(8, 10)["x"].shape, rows.back(torch.zeros(10)).shape
        (10, torch.Size([2, 3]), torch.Size([2, 5]))
    """

    def __init__(self, model: Model, batch: Any, who: str, *, empty: bool = False) -> None:
        values, options = told(batch, who)
        #: shape of the batch
        self.shape: tuple[int, ...] = model.settled(values, **options).frame.batch
        self.count = prod(self.shape)
        if not self.count and not empty:
            raise GraftError(f"{who}: the batch is empty (shape {self.shape}), and there is no mean over no rows")
        #: numbers that one row holds
        self.width = max(1, sum(raw(value).numel() for value in values.values()) // max(1, self.count))
        self._parts: dict[str, Any] = {name: kept(part) for name, part in {**values, **options}.items()}

    def take(self, start: int, stop: int) -> dict[str, Any]:
        """A batch of some rows; the whole one if there are no batch dimensions."""
        if not self.shape:
            return dict(self._parts)
        return {name: self._cut(part, slice(start, stop)) for name, part in self._parts.items()}

    def pieces(self, size: int) -> Iterator[tuple[int, int]]:
        """Starts and stops of pieces of so many rows."""
        for start in range(0, self.count, size):
            yield start, min(start + size, self.count)

    def back(self, found: Tensor) -> Tensor:
        """Something of every row, with the batch's own dimensions."""
        return found.reshape((*self.shape, *found.shape[1:]))

    def _cut(self, part: Any, rows: slice) -> Any:
        if isinstance(part, dict):
            return {name: self._cut(one, rows) for name, one in part.items()}
        if isinstance(part, Partial | Soft | Missing):
            return type(part)(*(self._cut(one, rows) for one in vars(part).values()))
        return part.flatten(0, len(self.shape) - 1)[rows] if isinstance(part, Tensor) else part


def at_once(chunk: int | None, width: int) -> int:
    """How many draws one run holds, where each has so many numbers.

    Raises:
        GraftError: `chunk` is no positive whole number.

    Example:
        >>> at_once(None, 784), at_once(None, 1), at_once(100, 784)
        (1337, 32768, 100)
    """
    return max(1, min(DRAWS, NUMBERS // width)) if chunk is None else positive(chunk, "chunk")


def portions(samples: int, most: int) -> Iterator[int]:
    """A number of samples in portions of at most so many.

    Example:
        >>> list(portions(10, 4))
        [4, 4, 2]
    """
    for start in range(0, samples, most):
        yield min(most, samples - start)


@contextmanager
def at_rest(*modules: nn.Module) -> Iterator[None]:
    """Modules in evaluation mode and without gradients; afterwards each is in the mode that it was in."""
    was = [(one, one.training) for module in modules for one in module.modules()]
    try:
        for module in modules:
            module.eval()
        # a fit within needs tensors that can be saved for a backward pass
        with ordinary(), torch.no_grad():
            yield
    finally:
        for one, training in was:
            one.training = training

"""What factors that read only inputs of the model returned: called once, on the inputs as given.

Their outputs carry the axes where the user's elements stand; here they are moved to the compact order of the frame and
spread over sample dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from graft.distributions.marginal import log_prob, log_prob_observed
from graft.graph.nodes import Node
from graft.inference.frame import Frame


@dataclass(frozen=True, eq=False)
class Ready:
    """One such output.

    Attributes:
        node: the factor.
        output: a distribution, a tensor or a table: (batch, letters, ...), original order.
        base: the frame it was made in.
    """

    node: Node
    output: Any
    base: Frame

    def tensor(self, frame: Frame) -> Tensor:
        """A function's value or a table, compact, with the sample dimensions of `frame` before the batch."""
        return self._out(self.output, frame)

    def draw(self, how: Callable[[Distribution], Tensor], frame: Frame) -> Tensor:
        lead = self._extra(frame) + self.base.shape(self.node.letters)
        # drawn in the original order, sample dimensions first
        return frame.compact(how(self.output.expand(lead)), self.node.letters)

    def log_prob(self, value: Tensor, slots: int, frame: Frame) -> Tensor:
        """The log-density at a compact value (slots, batch, letters, event): (slots, batch, letters)."""
        moved = _slotwise(value, slots, lambda v: frame.restore(v, self.node.letters))
        found = log_prob(self.output, moved)
        return _slotwise(found, slots, lambda v: frame.compact(v, self.node.letters))

    def log_prob_observed(self, value: Tensor, there: Tensor, frame: Frame, who: str) -> Tensor:
        """The same for the observed cells of a value alone."""
        value, there = (frame.restore(x, self.node.letters) for x in (value, there))
        return frame.compact(log_prob_observed(self.output, value, there, who), self.node.letters)

    def logits(self, frame: Frame) -> Tensor:
        """A categorical's normalised log-probabilities, (batch, letters, states), compact."""
        return self._out(self.output.logits, frame)

    def _extra(self, frame: Frame) -> tuple[int, ...]:
        return frame.batch[: frame.rank - self.base.rank]

    def _out(self, tensor: Tensor, frame: Frame) -> Tensor:
        tensor = self.base.compact(tensor, self.node.letters)
        extra = self._extra(frame)
        return tensor.expand((*extra, *tensor.shape)) if extra else tensor


def _slotwise(tensor: Tensor, slots: int, move: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a move of (batch, letters, ...) to a tensor with leading slots."""
    if slots == 0:
        return move(tensor)
    flat = tensor.flatten(0, slots - 1)
    return torch.stack([move(part) for part in flat]).reshape((*tensor.shape[:slots], *tensor.shape[slots:]))

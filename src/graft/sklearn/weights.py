"""Chosen entries of several parameters as one vector."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn


class Weights:
    """What an optimiser over vectors sees of a model.

    Args:
        chosen: parameters, and which of their entries are meant.

    Attributes:
        size: how many.

    Example:
        >>> table = nn.Parameter(torch.zeros(2, 2))
        >>> weights = Weights([(table, torch.eye(2, dtype=torch.bool))])
        >>> weights.set(np.array([3.0, 4.0]))
        >>> table.tolist(), weights.get()
        ([[3.0, 0.0], [0.0, 4.0]], array([3., 4.]))
    """

    def __init__(self, chosen: Iterable[tuple[nn.Parameter, Tensor]]) -> None:
        self._chosen = [(parameter, mask.flatten().nonzero()[:, 0]) for parameter, mask in chosen]
        self.size = sum(len(places) for _, places in self._chosen)

    def get(self) -> Float[np.ndarray, " size"]:
        """The entries."""
        return self._joined([parameter.detach() for parameter, _ in self._chosen])

    @torch.no_grad()
    def set(self, vector: Float[np.ndarray, " size"]) -> None:
        """Replace the entries; all others stay."""
        begin = 0
        for parameter, places in self._chosen:
            part = torch.from_numpy(vector[begin : begin + len(places)])
            parameter.view(-1)[places] = part.to(parameter)
            begin += len(places)

    def gradient(self) -> Float[np.ndarray, " size"]:
        """The gradient by the entries; what nothing depends on has zero."""
        return self._joined([torch.zeros_like(p) if p.grad is None else p.grad for p, _ in self._chosen])

    def forget(self) -> None:
        """Drop the gradients."""
        for parameter, _ in self._chosen:
            parameter.grad = None

    def _joined(self, tensors: list[Tensor]) -> np.ndarray:
        parts = [x.flatten()[places] for x, (_, places) in zip(tensors, self._chosen, strict=True)]
        return torch.cat(parts).double().numpy()

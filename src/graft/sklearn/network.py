"""Linear scores of sparse attributes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding_bag


class AttributeScores(nn.Module):
    r"""Scores $\sum_a v_a\, w_{a, j}$ of every state $j$ from the attributes $a$ that an element has.

    Only the weights of attributes at hand are read, so that their number may go into the millions.

    Args:
        attributes: how many there are.
        states: how many there are.
        dtype: of the weights, which start at zero.

    Example:
        >>> net = AttributeScores(5, 3, torch.float64)
        >>> net(torch.zeros(2, 4, 6, dtype=torch.long), torch.zeros(2, 4, 6, dtype=torch.float64)).shape
        torch.Size([2, 4, 3])
    """

    def __init__(self, attributes: int, states: int, dtype: torch.dtype) -> None:
        super().__init__()
        # without any attribute there is still a row for the fillers to point at
        self.weight = nn.Parameter(torch.zeros(max(1, attributes), states, dtype=dtype))

    def forward(
        self, features: Int[Tensor, "rows time most"], values: Float[Tensor, "rows time most"]
    ) -> Float[Tensor, "rows time states"]:
        """From the numbers of attributes and their values, 0 where an element has fewer."""
        bags = embedding_bag(features.flatten(0, 1), self.weight, per_sample_weights=values.flatten(0, 1), mode="sum")
        return bags.reshape(*features.shape[:2], -1)

"""The log-partition of a binary grid by its transfer matrix, one row of the grid at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def grid_log_partition(nodes: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Sum over all 2^(rows x columns) states.

    Args:
        nodes: log-potentials (rows, columns, 2).
        down: from a node to the one below (2, 2).
        across: from a node to its right neighbour (2, 2).
    """
    rows, columns, _ = nodes.shape
    bits = (torch.arange(2**columns).unsqueeze(-1) >> torch.arange(columns)) & 1
    pairs = across[bits[:, :-1], bits[:, 1:]].sum(-1)
    message = torch.zeros(2**columns, dtype=nodes.dtype)
    for row in range(rows):
        if row:
            message = below(message, down, columns)
        message = message + pairs + nodes[row][torch.arange(columns), bits].sum(-1)
    return message.logsumexp(0)


def below(message: Tensor, down: Tensor, columns: int) -> Tensor:
    """The transfer matrix is a product of one 2 x 2 matrix per column."""
    message = message.reshape((2,) * columns)
    for place in range(columns):
        moved = message.movedim(place, 0)
        message = (moved.unsqueeze(1) + down.reshape(2, 2, *(1,) * (columns - 1))).logsumexp(0).movedim(0, place)
    return message.flatten()

"""Networks that the recipes on images share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn


def layers(*sizes: int, between: Callable[[], nn.Module] = nn.Tanh) -> nn.Sequential:
    """Linear layers of these sizes, a non-linearity between them.

    Weights start as Glorot & Bengio (2010, eq. 16) have them, offsets at zero.

    Example:
        >>> layers(4, 8, 2)(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """
    found: list[nn.Module] = []
    for size, after in pairwise(sizes):
        linear = nn.Linear(size, after)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        found += [linear, between()]
    return nn.Sequential(*found[:-1])


def from_mean(net: nn.Sequential, pixels: Float[Tensor, "n cells"]) -> nn.Sequential:
    """Start the offsets of the last layer at the logits of the cells' mean intensities.

    So the first steps are not spent on learning which cells are ever black. Means are kept from 0 and 1 as if two
    images more, one empty and one full, had been seen.

    Example:
        >>> net = from_mean(layers(2, 3), torch.full((6, 3), 0.5))
        >>> net[-1].bias.tolist()
        [0.0, 0.0, 0.0]
    """
    mean = (pixels.sum(0) + 1) / (len(pixels) + 2)
    with torch.no_grad():
        net[-1].bias.copy_(mean.logit())
    return net

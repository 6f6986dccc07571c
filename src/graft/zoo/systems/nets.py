"""Small networks that several systems share."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers of these sizes with tanh between them.

    Example:
        >>> mlp(4, 8, 2)(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """
    layers: list[nn.Module] = []
    for size, after in pairwise(sizes):
        layers += [nn.Linear(size, after), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class Log(nn.Module):
    """The logarithm: what turns weights on a simplex into logits."""

    def forward(self, weights: Tensor) -> Tensor:
        return weights.log()


class Flip(nn.Module):
    r"""Logits of bits that are each flipped with probability $\epsilon$ (masking noise of denoising autoencoders).

    Args:
        rate: $\epsilon$.

    Example:
        >>> Flip(0.25)(torch.tensor([0.0, 1.0])).sigmoid()
        tensor([0.2500, 0.7500])
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.logit = float(torch.tensor(1 - rate).logit())

    def forward(self, bits: Tensor) -> Tensor:
        return self.logit * (2 * bits - 1)


def generator(latent: int, side: int = 4) -> nn.Sequential:
    """A transposed-convolution generator of images (1, side, side) from vectors, as in DCGAN."""
    half = side // 2
    return nn.Sequential(
        nn.Linear(latent, 4 * half * half),
        nn.Unflatten(-1, (4, half, half)),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 1, 4, stride=2, padding=1),
        nn.Tanh(),
    )

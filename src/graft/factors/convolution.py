"""Correlations of numbers held as logarithms, by FFT where that is accurate and by sums where it is not."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graft.ops.logspace import logsumexp

#: The relative error up to which an entry of the FFT is kept.
ACCURATE = 1e-6
#: Entries of a sum that are held at once where the FFT is not accurate.
CHUNK = 1 << 22


def log_correlate(
    x: Float[Tensor, "rows height width"], kernel: Float[Tensor, "tall wide"]
) -> Float[Tensor, "rows height width"]:
    r"""The correlation of two maps held as logarithms,
    $y[p] = \log \sum_q e^{x[q] + k[q - p + (H - 1, W - 1)]}$.

    Computed in float64 on maps whose greatest entry is 1. The rounding error of an FFT of $n$ points is at most about
    $\varepsilon \log_2 n \lVert e^x \rVert \lVert e^k \rVert$ at every entry, $\varepsilon = 2.2 \cdot 10^{-16}$.
    Entries of which that is more than $10^{-6}$, such as those below about $10^{-9}$ of the greatest, are summed in
    log space instead, so that hard zeros stay exact and no entry is lost.

    Source: for the error, Schatzman 1996, section 4.

    Args:
        x: maps, finite or `-inf`.
        kernel: of size (2H - 1, 2W - 1), finite or `-inf`.

    Returns:
        Of the type of `x`; differentiable.

    Example:
        >>> bool((log_correlate(torch.zeros(1, 2, 2), torch.zeros(3, 3)).exp() - 4.0).abs().max() < 1e-5)
        True
    """
    wide, k = x.double(), kernel.double()
    top = wide.detach().amax((-2, -1), keepdim=True)
    dead = top == -torch.inf
    top = top.masked_fill(dead, 0.0)
    high = k.detach().max().clamp_min(torch.finfo(k.dtype).min)
    a, b = (wide - top).exp(), (k - high).exp()
    found = _correlate(a, b)
    bound = _rounding(a.detach(), b.detach())
    poor = found.detach() * ACCURATE <= bound
    result = torch.where(poor, 1.0, found).log() + top + high
    where = poor.nonzero()
    if len(where):
        result = result.index_put(tuple(where.unbind(-1)), _summed(wide, k, where))
    return result.to(x.dtype)


def _correlate(a: Tensor, b: Tensor) -> Tensor:
    """The part of the correlation at which the whole map lies under the kernel: (rows, H, W)."""
    height, width = a.shape[-2:]
    # wrapped round at the kernel's size, only entries outside that part run into each other
    size = b.shape
    product = torch.fft.rfft2(a.flip(-2, -1), s=size) * torch.fft.rfft2(b, s=size)
    full = torch.fft.irfft2(product, s=size)
    return full[..., height - 1 :, width - 1 :].flip(-2, -1)


def _rounding(a: Tensor, b: Tensor) -> Tensor:
    """(rows, 1, 1): a bound on the rounding error of every entry."""
    points = math.log2(max(2, b.numel()))
    norm = a.square().sum((-2, -1), keepdim=True).sqrt() * b.square().sum().sqrt()
    return torch.finfo(a.dtype).eps * points * norm


def _summed(x: Tensor, k: Tensor, where: Int[Tensor, "entries 3"]) -> Tensor:
    """Single entries (row, i, j), each a sum in log space over all positions."""
    height, width = x.shape[-2:]
    windows = k.unfold(0, height, 1).unfold(1, width, 1)
    parts = []
    for part in where.split(max(1, CHUNK // (height * width))):
        row, i, j = part.unbind(-1)
        parts.append(logsumexp(x[row] + windows[height - 1 - i, width - 1 - j], (-2, -1)))
    return torch.cat(parts)

"""Sums and maxima of logarithms over leading dimensions, where rows are long and states few."""

from __future__ import annotations

import torch
from torch import Tensor


def log_sum(x: Tensor, dims: tuple[int, ...], zeros: bool) -> Tensor:
    """The logarithm of a sum of exponentials, by whole rows: many times faster than `torch.logsumexp` over few states.

    Args:
        x: logarithms.
        dims: leading dimensions to sum over.
        zeros: whether all of what is summed may be `-inf` somewhere; the gradient is then 0 there.
    """
    if not dims:
        return x
    top = x.detach().amax(dims, keepdim=True)
    if not zeros:
        return (x - top).exp().sum(dims).log() + top.squeeze(dims)
    dead = top == -torch.inf
    top = top.masked_fill(dead, 0.0)
    total = (x.masked_fill(dead, 0.0) - top).exp().sum(dims)
    return (total.log() + top.squeeze(dims)).masked_fill(dead.squeeze(dims), -torch.inf)


def shared_out(x: Tensor, zeros: bool) -> Tensor:
    """Probabilities from logarithms along the first dimension; 0 where all are `-inf`."""
    total = log_sum(x, (0,), zeros)
    if not zeros:
        return (x - total).exp()
    dead = total == -torch.inf
    return (x.masked_fill(dead, 0.0) - total.masked_fill(dead, 0.0)).exp().masked_fill(dead, 0.0)


def spread(x: Tensor, slot: int, slots: int) -> Tensor:
    """(states, rows...) as (1, ..., states, ..., 1, rows...), the states in the place of one of several slots."""
    return x.reshape(*(1,) * slot, x.shape[0], *(1,) * (slots - slot - 1), *x.shape[1:])

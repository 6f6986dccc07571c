"""The log-density of states and evidence together."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, pi

import torch
from jaxtyping import Float
from torch import Tensor

from graft.ops.kalman_system import System, apply


def log_joint(
    system: System, states: Float[Tensor, "b t d"], first: Sequence[slice], later: Sequence[slice]
) -> Float[Tensor, " b"]:
    r"""$\log p(z, \text{evidence})$ of one sequence per row.

    Args:
        system: whose states.
        states: z.
        first: the parts of the first state that are drawn; the others are functions of nothing.
        later: the parts of every later state that are drawn anew; the others repeat what was before.
    """
    start = _normal(states[:, 0] - system.mean, system.covariance, first)
    ahead = apply(system.transition, states[:, :-1]) + system.offset
    total = start + _normal(states[:, 1:] - ahead, system.noise, later).sum(-1)
    if system.readings is not None:
        readings = system.readings
        error = readings.value - apply(readings.loading, states)
        dropped = readings.value.shape[-1] - readings.seen
        each = _normal(error, readings.noise, [slice(None)]) + 0.5 * log(2 * pi) * dropped
        total = total + each.sum(-1)
    if system.weights is not None:
        weights = system.weights
        linear = (weights.shift * states).sum(-1) - 0.5 * (states * apply(weights.precision, states)).sum(-1)
        total = total + (linear + weights.constant).sum(-1)
    return total


def _normal(error: Tensor, covariance: Tensor, parts: Sequence[slice]) -> Tensor:
    """The log-density of the parts of a centred vector that have one; 0 if there is none."""
    error = torch.cat([error[..., part] for part in parts], -1) if parts else error[..., :0]
    if not parts:
        return error.sum(-1)
    rows = torch.cat([covariance[..., part, :] for part in parts], -2)
    square = torch.cat([rows[..., part] for part in parts], -1)
    scale = torch.linalg.cholesky(square)
    white = torch.linalg.solve_triangular(scale, error.unsqueeze(-1), upper=False).squeeze(-1)
    half = scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * white.square().sum(-1) - half - 0.5 * log(2 * pi) * error.shape[-1]

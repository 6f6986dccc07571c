"""Breaking a stick: from fractions of what is left to weights that sum to one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def stick_breaking(v: Float[Tensor, "*batch sticks"]) -> Float[Tensor, "*batch sticks+1"]:
    r"""Weights of a stick broken K - 1 times, $\pi_k = v_k \prod_{j<k} (1 - v_j)$, the last the rest.

    The products are taken directly: small weights keep their relative precision, and fractions of exactly
    zero or one are exact, gradients included, which sums of logarithms are not.

    Source: J. Sethuraman, A constructive definition of Dirichlet priors, 1994.

    Args:
        v: fractions in [0, 1].

    Example:
        >>> stick_breaking(torch.tensor([0.5, 0.5]))
        tensor([0.5000, 0.2500, 0.2500])
    """
    one = v.new_ones(*v.shape[:-1], 1)
    left = torch.cat([one, (1 - v).cumprod(-1)], -1)
    return left * torch.cat([v, one], -1)

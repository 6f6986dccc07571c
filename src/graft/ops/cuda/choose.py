"""Where Triton's kernels serve."""

from __future__ import annotations

import math
import os
import warnings
from functools import cache
from importlib.util import find_spec

import torch

#: The most states: a program holds a table of them in its registers.
MOST = 128
#: The oldest generation of cards that kernels were compiled for.
CAPABILITY = (8, 0)


def serves(device: torch.device, states: int) -> bool:
    """Whether kernels serve chains of so many states on a CUDA device; never with `GRAFT_TRITON=0` in the environment.

    Example:
        >>> serves(torch.device("cuda", 0), 129)
        False
    """
    if states > MOST or os.environ.get("GRAFT_TRITON") == "0" or find_spec("triton") is None:
        return False
    return works(device)


@cache
def works(device: torch.device) -> bool:
    """Whether small chains are summed on a device, as tried once; if not, a warning says why, and torch serves.

    Triton needs more than a device: a compiler of C for what launches its kernels, and a driver that knows its code.
    """
    if torch.version.cuda is None or torch.cuda.get_device_capability(device) < CAPABILITY:
        return False
    from graft.ops.cuda.swept import Swept

    try:
        for states in (2, MOST):  # the largest program needs the most of a card
            u = torch.zeros(1, 3, states, device=device)
            swept = Swept(u, u.new_zeros(states, states), torch.full((1,), 3, device=device))
            found, wanted = swept.value().item(), 3 * math.log(states)
            if not math.isclose(found, wanted, rel_tol=1e-5):
                return _warned(device, f"the log of {states}^3 is {found}")
    except Exception as error:
        return _warned(device, f"{type(error).__name__}: {error}")
    return True


def _warned(device: torch.device, why: str) -> bool:
    message = f"chains on {device} are summed by torch, step by step, as Triton's kernels fail there ({why})"
    warnings.warn(message, stacklevel=4)
    return False

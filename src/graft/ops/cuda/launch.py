"""How kernels are launched: how many programs and threads, on which device."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor


def block(states: int) -> int:
    """The power of two that states are padded to.

    Example:
        >>> [block(states) for states in (1, 2, 3, 16, 17)]
        [2, 2, 4, 16, 32]
    """
    return max(2, 1 << (states - 1).bit_length())


def warps(states: int) -> int:
    """Of a program, so that no thread holds more than 32 entries of a table; not tuned on a device.

    Example:
        >>> [warps(states) for states in (2, 16, 32, 64, 128)]
        [1, 1, 2, 8, 16]
    """
    return min(max(block(states) ** 2 // 512, 1), 16)


def launch(kernel: Any, programs: int, like: Tensor, *arguments: Any, num_warps: int, **constants: Any) -> None:
    """Queues as many programs of a kernel on the device of a tensor, and does not wait for them."""
    # Triton launches on the current device, whatever the arguments are on
    with torch.cuda.device(like.device) if like.is_cuda else nullcontext():
        kernel[(programs,)](*arguments, num_warps=num_warps, **constants)

"""Autograd's modes: exact answers are gradients, also where the caller has gradients switched off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def ordinary() -> Iterator[None]:
    """In inference mode: as under `no_grad`, so that what is made can be saved for a backward pass later."""
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield


@contextmanager
def differentiable() -> Iterator[bool]:
    """Gradients on, whatever the caller's mode; tells whether the caller wants to differentiate further."""
    again = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        yield again


def plain(tensor: Tensor) -> Tensor:
    """A tensor that autograd may save, also if it was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor

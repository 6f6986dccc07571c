"""Random state: that of the caller is left as it was, that of a run is saved and put back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def capture(device: torch.device) -> dict[str, Any]:
    """The global random states of torch, Python and NumPy, as plain values and tensors.

    Args:
        device: whose generator counts too, if it is a CUDA device.

    Example:
        >>> before = capture(torch.device("cpu"))
        >>> first = torch.rand(())
        >>> restore(before)
        >>> bool(first == torch.rand(()))
        True
    """
    version, words, gauss = random.getstate()
    kind, keys, place, has, cached = np.random.get_state()
    state = {
        "torch": torch.get_rng_state(),
        "python": (version, torch.tensor(words), gauss),
        "numpy": (str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), int(place), int(has), float(cached)),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore(state: dict[str, Any], device: torch.device | None = None) -> None:
    """Put back what `capture` gave."""
    torch.set_rng_state(state["torch"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    kind, keys, place, has, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), place, has, cached))
    if "cuda" in state and device is not None:
        torch.cuda.set_rng_state(state["cuda"], device)


def seeded(seed: int, rank: int, device: torch.device) -> None:
    """Set every global generator from a seed; each process draws its own numbers."""
    words = np.random.SeedSequence([seed % 2**64, rank]).generate_state(6)
    # not torch.manual_seed, which would reach the generators of devices that nobody uses here
    torch.default_generator.manual_seed(int(words[0]) << 32 | int(words[1]))
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(int(words[0]) << 32 | int(words[1]))
    random.seed(int(words[2]) << 32 | int(words[3]))
    np.random.seed(words[4:])


@contextmanager
def isolated(device: torch.device) -> Iterator[None]:
    """Whatever is drawn inside, the global random states are afterwards as before."""
    before = capture(device)
    try:
        yield
    finally:
        restore(before, device)

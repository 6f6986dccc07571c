"""What the pictures of all recipes on images need."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graft.model import Model
from graft.zoo.experiment.experiment import Pair


def squares(rows: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """Rows of cells as images: (count, height, width)."""
    return rows.detach().reshape(-1, *shape).numpy()


def mean_of(model: Model, name: str, given: Mapping[str, Tensor]) -> Tensor:
    """The mean of a variable given others."""
    with torch.no_grad():
        found: Any = model.given(given).marginals[name]
        mean: Tensor = found.mean
        return mean


def diagram(trained: Mapping[str, Pair], folder: Path) -> Path:
    """The diagram of the first arm, for recipes whose arms have one model."""
    first, path = next(iter(trained.values())), folder / "model.png"
    first.model.draw(first.guide, path)
    return path

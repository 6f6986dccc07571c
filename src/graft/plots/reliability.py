"""A reliability diagram: the share of decisions that are right against the confidence they were made with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graft.errors import ShapeError


def draw(
    tables: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    *,
    title: str = "",
    path: str | Path | None = None,
) -> Any:
    """Draw one line a method; a point's area is the share of the decisions in its bin.

    Args:
        tables: by name, (counts, mean confidence, share that is right) of each bin.
        title: stands above.
        path: where to write the picture, if anywhere.

    Returns:
        A matplotlib `Figure`, independent of pyplot.

    Raises:
        ShapeError: the three are not equally long.

    Source: Guo et al., *On calibration of modern neural networks* (2017), figure 1.

    Example:
        >>> figure = draw({"net": (np.array([2, 8]), np.array([0.4, 0.9]), np.array([0.5, 0.85]))})
        >>> figure.axes[0].get_xlabel()
        'confidence'
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":", label="calibrated")
    for name, (counts, confidence, right) in tables.items():
        if not len(counts) == len(confidence) == len(right):
            lengths = f"{len(counts)}, {len(confidence)} and {len(right)}"
            raise ShapeError(f"{name}: counts, confidence and accuracy have {lengths} bins")
        full = counts > 0
        (line,) = axes.plot(confidence[full], right[full], linewidth=1, label=name)
        # so that a bin of few is still seen
        areas = 12 + 300 * counts[full] / max(1, counts.sum())
        axes.scatter(confidence[full], right[full], s=areas, color=line.get_color(), alpha=0.6)
    axes.set(xlabel="confidence", ylabel="share that is right", title=title, xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="upper left", frameon=False)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure

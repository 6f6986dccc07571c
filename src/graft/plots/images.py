"""Images in a grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from graft.errors import ShapeError


def draw(
    rows: list[tuple[str, np.ndarray]], *, title: str = "", path: str | Path | None = None, height: float = 0.55
) -> Any:
    """Draw lines of images, each with a word at its left; 0 is white, 1 black.

    Args:
        rows: (label, images of shape (count, height, width)), a line each.
        title: stands above.
        path: where to write the picture, if anywhere.
        height: of a line, in inches.

    Returns:
        A matplotlib `Figure`, independent of pyplot.

    Raises:
        ShapeError: a line is not three-dimensional, or there is none.

    Example:
        >>> figure = draw([("drawn", np.zeros((5, 8, 8))), ("", np.ones((5, 8, 8)))])
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['drawn', '']
    """
    from matplotlib.figure import Figure

    for label, images in rows:
        if images.ndim != 3:
            raise ShapeError(f"{label!r} must be (count, height, width), not {images.shape}")
    if not rows:
        raise ShapeError("there are no images to draw")
    most = max(len(images) for _, images in rows)
    figure = Figure(figsize=(max(3.0, height * most + 1.0), height * len(rows) + 0.5), layout="constrained")
    lines = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axes, (label, images) in zip(lines, rows, strict=True):
        axes.imshow(_strip(images, most), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        axes.set(xticks=[], yticks=[])
        for side in axes.spines.values():
            side.set_visible(False)
    figure.suptitle(title, fontsize=10)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _strip(images: np.ndarray, most: int) -> np.ndarray:
    """Side by side, a white column between, empty places at the end."""
    count, height, width = images.shape
    strip = np.zeros((height, most * (width + 1) - 1))
    for k in range(count):
        strip[:, k * (width + 1) : k * (width + 1) + width] = images[k]
    return strip

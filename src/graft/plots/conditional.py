"""A conditional density of one number given another, as shades, with the data over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from graft.errors import ShapeError


def draw_conditional(
    x: np.ndarray,
    y: np.ndarray,
    density: np.ndarray,
    *,
    points: np.ndarray | None = None,
    title: str = "",
    path: str | Path | None = None,
) -> Any:
    r"""Draw $p(y \mid x)$: every column of the picture is a density of its own, darkest where it is densest.

    Args:
        x: (n,), equally spaced.
        y: (m,), equally spaced.
        density: (m, n), of each y at each x.
        points: (k, 2), pairs of x and y to draw over it.
        title: stands above.
        path: where to write the picture, if anywhere.

    Returns:
        A matplotlib `Figure`, independent of pyplot.

    Raises:
        ShapeError: the density does not fit x and y, or the points are no pairs.

    Example:
        >>> figure = draw_conditional(np.arange(3.0), np.arange(2.0), np.ones((2, 3)), points=np.zeros((1, 2)))
        >>> figure.axes[0].get_ylabel()
        'y'
    """
    from matplotlib.figure import Figure

    if density.shape != (len(y), len(x)):
        raise ShapeError(f"the density must be ({len(y)}, {len(x)}), a row for each y, not {density.shape}")
    if points is not None and (points.ndim != 2 or points.shape[1] != 2):
        raise ShapeError(f"points must be (k, 2), not {points.shape}")
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.subplots()
    # a root, so that a broad density is still seen beside a narrow one
    axes.pcolormesh(x, y, np.sqrt(density), cmap="Blues", shading="nearest")
    if points is not None:
        axes.scatter(*points.T, s=3, color="#222222", alpha=0.4, linewidths=0)
    axes.set(xlabel="x", ylabel="y", title=title, xlim=(x.min(), x.max()), ylim=(y.min(), y.max()))
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure

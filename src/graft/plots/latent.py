"""Aggregate posteriors beside a standard normal prior."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from graft.errors import ShapeError


def draw_plane(points: np.ndarray, labels: np.ndarray, *, title: str = "", path: str | Path | None = None) -> Any:
    """Draw points of a plane by class, over the circles that hold 50, 90 and 99 % of a standard normal.

    Args:
        points: (n, 2).
        labels: (n,), the class of each.
        title: stands above.
        path: where to write the picture, if anywhere.

    Returns:
        A matplotlib `Figure`, independent of pyplot.

    Raises:
        ShapeError: the points are not of a plane, or the labels not as many.

    Example:
        >>> figure = draw_plane(np.zeros((4, 2)), np.array([0, 1, 1, 0]))
        >>> len(figure.axes[0].patches)
        3
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    if points.ndim != 2 or points.shape[1] != 2 or len(labels) != len(points):
        raise ShapeError(f"points must be (n, 2) with n labels, not {points.shape} with {labels.shape}")
    figure = Figure(figsize=(6.2, 5.6), layout="constrained")
    axes = figure.subplots()
    for label in np.unique(labels):
        mine = points[labels == label]
        axes.scatter(*mine.T, s=5, alpha=0.6, color=f"C{int(label) % 10}", label=str(label), linewidths=0)
    for share in (0.5, 0.9, 0.99):
        # the squared radius has the distribution of an exponential of mean 2
        radius = float(np.sqrt(-2 * np.log(1 - share)))
        axes.add_patch(Circle((0, 0), radius, fill=False, color="#222222", linewidth=0.8, linestyle=":"))
        axes.annotate(f"{share:.0%}", (0, radius), fontsize=7, ha="center", va="bottom")
    axes.set(title=title, xlabel="z[0]", ylabel="z[1]", aspect="equal")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, markerscale=3)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def draw_units(mean: np.ndarray, scale: np.ndarray, *, title: str = "", path: str | Path | None = None) -> Any:
    r"""Draw each unit's aggregate posterior by its variance, split in two.

    By the law of total variance $\mathrm{Var}\,z = \mathrm{Var}_x\,E[z \mid x] + E_x \mathrm{Var}[z \mid x]$,
    which is 1 where the aggregate posterior has the prior's variance. The first part is what the unit tells of x.

    Args:
        mean: (n, units), of each image's posterior.
        scale: likewise, its standard deviation.
        title: stands above.
        path: where to write the picture, if anywhere.

    Returns:
        A matplotlib `Figure`, independent of pyplot.

    Raises:
        ShapeError: mean and scale differ.

    Example:
        >>> draw_units(np.zeros((4, 3)), np.ones((4, 3))).axes[0].get_ylabel()
        'variance over images'
    """
    from matplotlib.figure import Figure

    if mean.ndim != 2 or mean.shape != scale.shape:
        raise ShapeError(f"mean and scale must both be (n, units), not {mean.shape} and {scale.shape}")
    told, rest = mean.var(0), (scale**2).mean(0)
    order = np.argsort(-told)
    figure = Figure(figsize=(max(5.0, 0.14 * len(told) + 2), 3.2), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(told))
    axes.bar(places, told[order], color="C0", label="of the means: what z tells of x")
    axes.bar(places, rest[order], bottom=told[order], color="#cccccc", label="within: the posterior's own")
    axes.axhline(1, color="#222222", linewidth=0.8, linestyle=":", label="the prior's")
    axes.set(title=title, xlabel="unit, by what it tells", ylabel="variance over images")
    axes.legend(loc="lower left", fontsize=8)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure

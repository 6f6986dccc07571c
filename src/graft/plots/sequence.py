"""A labelled sequence: its frames, the posterior of every label over time, and the decoded path against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graft.errors import ShapeError

Segment = tuple[int, int, int]  # first frame, frame after the last, label

INK = "#222222"
RIGHT, WRONG, TRUE = "#cfe3d4", "#f2b8b5", "#dddddd"
OUTLINE = "#d9730d"


def draw(
    image: np.ndarray,
    marginals: np.ndarray,
    decoded: Sequence[Segment],
    truth: Sequence[Segment],
    names: Sequence[str],
    *,
    title: str = "",
    path: str | Path | None = None,
) -> Any:
    """Draw one sequence of T frames; a decoded segment is red if no true one of its label overlaps it.

    Args:
        image: frames side by side (height, width), stretched over the T frames.
        marginals: (T, labels), the posterior probability of each label at each frame.
        decoded: segments (first frame, frame after the last, label).
        truth: likewise.
        names: what the labels are called.
        title: stands above.
        path: where to write the picture, if anywhere.

    Returns:
        A matplotlib `Figure`, independent of pyplot.

    Raises:
        ShapeError: marginals are not (T, labels).

    Example:
        >>> figure = draw(np.zeros((8, 16)), np.eye(2), [(0, 2, 0)], [(0, 1, 0), (1, 2, 1)], ["a", "b"])
        >>> [axes.get_ylabel() for axes in figure.axes]
        ['frames', 'label', '', 'p(label | frames)']
    """
    from matplotlib.figure import Figure

    if marginals.ndim != 2 or marginals.shape[1] != len(names):
        raise ShapeError(f"marginals must be (T, {len(names)}), but have shape {marginals.shape}")
    length = len(marginals)
    figure = Figure(figsize=(min(16.0, max(6.0, 0.36 * length + 1.4)), 5.2), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(1.0, 2.6, 0.9))
    _frames(top, image, length)
    shades = _marginals(middle, marginals, truth, names)
    figure.colorbar(shades, ax=middle, label="p(label | frames)", pad=0.01)
    _bars(bottom, decoded, truth, names)
    bottom.set(xlim=(0, length), xlabel="frame")
    figure.suptitle(title, fontsize=10, color=INK)
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _frames(axes: Any, image: np.ndarray, length: int) -> None:
    axes.imshow(image, cmap="gray_r", aspect="auto", extent=(0, length, 0, 1), interpolation="nearest")
    axes.set(ylabel="frames", yticks=[])
    axes.vlines(np.arange(1, length), 0, 1, color="white", linewidth=0.6)


def _marginals(axes: Any, marginals: np.ndarray, truth: Sequence[Segment], names: Sequence[str]) -> Any:
    """Shades of probability, the true path outlined on top."""
    labels = len(names)
    shades = axes.imshow(
        marginals.T,
        cmap="Blues",
        vmin=0,
        vmax=1,
        aspect="auto",
        origin="lower",
        extent=(0, len(marginals), -0.5, labels - 0.5),
        interpolation="nearest",
    )
    for begin, end, label in truth:
        low, high = label - 0.5, label + 0.5
        corners = [begin, end, end, begin, begin], [low, low, high, high, low]
        axes.plot(*corners, color=OUTLINE, linewidth=1.1)
    axes.set(ylabel="label", yticks=range(labels), yticklabels=list(names), ylim=(-0.5, labels - 0.5))
    return shades


def _bars(axes: Any, decoded: Sequence[Segment], truth: Sequence[Segment], names: Sequence[str]) -> None:
    """Decoded above true: a bar for each segment."""
    open_ = list(truth)
    for segment in decoded:
        match = next((other for other in open_ if _same(segment, other)), None)
        if match is not None:
            open_.remove(match)  # one true segment answers for one decoded one
        _bar(axes, segment, 1, WRONG if match is None else RIGHT, names)
    for segment in truth:
        _bar(axes, segment, 0, TRUE, names)
    axes.set(ylim=(-0.5, 1.5), yticks=[0, 1], yticklabels=["truth", "decoded"])
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _same(one: Segment, other: Segment) -> bool:
    """Whether two segments have the same label and share a frame."""
    return one[2] == other[2] and max(one[0], other[0]) < min(one[1], other[1])


def _bar(axes: Any, segment: Segment, height: int, colour: str, names: Sequence[str]) -> None:
    begin, end, label = segment
    axes.barh(height, end - begin, left=begin, height=0.8, color=colour, edgecolor="white", linewidth=1.5)
    axes.text((begin + end) / 2, height, names[label], ha="center", va="center", fontsize=10, color=INK)

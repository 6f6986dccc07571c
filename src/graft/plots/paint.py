"""Ink: one function a kind of mark."""

from __future__ import annotations

from typing import Any

import numpy as np

from graft.plots.marks import Box, Edge, Note, Symbol
from graft.plots.text import NAME, SMALL

INK, SHADE, PLATE, TIME = "black", "#d0d0d0", "#777777", "#a07000"
DASH = (0, (4.0, 2.2))
_WIDTH, _LENGTH, _BREADTH = 1.0, 0.115, 0.042


def paint_symbol(axes: Any, symbol: Symbol) -> None:
    """A square, or an ellipse with its name: shaded for an input, double for a computed variable."""
    from matplotlib.patches import Ellipse, Rectangle

    (x, y), (w, h) = symbol.at, symbol.half
    if symbol.kind == "factor":
        axes.add_patch(Rectangle((x - w, y - h), 2 * w, 2 * h, facecolor=INK, edgecolor=INK, lw=_WIDTH, zorder=4))
        return
    line = DASH if symbol.guide else "solid"
    face, edge = (SHADE, "none") if symbol.kind == "input" else ("white", INK)
    axes.add_patch(Ellipse((x, y), 2 * w, 2 * h, facecolor=face, edgecolor=edge, lw=_WIDTH, ls=line, zorder=4))
    if symbol.kind == "computed":
        inner = Ellipse((x, y), 2 * w - 0.09, 2 * h - 0.09, fill=False, edgecolor=INK, lw=0.7, zorder=4)
        axes.add_patch(inner)
    axes.text(x, y - 0.01, symbol.label, ha="center", va="center", fontsize=NAME, zorder=5)


def paint_edge(axes: Any, edge: Edge) -> None:
    """A line, dashed for the guide, with its head."""
    from matplotlib.patches import Polygon

    points = np.array(edge.points)
    if edge.head != "none":
        points, triangle = _head(points)
        face = INK if edge.head == "filled" else "white"
        axes.add_patch(
            Polygon(triangle, closed=True, facecolor=face, edgecolor=INK, lw=0.9, zorder=3.5, joinstyle="miter")
        )
    style = DASH if edge.guide else "solid"
    axes.plot(points[:, 0], points[:, 1], color=INK, lw=_WIDTH, ls=style, zorder=3, solid_capstyle="butt")


def _head(points: Any) -> tuple[Any, Any]:
    """The line as far as the head's base, and the head."""
    tip = points[-1]
    away = np.linalg.norm(points - tip, axis=1)
    outside = np.nonzero(away > _LENGTH)[0]
    last = int(outside[-1]) if outside.size else 0
    back = points[last] - tip
    back = back / max(float(np.linalg.norm(back)), 1e-9)
    base, across = tip + _LENGTH * back, _BREADTH * np.array([-back[1], back[0]])
    return np.vstack([points[: last + 1], base]), np.array([tip, base + across, base - across])


def paint_box(axes: Any, box: Box) -> None:
    """A plate in grey; a time axis dotted and tinted."""
    from matplotlib.patches import FancyBboxPatch

    (x0, y0), (x1, y1) = box.low, box.high
    round_ = f"round,pad=0,rounding_size={min(0.1, (y1 - y0) / 4):.3f}"
    style: dict[str, Any] = {"facecolor": "none", "edgecolor": PLATE, "lw": 1.0}
    if box.time:
        style = {"facecolor": "#f5e6c055", "edgecolor": TIME, "lw": 1.0, "ls": (0, (1.0, 1.6))}
    patch = FancyBboxPatch((x0, y0), x1 - x0, y1 - y0, boxstyle=round_, zorder=1, **style)
    axes.add_patch(patch)
    paint_note(axes, box.label, TIME if box.time else "#555555")


def paint_note(axes: Any, note: Note, colour: str = "#333333") -> None:
    """A small text."""
    axes.text(*note.at, note.text, ha="center", va="center", fontsize=SMALL, color=colour, zorder=6)

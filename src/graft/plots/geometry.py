"""Rectangles and lines, for whole batches of layouts at once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Between a box and what it holds; below, where its letter stands; and more for every further box.
PAD, STRIP, MORE = 0.15, 0.17, 0.045


def rectangles(low: Array, high: Array, members: list[list[int]]) -> tuple[Array, Array]:
    """The boxes around their members, each around the boxes inside it.

    Args:
        low: lower left corners of what may be held (layouts, symbols, 2).
        high: upper right corners.
        members: of every box, the innermost first.

    Returns:
        Corners of the boxes (layouts, boxes, 2).
    """
    lows: list[Array] = []
    highs: list[Array] = []
    for k, held in enumerate(members):
        inside = [j for j in range(k) if set(members[j]) <= set(held)]
        bottom = np.minimum.reduce([low[:, held].min(1), *(lows[j] for j in inside)])
        top = np.maximum.reduce([high[:, held].max(1), *(highs[j] for j in inside)])
        pad = PAD + MORE * (k % 3)
        lows.append(bottom - np.array([pad, pad + STRIP]))
        highs.append(top + pad)
    return np.stack(lows, 1), np.stack(highs, 1)


def overlaps(low_a: Array, high_a: Array, low_b: Array, high_b: Array) -> Array:
    """How deep rectangles lie in each other: the smaller of both directions, 0 if apart."""
    depth = np.minimum(high_a, high_b) - np.maximum(low_a, low_b)
    return np.maximum(depth.min(-1), 0.0)


def closeness(start: Array, end: Array, centre: Array, half: Array) -> Array:
    """The distance from centres to line pieces, in units of the ellipse with these half axes."""
    a, b = (start - centre) / half, (end - centre) / half
    along = b - a
    square = np.maximum((along**2).sum(-1), 1e-9)
    part = np.clip(-(a * along).sum(-1) / square, 0.0, 1.0)
    return np.linalg.norm(a + part[..., None] * along, axis=-1)


def crossing(a: Array, b: Array, c: Array, d: Array) -> Flags:
    """Whether the piece from a to b crosses that from c to d."""
    return (_side(a, b, c) * _side(a, b, d) < -1e-9) & (_side(c, d, a) * _side(c, d, b) < -1e-9)


def _side(a: Array, b: Array, c: Array) -> Array:
    return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])


def bezier(points: Array, count: int = 33) -> Array:
    """A quadratic or cubic curve as a line of points."""
    t = np.linspace(0.0, 1.0, count)[:, None]
    lines = list(points)
    while len(lines) > 1:
        lines = [(1 - t) * p + t * q for p, q in pairwise(lines)]
    return np.asarray(lines[0])

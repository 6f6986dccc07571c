"""Marginals of all pairs of neighbours, from what a sweep of one table leaves behind."""

from __future__ import annotations

from typing import Any, no_type_check

from graft.ops.cpu.compile import compiled
from graft.ops.cpu.vectors import fill, lanes, load, store_some


@compiled
@no_type_check
def pairs(
    table: Any, stride: int, lengths: Any, alpha: Any, onward: Any, out: Any, sizes: Any, first: int, last: int
) -> None:
    """Fills `out`, flat (b, T-1, S, S), of blocks `first` to `last`; 0 beyond a row's length.

    Args:
        table: see `table.prepare`.
        alpha, onward: as `table.backward` left them.
        sizes: T, S, width, height, run.
    """
    steps, size, width, height, _ = sizes
    wide, square = lanes(alpha), size * size
    for block in range(first, last):
        for r in range(min(height, lengths.size - block * height)):
            row = block * height + r
            end = max(lengths[row] - 1, 0)
            for t in range(end):
                at = ((block * steps + t) * height + r) * width
                ahead = at + height * width
                for i in range(size):
                    by, line = fill(alpha, alpha[at + i]), block * stride + i * width
                    place = (row * (steps - 1) + t) * square + i * size
                    for j in range(0, size, wide):
                        share = by * load(table, line + j) * load(onward, ahead + j)
                        store_some(out, place + j, size - j, share)
            out[(row * (steps - 1) + end) * square : (row + 1) * (steps - 1) * square] = 0.0

"""Marginals of all pairs of neighbours, from what a sweep of one table leaves behind."""

from __future__ import annotations

from typing import Any, no_type_check

from graft.ops.cpu.compile import compiled
from graft.ops.cpu.vectors import fill, lanes, load, store_some


@compiled
@no_type_check
def write_pairs(
    table: Any, w_at: int, lengths: Any, row: int, count: int, buffer: Any, before: int, ahead: int, out: Any,
    begin: int, inside: int, sizes: Any,
) -> None:  # fmt: skip
    """Fills `out`, flat (b, T-1, S, S), for the pairs that begin in a chunk of a block, as far as they exist.

    Args:
        table: see `table.prepare`.
        buffer: weighted messages from `before` on, and scaled ones of the next elements from `ahead` on.
        lengths: of all rows, `count` of which are those of the block, from `row` on.
        begin, inside: where the chunk begins, and of how many pairs.
        sizes: T, S, width, height, run.
    """
    steps, size, width, height, _ = sizes
    wide, area = lanes(buffer), size * size
    for r in range(count):
        base = (row + r) * (steps - 1) * area
        for t in range(max(0, min(inside, lengths[row + r] - 1 - begin))):
            at = (t * height + r) * width
            for i in range(size):
                by, place = fill(buffer, buffer[before + at + i]), base + (begin + t) * area + i * size
                for j in range(0, size, wide):
                    share = by * load(table, w_at + i * width + j) * load(buffer, ahead + at + j)
                    store_some(out, place + j, size - j, share)

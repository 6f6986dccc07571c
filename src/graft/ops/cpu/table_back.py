"""Backward sweeps of chains whose transitions are one table at all steps, in linear space: the way back of `table`.

Weighted messages of a chunk stand in scratch memory as contiguous rows, so that the expected counts of a block are a
product of two matrices.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np

from graft.ops.cpu.compile import compiled
from graft.ops.cpu.product import product, step
from graft.ops.cpu.table import STEPS, emit, faintest, overlap, peak
from graft.ops.cpu.table_pairs import write_pairs
from graft.ops.cpu.vectors import exponent, fill, lanes, load, pointer, power_of_two, store, store_some


@compiled
@no_type_check
def backward(
    unary: Any, maxima: Any, transposed: Any, table: Any, stride: int, lengths: Any, messages: Any, scratch: Any,
    weight: Any, by_unary: Any, counts: Any, pairs: Any, lost: Any, sizes: Any, floor: float, first: int, last: int,
) -> None:  # fmt: skip
    """Sweeps blocks back from where `forward` ended: marginals, and expected counts of transitions.

    Args:
        transposed, table: see `prepare`; the rest as in `forward`, which has filled `messages` and `maxima`.
        scratch: of this thread, flat (2 STEPS + 2, height, width) at least.
        weight: (b), what each row's marginals are multiplied by.
        by_unary: flat (b, T, S), on exit the weighted marginals; 0 beyond a row's length.
        counts: flat (width, width) or one for each block, to which weighted counts, over the table, are added.
        pairs: flat (b, T-1, S, S), zero on entry, on exit the weighted marginals of pairs; or nothing.
    """
    steps, size, width, height, run = sizes
    square, wide = height * width, lanes(messages)
    u, w, alpha, highs, buffer = (
        pointer(unary),
        pointer(transposed),
        pointer(messages),
        pointer(maxima),
        pointer(scratch),
    )
    out, sums, ends, weighing = pointer(by_unary), pointer(counts), pointer(lengths), pointer(weight)
    # scaled emissions times messages of a chunk and of the first element after it; messages; those from behind
    ahead, before, beta = 0, (STEPS + 1) * square, (2 * STEPS + 1) * square
    factors, scales = np.zeros(height), np.ones(height)
    factor, scale = pointer(factors), pointer(scales)
    inner = size if height % 8 == 0 else (size + 7) // 8 * 8
    for block in range(last - 1, first - 1, -1):  # what was written last is still near
        row, base, w_at = block * height, block * steps * square, block * stride
        count = min(height, lengths.size - row)
        end, least = lengths[row : row + count].max(), lengths[row : row + count].min()
        factors[:] = 0.0
        # messages between two scalings forward are scaled alike, and here by one factor
        left = (end - 1) % run
        for r in range(count):
            by_unary[((row + r) * steps + end) * size : (row + r + 1) * steps * size] = 0.0
        for j in range(beta if count == height else before, beta + square, wide):
            store(buffer, j, fill(buffer, 0.0))
        for begin in range((end - 1) // STEPS * STEPS, -1, -STEPS):
            stop = min(begin + STEPS, end)
            for r in range(height):
                there = min(ends[row + r], stop) - begin if r < count else 0
                at = (row + r) * steps + begin
                emit(u, at * size, there, stop - begin, size, buffer, ahead + r * width, square, width, highs, at, True)
            for t in range(stop - 1, begin - 1, -1):
                at, here, due = base + t * square, ahead + (t - begin) * square, left == run - 1
                if t < end - 1:
                    step(buffer, beta, buffer, here + square, w, w_at, height, width, inner)
                left = run - 1 if left == 0 else left - 1
                if due or t >= least - 1:
                    weights(alpha, at, buffer, beta, width, ends, row, count, t, size, due, weighing, factor, scale)
                gather_rows(
                    alpha, at, buffer, here, before + (t - begin) * square, beta, width, count, factor, scale,
                    out, (row * steps + t) * size, steps * size, size,
                )  # fmt: skip
                if due or t >= least - 1:
                    for r in range(count):
                        factor[r], scale[r] = factor[r] / scale[r], 1.0
                if floor > 0.0:
                    for r in range(count):
                        if faintest(buffer, here + r * width, width) < floor:
                            lost[row + r] = True
            inside = min(stop, end - 1) - begin
            if inside > 0:
                product(
                    sums, w_at, width, buffer, before, 1, width, buffer, ahead + square, width,
                    (size + 7) // 8 * 8, width, inside * height, True,
                )  # fmt: skip
            if pairs.size > 0:
                write_pairs(table, w_at, ends, row, count, buffer, before, ahead + square, pairs, begin, inside, sizes)
            for j in range(0, square, wide):
                store(buffer, ahead + STEPS * square + j, load(buffer, ahead + j))


@compiled
@no_type_check
def weights(
    alpha: Any, at: int, buffer: Any, beta: int, width: int, lengths: Any, row: int, count: int, t: int, size: int,
    due: bool, weight: Any, factor: Any, scale: Any,
) -> None:  # fmt: skip
    """Begins rows at their last elements; there, and if `due`, finds what messages are to be multiplied by."""
    wide = lanes(alpha)
    for r in range(count):
        here, last_one = beta + r * width, t == lengths[row + r] - 1
        if last_one:
            for j in range(0, size, wide):
                store_some(buffer, here + j, size - j, fill(buffer, 1.0))
        if last_one or due:
            mass = overlap(alpha, at + r * width, buffer, here, width)
            factor[r] = weight[row + r] / mass if mass > 0.0 else 0.0
            scale[r] = power_of_two(-exponent(peak(buffer, here, width)))


@compiled
@no_type_check
def gather_rows(
    alpha: Any, at: int, buffer: Any, e_at: int, to: int, beta: int, width: int, count: int, factor: Any, scale: Any,
    out: Any, out_at: int, out_row: int, size: int,
) -> None:  # fmt: skip
    """Marginals of one element of each row; messages, weighted, are left behind for the counts and the next step."""
    wide = lanes(alpha)
    full = size // wide * wide
    for r in range(count):
        by, rescale, row, place = fill(alpha, factor[r]), fill(alpha, scale[r]), r * width, out_at + r * out_row
        for j in range(0, width, wide):
            k = row + j
            back, ahead = load(buffer, beta + k), load(alpha, at + k) * by
            if j < full:
                store(out, place + j, ahead * back)
            else:
                store_some(out, place + j, size - j, ahead * back)
            store(buffer, to + k, ahead)
            store(buffer, e_at + k, load(buffer, e_at + k) * (back * rescale))


@compiled
@no_type_check
def gathered(sums: Any, table: Any, size: int, width: int, out: Any) -> None:
    """Expected counts (tables, S, S), from the sums of each thread or table, which lack the factor of the table."""
    square = width * width
    for k in range(out.shape[0]):
        for i in range(size):
            for j in range(size):
                at, found = k * square + i * width + j, 0.0
                if out.shape[0] > 1:
                    found = float(sums[at])
                else:
                    for part in range(0, sums.size, square):
                        found += sums[part + at]
                out[k, i, j] = found * table[at]

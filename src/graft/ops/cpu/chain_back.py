"""The backward half of `graft.ops.cpu.chain_lanes`: posteriors, and the sums that an M-step takes."""

from __future__ import annotations

from typing import Any, no_type_check

from graft.ops.cpu.chain_ahead import TINY, with_squares
from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.gram import gram
from graft.ops.cpu.lanewise import divide, exponents, inverse_power
from graft.ops.cpu.product import product
from graft.ops.cpu.vectors import bottom, fill, lanes, load, maximum, smaller_positive, store

#: Steps whose moments and counts are summed at a time: what they are of still lies in the cache.
STEPS = 16


@inlined
@no_type_check
def retreat(
    alpha: Any, e: Any, at: int, beta: Any, parts: Any, raw: int, shares: Any, into: int, starts: Any, mass: Any,
    first: bool, v: int, watch: bool, sizes: Any,
) -> float:  # fmt: skip
    """Posteriors of one step, and its messages weighted for the counts; returns the least positive number ahead."""
    states, _, groups, _, _, height = sizes
    found, size = fill(e, 0.0), fill(e, 0.0)
    for s in range(states):
        back = load(beta, s * height + v)
        found = found + load(alpha, at + s * height + v) * back
        size = size + back
    by = divide(fill(e, 1.0), maximum(found, fill(e, TINY)))
    scale, least = inverse_power(exponents(size)), fill(e, 1.0)
    for s in range(states):
        place = at + s * height + v
        back, ahead = load(beta, s * height + v), load(alpha, place) * by
        share, onward = ahead * back, load(e, place) * (back * scale)
        store(alpha, place, ahead)
        store(e, place, onward)
        if watch:
            least = smaller_positive(least, onward)
        if first:
            store(starts, s * height + v, load(starts, s * height + v) + share)
        if groups == 1:
            store(shares, into + s * height + v, share)
        else:
            for k in range(s * groups, (s + 1) * groups):
                part = share * load(parts, raw + k * height + v)
                store(shares, into + k * height + v, part)
                store(mass, k * height + v, load(mass, k * height + v) + part)
    return bottom(least)


@compiled
@no_type_check
def backward(
    x: Any, x_at: int, lines: int, both: Any, symbols: Any, y_at: int, table: Any, lengths: Any, row: int, alpha: Any,
    e: Any, parts: Any, shares: Any, beta: Any, counts: Any, starts: Any, mass: Any, moments: Any, floor: float,
    sizes: Any,
) -> bool:  # fmt: skip
    """Sweeps the block back from where `forward` ended, and adds to all sums; returns whether a number was lost.

    `beta` is a line of each state, all 0.
    """
    states, width, _, rows, features, height = sizes
    steps, line, watch, lost, ended = lengths[row], width * height, floor > 0.0, False, 0
    for t in range(steps - 1, -1, -1):
        at, into = t * line, t % STEPS * rows * height
        if t < steps - 1:
            product(beta, 0, height, table, 0, width, 1, e, at + line, height, width, height, states, False)
        while ended < height and lengths[row + ended] - 1 == t:
            for s in range(states):
                beta[s * height + ended] = 1.0
            ended += 1
        for v in range(0, height, lanes(e)):
            least = retreat(
                alpha, e, at, beta, parts, t * rows * height, shares, into, starts, mass, t == 0, v, watch, sizes
            )
            lost = lost or least < floor
        if t % STEPS == 0:
            stop = min(t + STEPS, steps)
            if features > 0:
                for k in range(t, stop if lines < features else t):
                    with_squares(x, x_at + k * lines * height, lines, both, (k - t) * features * height, height)
                data, there = (both, 0) if lines < features else (x, x_at + t * lines * height)
                gram(
                    moments, features, shares, 0, rows * height, data, there, features * height, rows, height, stop - t
                )  # fmt: skip
            else:
                tally(moments, symbols, y_at + t * height, shares, stop - t, sizes)
            pairs = min(stop, steps - 1) - t
            gram(counts, width, alpha, at, line, e, at + line, line, width, height, pairs)
    return lost


@inlined
@no_type_check
def tally(moments: Any, symbols: Any, y_at: int, shares: Any, steps: int, sizes: Any) -> None:
    """Adds shares to the columns of a table of symbols."""
    _, width, _, rows, _, height = sizes
    for t in range(steps):
        for r in range(height):
            column = symbols[y_at + t * height + r] * width
            for k in range(width):
                moments[column + k] += shares[(t * rows + k) * height + r]

"""Sweeps of chains whose transitions differ from step to step, in linear space, one row at a time.

A table is read once in each direction; its exponentials exist for one step only.
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.table import emissions, faintest, gather, overlap, peak, summed, trough, weigh
from graft.ops.cpu.vectors import (
    bottom,
    exp,
    exponent,
    fill,
    lanes,
    load,
    load_some,
    minimum,
    mul_add,
    power_of_two,
    store,
    store_some,
    total,
)


@inlined
@no_type_check
def lowest(x: Any, at: int, size: int) -> float:
    """The least of `size` entries, `-inf` included."""
    wide = lanes(x)
    found = fill(x, np.inf)
    for j in range(0, size, wide):
        found = minimum(found, load_some(x, at + j, size - j, np.inf))
    return bottom(found)


@inlined
@no_type_check
def advance(w: Any, w_at: int, size: int, high: float, alpha: Any, at: int, width: int) -> None:
    """The message after one step, before its emissions, from the one before."""
    wide = lanes(alpha)
    shift = fill(alpha, high)
    for j in range(0, width, wide):
        found = fill(alpha, 0.0)
        for i in range(size):
            weight = exp(load_some(w, w_at + i * size + j, size - j, -np.inf) - shift)
            found = mul_add(fill(alpha, alpha[at - width + i]), weight, found)
        store(alpha, at + j, found)


@compiled
@no_type_check
def forward(
    u: Any, w: Any, stride: int, lengths: Any, alpha: Any, onward: Any, log_z: Any, lost: Any,
    sizes: Any, reach: float, first: int, last: int,
) -> None:  # fmt: skip
    """Sweeps rows `first` to `last`.

    Args:
        u: flat (b, T, S).
        w: flat (b or 1, T-1, S, S); `stride` is the distance of two rows, 0 if they share one.
        lengths: (b).
        alpha, onward: flat (b, T, width): messages and emissions.
        log_z: (b), float64.
        lost: (b), true where a number may have been lost.
        sizes: T, S, width.
        reach: how far, as a logarithm, one factor may fall.
    """
    steps, size, width = sizes
    floor = math.exp(-reach)
    for row in range(first, last):
        length, base = lengths[row], row * steps * width
        shift, power, dense, watched = 0.0, 0, math.log(size) <= reach, True
        for t in range(length):
            at, u_at = base + t * width, (row * steps + t) * size
            high = emissions(u, u_at, size, onward, at, width)
            shift += high
            watched = watched and high - trough(u, u_at, size, high) <= reach
            if t > 0:
                w_at = row * stride + (t - 1) * size * size
                most, least = peak(w, w_at, size * size), lowest(w, w_at, size * size)
                dense = dense and most - least <= reach
                if most == -np.inf:
                    most = type(most)(0.0)
                watched = watched and most - trough(w, w_at, size * size, most) <= reach
                shift += most
                advance(w, w_at, size, most, alpha, at, width)
            power += weigh(alpha, at, onward, at, width, width, t == 0, t > 0)
            watched = watched and faintest(alpha, at, width) >= floor
        lost[row] = not (dense or watched)
        log_z[row] = 0.0
        if length > 0:
            log_z[row] = math.log(summed(alpha, base + (length - 1) * width, width)) + power * math.log(2.0) + shift


@inlined
@no_type_check
def retreat(w: Any, w_at: int, size: int, onward: Any, ahead: int, beta: Any, line: Any, width: int) -> None:
    """The message before one step, and the exponentials of its table in `line`."""
    wide = lanes(beta)
    high = peak(w, w_at, size * size)
    if high == -np.inf:
        high = type(high)(0.0)
    shift = fill(beta, high)
    for i in range(size):
        found = fill(beta, 0.0)
        for j in range(0, width, wide):
            weight = exp(load_some(w, w_at + i * size + j, size - j, -np.inf) - shift)
            store(line, i * width + j, weight)
            found = mul_add(weight, load(onward, ahead + j), found)
        beta[i] = total(found)


@inlined
@no_type_check
def pairs(line: Any, alpha: Any, at: int, onward: Any, width: int, size: int, out: Any, out_at: int) -> None:
    """Adds the weighted probabilities of pairs, of messages that `gather` has weighted."""
    wide = lanes(alpha)
    for i in range(size):
        by = fill(alpha, alpha[at + i])
        for j in range(0, size, wide):
            place = out_at + i * size + j
            before = load_some(out, place, size - j, 0.0)
            weight = by * load(line, i * width + j)
            store_some(out, place, size - j, mul_add(weight, load(onward, at + width + j), before))


@compiled
@no_type_check
def backward(
    w: Any, stride: int, lengths: Any, alpha: Any, onward: Any, scratch: Any, weight: Any,
    by_unary: Any, by_pairwise: Any, lost: Any, sizes: Any, reach: float, first: int, last: int,
) -> None:  # fmt: skip
    """Sweeps rows back from where `forward` ended, and uses up its messages.

    Args:
        scratch: flat (size + 1, width), of this thread.
        weight: (b), what each row's gradient is multiplied by.
        by_unary: flat (b, T, S), overwritten.
        by_pairwise: as `w`, added to.
    """
    steps, size, width = sizes
    wide, floor = lanes(alpha), math.exp(-reach)
    line, beta = scratch[width:], scratch[:width]
    for row in range(first, last):
        length, base = lengths[row], row * steps * width
        by_unary[(row * steps + length) * size : (row + 1) * steps * size] = 0.0
        dense, watched = not lost[row], True
        for j in range(0, width, wide):
            store_some(beta, j, size - j, fill(beta, 1.0))
        beta[size:] = 0.0
        for t in range(length - 1, -1, -1):
            at, w_at = base + t * width, row * stride + t * size * size
            if t < length - 1:
                retreat(w, w_at, size, onward, at + width, beta, line, width)
                least, most = lowest(w, w_at, size * size), peak(w, w_at, size * size)
                dense = dense and most - least <= reach
            mass = overlap(alpha, at, beta, 0, width)
            factor = weight[row] / mass if mass > 0.0 else 0.0
            scale = power_of_two(-exponent(peak(beta, 0, width)))
            gather(alpha, onward, at, beta, 0, factor, scale, by_unary, (row * steps + t) * size, size)
            watched = watched and faintest(onward, at, width) >= floor
            if t < length - 1:
                pairs(line, alpha, at, onward, width, size, by_pairwise, w_at)
        lost[row] = not (dense or watched)

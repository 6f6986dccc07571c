"""The forward half of `graft.ops.cpu.chain_lanes`: emissions, messages, and the sum of every row."""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.lanewise import divide, exponents, inverse_power
from graft.ops.cpu.product import product
from graft.ops.cpu.vectors import (
    bottom,
    exp,
    fill,
    finite_or,
    lanes,
    load,
    maximum,
    minimum,
    smaller_positive,
    store,
)

#: Below every sum of messages that is not zero.
TINY = 1e-300


@inlined
@no_type_check
def with_squares(x: Any, at: int, lines: int, both: Any, to: int, height: int) -> None:
    """Lines of one step, and behind these their squares: memory is slower than to square again."""
    for i in range(0, lines * height, lanes(both)):
        value = load(x, at + i)
        store(both, to + i, value)
        store(both, to + lines * height + i, value * value)


@inlined
@no_type_check
def log_densities(x: Any, x_at: int, symbols: Any, y_at: int, natural: Any, out: Any, at: int, sizes: Any) -> None:
    """Lines of log-densities of one step but for constants: products with features, or columns of a table."""
    _, width, _, rows, features, height = sizes
    if features > 0:
        product(out, at, height, natural, 0, features, 1, x, x_at, height, rows, height, features, False)
    for r in range(0 if features > 0 else height):
        column = symbols[y_at + r] * width
        for k in range(width):
            out[at + k * height + r] = natural[column + k]


@inlined
@no_type_check
def mixed(parts: Any, at: int, constants: Any, mass: Any, e: Any, e_at: int, v: int, sizes: Any) -> None:
    """The greatest log-density of each state's components, the sum over it, and the share of each component."""
    states, _, groups, _, _, height = sizes
    for s in range(states):
        first, high = at + s * groups * height + v, fill(e, -np.inf)
        for g in range(groups):
            high = maximum(high, load(parts, first + g * height) + fill(e, constants[s * groups + g]))
        base, found = finite_or(high, fill(e, 0.0)), fill(e, 0.0)
        for g in range(groups):
            part = exp(load(parts, first + g * height) + fill(e, constants[s * groups + g]) - base)
            store(parts, first + g * height, part)
            found = found + part
        by = divide(fill(e, 1.0), maximum(found, fill(e, TINY)))
        for g in range(groups):
            store(parts, first + g * height, load(parts, first + g * height) * by)
        store(mass, s * height + v, found)
        store(e, e_at + s * height + v, high)


@inlined
@no_type_check
def advance(
    e: Any, alpha: Any, at: int, new: bool, v: int, offsets: Any, o_at: int, mass: Any, notes: Any, watch: bool,
    sizes: Any,
) -> float:  # fmt: skip
    """Emissions in place of their logarithms, and the message of one step; returns the lowest exponent.

    `offsets` stand from `o_at` on. `notes` are lines: whether the row exists here, its maxima and powers of two so far,
    the sum of its message, and if watched the least positive number.
    """
    states, _, groups, _, _, height = sizes
    zero = fill(e, 0.0)
    high, low, scale, found, here = fill(e, -np.inf), zero, fill(e, 1.0), zero, load(notes, v)
    for s in range(states):
        high = maximum(high, load(e, at + s * height + v) + fill(e, offsets[o_at + s]))
    high = finite_or(high, zero)
    store(notes, height + v, mul(high, here, load(notes, height + v)))
    if not new:
        n = exponents(load(notes, 3 * height + v))
        scale = inverse_power(n)
        store(notes, 2 * height + v, mul(n, here, load(notes, 2 * height + v)))
    scale = scale * here
    least = load(notes, 4 * height + v)
    for s in range(states):
        place = at + s * height + v
        off = load(e, place) + fill(e, offsets[o_at + s]) - high
        weight = exp(off)
        if groups > 1:
            weight = weight * load(mass, s * height + v)
        store(e, place, weight * here)
        message = weight * here if new else load(alpha, place) * (weight * scale)
        store(alpha, place, message)
        found = found + message
        if watch:
            low = minimum(low, finite_or(off, zero))
            least = smaller_positive(least, message)
    store(notes, 3 * height + v, found)
    store(notes, 4 * height + v, least)
    return bottom(low)


@inlined
@no_type_check
def mul(a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded twice."""
    return a * b + c


@inlined
@no_type_check
def ended(alpha: Any, length: int, r: int, notes: Any, peak: float, sizes: Any) -> float:
    """The logarithm of the sum of a row, r of its block."""
    states, width, _, _, _, height = sizes
    found = 0.0
    for s in range(states):
        found += alpha[((length - 1) * width + s) * height + r]
    return math.log(found) + notes[2 * height + r] * math.log(2.0) + notes[height + r] + (length - 1) * peak


@compiled
@no_type_check
def forward(
    x: Any, x_at: int, lines: int, both: Any, symbols: Any, y_at: int, natural: Any, constants: Any, offsets: Any,
    table: Any, lengths: Any, row: int, alpha: Any, e: Any, parts: Any, mass: Any, notes: Any, log_z: Any, peak: float,
    floor: float, sizes: Any,
) -> bool:  # fmt: skip
    """Sweeps the block that begins at a row; returns whether a number may have been lost.

    `mass` is a line of each state, and `notes` are those of `advance`, all 0.
    """
    states, width, groups, rows, features, height = sizes
    squared = lines < features
    steps, watch, low, least = lengths[row], floor > 0.0, 0.0, 1.0
    for r in range(height):
        notes[r], notes[4 * height + r] = 1.0, 1.0
    for i in range(states * height, width * height):
        alpha[i] = 0.0
    for t in range(steps):
        at, raw = t * width * height, t * rows * height
        for r in range(height - 1, -1, -1):
            if lengths[row + r] > t:
                break
            notes[r] = 0.0
        place, here = x_at + t * lines * height, y_at + t * height
        if squared:
            with_squares(x, place, lines, both, 0, height)
        data, place = (both, 0) if squared else (x, place)
        if groups > 1:
            log_densities(data, place, symbols, here, natural, parts, raw, sizes)
            for v in range(0, height, lanes(e)):
                mixed(parts, raw, constants, mass, e, at, v, sizes)
        else:
            log_densities(data, place, symbols, here, natural, e, at, sizes)
        if t > 0:
            before = at - width * height
            product(alpha, at, height, table, 0, 1, width, alpha, before, height, width, height, states, False)
        for v in range(0, height, lanes(e)):
            o_at = 0 if t == 0 else states
            low = min(low, advance(e, alpha, at, t == 0, v, offsets, o_at, mass, notes, watch, sizes))
    for r in range(height):
        least = min(least, notes[4 * height + r])
        if lengths[row + r] > 0:
            log_z[row + r] = ended(alpha, lengths[row + r], r, notes, peak, sizes)
    return watch and (low < math.log(floor) or least < floor)

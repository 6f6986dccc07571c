r"""The E-step of chains that lie side by side: every lane of a register is a row.

With $e_t = \exp(u_t - \max u_t)$ and $W = \exp(w - \max w)$ messages are $\alpha_t = (\alpha_{t-1} W) \circ e_t$ and
$\beta_t = W (e_{t+1} \circ \beta_{t+1})$, scaled at every step by exact powers of two, one per lane. Nothing is summed
across lanes but counts and moments. `graft.ops.cpu.sweeps` says when nothing is lost in linear space.

A block is `height` rows, and a line `height` numbers, one of each. All arrays are flat.
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.gram import gram
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

#: Steps whose moments and counts are summed at a time: what they are of still lies in the cache.
STEPS = 16
#: Below every sum of messages that is not zero.
TINY = 1e-300


@compiled
@no_type_check
def deal(
    rows: Any, into: Any, order: Any, lengths: Any, begins: Any, steps: int, width: int, lines: int, height: int
) -> None:
    """Copies rows (B, steps, width) into the lanes of blocks, (steps of all blocks, lines or 1, height)."""
    for k in range(order.size):
        block, lane = k // height, k % height
        for t in range(lengths[k]):
            place, at = (order[k] * steps + t) * width, (begins[block] + t) * max(lines, 1) * height + lane
            for f in range(width):
                into[at + f * height] = rows[place + f]


@inlined
@no_type_check
def log_densities(x: Any, x_at: int, symbols: Any, y_at: int, natural: Any, out: Any, at: int, sizes: Any) -> None:
    """Lines of log-densities of one step but for constants: products with features, or columns of a table."""
    _, width, _, rows, features, height = sizes
    if features > 0:
        product(out, at, height, natural, 0, features, 1, x, x_at, height, rows, height, features, False)
    for r in range(height if symbols.size > 0 else 0):
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
    e: Any, alpha: Any, at: int, new: bool, v: int, offsets: Any, mass: Any, notes: Any, watch: bool, sizes: Any
) -> float:
    """Emissions in place of their logarithms, and the message of one step; returns the lowest exponent.

    `notes` are lines: whether the row exists here, its maxima and powers of two so far, the sum of its message, and if
    watched the least positive number.
    """
    states, _, groups, _, _, height = sizes
    zero = fill(e, 0.0)
    high, low, scale, found, here = fill(e, -np.inf), zero, fill(e, 1.0), zero, load(notes, v)
    for s in range(states):
        high = maximum(high, load(e, at + s * height + v) + fill(e, offsets[s]))
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
        off = load(e, place) + fill(e, offsets[s]) - high
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


@compiled
@no_type_check
def forward(
    x: Any, x_at: int, symbols: Any, y_at: int, natural: Any, constants: Any, offsets: Any, table: Any, lengths: Any,
    row: int, alpha: Any, e: Any, parts: Any, log_z: Any, peak: float, floor: float, sizes: Any,
) -> bool:  # fmt: skip
    """Sweeps the block that begins at a row; returns whether a number may have been lost."""
    states, width, groups, rows, features, height = sizes
    steps, watch, low, least = lengths[row], floor > 0.0, 0.0, 1.0
    mass, notes = np.zeros(width * height), np.zeros(5 * height)
    notes[:height], notes[4 * height :] = 1.0, 1.0
    alpha[states * height : width * height] = 0.0
    for t in range(steps):
        at, raw = t * width * height, t * rows * height
        for r in range(height - 1, -1, -1):
            if lengths[row + r] > t:
                break
            notes[r] = 0.0
        place, here = x_at + t * features * height, y_at + t * height
        if groups > 1:
            log_densities(x, place, symbols, here, natural, parts, raw, sizes)
            for v in range(0, height, lanes(e)):
                mixed(parts, raw, constants, mass, e, at, v, sizes)
        else:
            log_densities(x, place, symbols, here, natural, e, at, sizes)
        if t > 0:
            before = at - width * height
            product(alpha, at, height, table, 0, 1, width, alpha, before, height, width, height, states, False)
        for v in range(0, height, lanes(e)):
            low = min(low, advance(e, alpha, at, t == 0, v, offsets[min(t, 1)], mass, notes, watch, sizes))
    for r in range(height):
        least = min(least, notes[4 * height + r])
        length, found = lengths[row + r], 0.0
        if length > 0:
            for s in range(states):
                found += alpha[((length - 1) * width + s) * height + r]
            power = notes[2 * height + r] * math.log(2.0)
            log_z[row + r] = math.log(found) + power + notes[height + r] + (length - 1) * peak
    return watch and (low < math.log(floor) or least < floor)


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
    x: Any, x_at: int, symbols: Any, y_at: int, table: Any, lengths: Any, row: int, alpha: Any, e: Any, parts: Any,
    shares: Any, counts: Any, starts: Any, mass: Any, moments: Any, floor: float, sizes: Any,
) -> bool:  # fmt: skip
    """Sweeps the block back from where `forward` ended, and adds to all sums; returns whether a number was lost."""
    states, width, _, rows, features, height = sizes
    steps, line, watch, lost, ended = lengths[row], width * height, floor > 0.0, False, 0
    beta = np.zeros(width * height)
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
                there = x_at + t * features * height
                gram(moments, features, shares, 0, rows * height, x, there, features * height, rows, height, stop - t)
            if symbols.size > 0:
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


@compiled
@no_type_check
def sweep(
    x: Any, symbols: Any, begins: Any, natural: Any, constants: Any, offsets: Any, table: Any, lengths: Any,
    scratch: Any, ends: Any, log_z: Any, counts: Any, starts: Any, mass: Any, moments: Any, peak: float, floor: float,
    sizes: Any, first: int, last: int,
) -> bool:  # fmt: skip
    """The E-step of blocks `first` to `last`; returns whether a number may have been lost.

    Args:
        x: flat (steps of all blocks, features, height), or nothing.
        symbols: flat (steps of all blocks, height), or nothing.
        begins: at which step each block begins.
        natural: flat (rows, features), parameters; of symbols, flat (symbols, width).
        constants: (rows), what is added to the products.
        offsets: (2, states), what is added to log-densities of states at the first step and at others.
        table: flat (width, width), W; 0 beyond the states.
        lengths: of all rows, those of a block from the longest to the shortest.
        scratch: of this thread; `ends` are where messages, emissions, shares of components and posteriors end in it.
        log_z: of all rows, overwritten where they have elements.
        counts: flat (width, width), added to; they lack the factor W.
        starts, mass: flat (width, height) and (rows, height), added to; the mass of several components only.
        moments: flat (rows, features) or (symbols, width), added to.
        peak: the maximum of w.
        floor: the least positive number that is safe, 0 if all are.
        sizes: states, width, components of a state, rows, features, height. Width, rows and features are multiples
            of 4.
    """
    lost, height = False, sizes[5]
    alpha, e = scratch[: ends[0]], scratch[ends[0] : ends[1]]
    parts, shares = scratch[ends[1] : ends[2]], scratch[ends[2] : ends[3]]
    shares[:] = 0.0
    for block in range(first, last):
        row, x_at, y_at = block * height, begins[block] * sizes[4] * height, begins[block] * height
        there = forward(
            x, x_at, symbols, y_at, natural, constants, offsets, table, lengths, row, alpha, e, parts, log_z, peak,
            floor, sizes,
        )  # fmt: skip
        back = backward(
            x, x_at, symbols, y_at, table, lengths, row, alpha, e, parts, shares, counts, starts, mass, moments, floor,
            sizes,
        )  # fmt: skip
        lost = lost or there or back
    return lost

r"""Forward sweeps of chains whose transitions are one table at all steps, in linear space.

With $e_t = \exp(u_t - \max u_t)$ and $W = \exp(w - \max w)$ messages are products of matrices,
$\alpha_t = (\alpha_{t-1} W) \circ e_t$ and $\beta_t = W (e_{t+1} \circ \beta_{t+1})$, scaled after every `run` steps
by exact powers of two. `docs/speed.md` says when nothing is lost by this.

Rows of a batch are swept in blocks of `height`, which share every load of the table. Messages are flat arrays
(blocks, T, height, width), where the width is S in whole registers, the rest zero. Emissions exist for a chunk of
`STEPS` elements at a time, and are computed again on the way back: memory is slower than that. Inner functions take
pointers: an array, handed on, is seven words and a count of its owners.
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.product import step
from graft.ops.cpu.vectors import bottom as least_lane
from graft.ops.cpu.vectors import (
    exp,
    exponent,
    fill,
    finite_or,
    lanes,
    load,
    load_some,
    maximum,
    minimum,
    mul_add,
    pointer,
    power_of_two,
    smaller_positive,
    store,
    store_some,
    top,
    total,
)

#: Steps whose emissions, and later whose counts, are computed at a time: they still lie in the cache.
STEPS = 16


@inlined
@no_type_check
def peak(x: Any, at: int, size: int) -> float:
    """The greatest of `size` entries, at least 0 lanes of which are missing."""
    wide = lanes(x)
    full = size // wide * wide
    found = load_some(x, at + full, size - full, -np.inf)
    for j in range(0, full, wide):
        found = maximum(found, load(x, at + j))
    return top(found)


@inlined
@no_type_check
def trough(x: Any, at: int, size: int, other: float) -> float:
    """The least finite one of `size` entries, and of `other`."""
    wide = lanes(x)
    ceiling = fill(x, other)
    found = ceiling
    for j in range(0, size, wide):
        found = minimum(found, finite_or(load_some(x, at + j, size - j, -np.inf), ceiling))
    return least_lane(found)


@inlined
@no_type_check
def faintest(x: Any, at: int, size: int) -> float:
    """The least positive one of `size` entries in whole registers; infinite if there is none."""
    wide = lanes(x)
    found = fill(x, np.inf)
    for j in range(0, size, wide):
        found = smaller_positive(found, load(x, at + j))
    return least_lane(found)


@inlined
@no_type_check
def emissions(u: Any, u_at: int, size: int, e: Any, e_at: int, width: int) -> float:
    """Writes exp(u - max u) of one element; returns the maximum."""
    wide = lanes(u)
    highest = peak(u, u_at, size)
    if highest == -np.inf:
        highest = type(highest)(0.0)
    shift = fill(u, highest)
    for j in range(0, width, wide):
        store(e, e_at + j, exp(load_some(u, u_at + j, size - j, -np.inf) - shift))
    return highest


@compiled
@no_type_check
def prepare(w: Any, size: int, width: int, table: Any, transposed: Any, peaks: Any) -> tuple[float, bool]:
    """Exponentials of log-tables less their maximum, computed in double precision.

    Args:
        w: flat (tables, S, S).
        table, transposed: flat (tables, width, width), overwritten; zero beyond S.
        peaks: (tables), on exit the maxima.

    Returns:
        The widest finite spread of a table, and whether any entry is `-inf`.
    """
    line = np.zeros(width)
    wide, spread, zeros = lanes(line), 0.0, False
    table[:] = 0.0
    transposed[:] = 0.0
    for k in range(peaks.size):
        w_at, at = k * size * size, k * width * width
        high = float(peak(w, w_at, size * size))
        high = 0.0 if high == -np.inf else high
        spread = max(spread, high - float(trough(w, w_at, size * size, high)))
        peaks[k] = high
        shift = fill(line, high)
        for i in range(size):
            for j in range(size):
                line[j] = w[w_at + i * size + j]
                zeros = zeros or line[j] == -np.inf
            for j in range(0, size, wide):
                store(line, j, exp(load(line, j) - shift))
            for j in range(size):
                table[at + i * width + j] = line[j]
                transposed[at + j * width + i] = line[j]
    return spread, zeros


@compiled
@no_type_check
def emit(
    u: Any, u_at: int, there: int, count: int, size: int, e: Any, e_at: int, e_step: int, width: int,
    highs: Any, h_at: int, known: bool,
) -> float:  # fmt: skip
    """Writes exp(u - max u) of `count` elements of a row, 0 from the `there`-th on; returns the sum of maxima.

    Args:
        u: log-potentials, an element's behind the other's from `u_at` on.
        e: where exponentials go, `e_step` apart.
        highs: the maxima, from `h_at` on: read if `known`, else written.
    """
    wide, total = lanes(u), 0.0
    full = size // wide * wide
    for t in range(there):
        at, to = u_at + t * size, e_at + t * e_step
        if known:
            high = highs[h_at + t]
        else:
            high = peak(u, at, size)
            if high == -np.inf:
                high = type(high)(0.0)
            highs[h_at + t] = high
            total += high
        by = fill(u, high)
        for j in range(0, full, wide):
            store(e, to + j, exp(load(u, at + j) - by))
        for j in range(full, width, wide):
            store(e, to + j, exp(load_some(u, at + j, size - j, -np.inf) - by))
    for t in range(max(there, 0), count):
        for j in range(0, width, wide):
            store(e, e_at + t * e_step + j, fill(e, 0.0))
    return total


@inlined
@no_type_check
def reaches(u: Any, u_at: int, there: int, size: int, floor: float) -> bool:
    """Whether an emission of some of a row's elements is positive, but below `floor`."""
    for t in range(there):
        high = peak(u, u_at + t * size, size)
        if trough(u, u_at + t * size, size, high) < high + math.log(floor):
            return True
    return False


@compiled
@no_type_check
def weigh_rows(
    alpha: Any, at: int, e: Any, e_at: int, width: int, height: int, due: bool, lengths: Any, row: int, count: int,
    t: int, power: Any,
) -> None:  # fmt: skip
    """Multiplies the messages of a block by emissions, and if `due` by powers of two, whose exponents are summed."""
    wide, back = lanes(alpha), height * width
    if not due:
        for j in range(0, back, wide):
            store(alpha, at + j, load(alpha, at + j) * load(e, e_at + j))
        return
    for r in range(height):
        n = weigh(alpha, at + r * width, e, e_at + r * width, width, back, False, True)
        power[r] += n if r < count and t < lengths[row + r] else 0


@compiled
@no_type_check
def forward(
    unary: Any, table: Any, stride: int, peaks: Any, lengths: Any, messages: Any, maxima: Any, scratch: Any,
    log_z: Any, lost: Any, sizes: Any, floor: float, first: int, last: int,
) -> None:  # fmt: skip
    """Sweeps blocks `first` to `last`: fills `messages`, `maxima` and `log_z`, and marks rows `lost`.

    Args:
        unary: flat (b, T, S).
        table: flat (tables, width, width); `stride` is the distance of the tables of two blocks, 0 if all share one.
        peaks: see `prepare`.
        lengths: (b).
        messages: flat (blocks, T, height, width).
        maxima: flat (b, T), of each element's potentials.
        scratch: of this thread, flat (STEPS, height, width) at least.
        log_z: (b), float64.
        lost: (b), true where a number may have been lost; only looked for if `floor` is positive.
        sizes: T, S, width, height, run.
        floor: the least positive number that is safe.
    """
    steps, size, width, height, run = sizes
    u, w, alpha, highs, e = pointer(unary), pointer(table), pointer(messages), pointer(maxima), pointer(scratch)
    shift, exponents, ends = np.zeros(height), np.zeros(height), pointer(lengths)
    power = pointer(exponents)
    square = height * width
    inner = size if height % 8 == 0 else (size + 7) // 8 * 8
    for block in range(first, last):
        row, base, w_at, waited = block * height, block * steps * square, block * stride, 0
        count = min(height, lengths.size - row)
        end = lengths[row : row + count].max()
        shift[:], exponents[:] = 0.0, 0.0
        for begin in range(0, end, STEPS):
            stop = min(begin + STEPS, end)
            for r in range(height):
                there = min(ends[row + r], stop) - begin if r < count else 0
                at = (row + r) * steps + begin
                shift[r] += emit(u, at * size, there, stop - begin, size, e, r * width, square, width, highs, at, False)
                if floor > 0.0 and reaches(u, at * size, there, size, floor):
                    lost[row + r] = True
            for t in range(begin, stop):
                at, e_at, waited = base + t * square, (t - begin) * square, waited + 1
                if t == 0:
                    for j in range(0, square, lanes(e)):
                        store(alpha, at + j, load(e, j))
                else:
                    step(alpha, at, alpha, at - square, w, w_at, height, width, inner)
                    weigh_rows(alpha, at, e, e_at, width, height, waited > run, ends, row, count, t, power)
                    waited = 1 if waited > run else waited
                if floor > 0.0:
                    for r in range(count):
                        if faintest(alpha, at + r * width, width) < floor:
                            lost[row + r] = True
        for r in range(count):
            length = ends[row + r]
            log_z[row + r] = 0.0
            if length > 0:
                at = base + ((length - 1) * height + r) * width
                mass = math.log(summed(alpha, at, width)) + exponents[r] * math.log(2.0)
                log_z[row + r] = mass + shift[r] + (length - 1) * peaks[block if stride else 0]


@inlined
@no_type_check
def weigh(alpha: Any, at: int, e: Any, e_at: int, width: int, back: int, new: bool, due: bool) -> int:
    """Multiplies a message by the emissions, and if `due` by a power of two; returns its exponent."""
    wide = lanes(alpha)
    if new:
        for j in range(0, width, wide):
            store(alpha, at + j, load(e, e_at + j))
        return 0
    n, scale = 0, 1.0
    if due:
        # the step before tells the scale: nothing waits for it
        n = exponent(peak(alpha, at - back, width))
        scale = power_of_two(-n)
    by = fill(alpha, scale)
    for j in range(0, width, wide):
        store(alpha, at + j, load(alpha, at + j) * (load(e, e_at + j) * by))
    return n


@inlined
@no_type_check
def summed(x: Any, at: int, size: int) -> float:
    """The sum of entries in whole registers."""
    wide = lanes(x)
    found = fill(x, 0.0)
    for j in range(0, size, wide):
        found = found + load(x, at + j)
    return total(found)


@inlined
@no_type_check
def overlap(x: Any, x_at: int, y: Any, y_at: int, size: int) -> float:
    """The inner product of two lines in whole registers."""
    wide = lanes(x)
    found = fill(x, 0.0)
    for j in range(0, size, wide):
        found = mul_add(load(x, x_at + j), load(y, y_at + j), found)
    return total(found)


@inlined
@no_type_check
def gather(
    alpha: Any, onward: Any, at: int, beta: Any, here: int, factor: float, scale: float,
    by_unary: Any, u_at: int, size: int,
) -> None:  # fmt: skip
    """Marginals of one element; its messages, weighted, are left behind for the counts and the next step."""
    wide = lanes(alpha)
    by, rescale = fill(alpha, factor), fill(alpha, scale)
    for j in range(0, size, wide):
        back = load(beta, here + j)
        ahead = load(alpha, at + j) * by
        store_some(by_unary, u_at + j, size - j, ahead * back)
        store(alpha, at + j, ahead)
        store(onward, at + j, load(onward, at + j) * (back * rescale))

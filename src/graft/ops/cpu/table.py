r"""Forward and backward sweeps of chains whose transitions are one table at all steps, in linear space.

With $e_t = \exp(u_t - \max u_t)$ and $W = \exp(w - \max w)$ messages are products of matrices,
$\alpha_t = (\alpha_{t-1} W) \circ e_t$ and $\beta_t = W (e_{t+1} \circ \beta_{t+1})$, scaled after every `run` steps
by exact powers of two. `docs/speed.md` says when nothing is lost by this.

Rows of a batch are swept in blocks of `height`, which share every load of the table. `alpha` and `onward` are flat
arrays (blocks, T, height, width), where the width is S in whole registers, the rest zero: so the expected counts of a
block, too, are a product of two matrices of contiguous rows.
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.product import product
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
    power_of_two,
    smaller_positive,
    store,
    store_some,
    top,
    total,
)

#: Steps whose emissions, and later whose counts, are computed at a time: their messages still lie in the cache.
STEPS = 16


@inlined
@no_type_check
def peak(x: Any, at: int, size: int) -> float:
    """The greatest of `size` entries, at least 0 lanes of which are missing."""
    wide = lanes(x)
    found = load_some(x, at, size, -np.inf)
    for j in range(wide, size, wide):
        found = maximum(found, load_some(x, at + j, size - j, -np.inf))
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
def emissions(u: Any, u_at: int, size: int, e: Any, e_at: int, width: int, there: bool) -> float:
    """Writes exp(u - max u) of one element, zeros if it is not there; returns the maximum."""
    wide = lanes(u)
    if not there:
        for j in range(0, width, wide):
            store(e, e_at + j, fill(e, 0.0))
        return 0.0
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
def forward(
    u: Any, table: Any, stride: int, peaks: Any, lengths: Any, alpha: Any, onward: Any, log_z: Any, lost: Any,
    sizes: Any, floor: float, first: int, last: int,
) -> None:  # fmt: skip
    """Sweeps blocks `first` to `last`: fills `alpha`, `onward` (emissions) and `log_z`, and marks rows `lost`.

    Args:
        u: flat (b, T, S).
        table: flat (tables, width, width); `stride` is the distance of the tables of two blocks, 0 if all share one.
        peaks: see `prepare`.
        lengths: (b).
        alpha, onward: flat (blocks, T, height, width).
        log_z: (b), float64.
        lost: (b), true where a number may have been lost; only looked for if `floor` is positive.
        sizes: T, S, width, height, run.
        floor: the least positive number that is safe.
    """
    steps, size, width, height, run = sizes
    shift, power = np.zeros(height), np.zeros(height)
    inner = (size + 7) // 8 * 8
    for block in range(first, last):
        row, base, w_at = block * height, block * steps * height * width, block * stride
        count = min(height, lengths.size - row)
        end = lengths[row : row + count].max()
        shift[:], power[:] = 0.0, 0.0
        for begin in range(0, end, STEPS):
            stop = min(begin + STEPS, end)
            for r in range(height):
                for t in range(begin, stop):
                    there = r < count and t < lengths[row + r]
                    u_at, at = ((row + r) * steps + t) * size, base + (t * height + r) * width
                    shift[r] += emissions(u, u_at, size, onward, at, width, there)
                    if (
                        there
                        and floor > 0.0
                        and trough(u, u_at, size, peak(u, u_at, size)) < peak(u, u_at, size) + math.log(floor)
                    ):
                        lost[row + r] = True
            for t in range(begin, stop):
                at = base + t * height * width
                due = t % run == 0
                if t > 0:
                    product(
                        alpha, at, width, alpha, at - height * width, width, 1, table, w_at, width,
                        height, width, inner, False,
                    )  # fmt: skip
                for r in range(height):
                    n = weigh(alpha, at + r * width, onward, width, height * width, t == 0, due)
                    power[r] += n if r < count and t < lengths[row + r] else 0
                    if floor > 0.0 and r < count and faintest(alpha, at + r * width, width) < floor:
                        lost[row + r] = True
        for r in range(count):
            length = lengths[row + r]
            log_z[row + r] = 0.0
            if length > 0:
                at = base + ((length - 1) * height + r) * width
                mass = math.log(summed(alpha, at, width)) + power[r] * math.log(2.0)
                log_z[row + r] = mass + shift[r] + (length - 1) * peaks[block if stride else 0]


@inlined
@no_type_check
def weigh(alpha: Any, at: int, e: Any, width: int, back: int, new: bool, due: bool) -> int:
    """Multiplies a message by the emissions, and if `due` by a power of two; returns its exponent."""
    wide = lanes(alpha)
    if new:
        for j in range(0, width, wide):
            store(alpha, at + j, load(e, at + j))
        return 0
    n, scale = 0, 1.0
    if due:
        # the step before tells the scale: nothing waits for it
        n = exponent(peak(alpha, at - back, width))
        scale = power_of_two(-n)
    by = fill(alpha, scale)
    for j in range(0, width, wide):
        store(alpha, at + j, load(alpha, at + j) * (load(e, at + j) * by))
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


@compiled
@no_type_check
def backward(
    transposed: Any, stride: int, lengths: Any, alpha: Any, onward: Any, beta: Any, weight: Any,
    by_unary: Any, counts: Any, lost: Any, sizes: Any, floor: float, first: int, last: int,
) -> None:  # fmt: skip
    """Sweeps blocks back from where `forward` ended: marginals, and expected counts of transitions.

    Args:
        transposed: see `prepare`; the rest as in `forward`.
        alpha, onward: as `forward` left them; used up.
        beta: scratch, flat (blocks, height, width).
        weight: (b), what each row's marginals are multiplied by.
        by_unary: flat (b, T, S), on exit the weighted marginals; 0 beyond a row's length.
        counts: flat (width, width) or one for each block, to which weighted counts, over the table, are added.
    """
    steps, size, width, height, run = sizes
    wide = lanes(alpha)
    factor = np.zeros(height)
    inner = (size + 7) // 8 * 8
    for block in range(first, last):
        row, base, w_at = block * height, block * steps * height * width, block * stride
        here = block * height * width
        count = min(height, lengths.size - row)
        end = lengths[row : row + count].max()
        factor[:] = 0.0
        for r in range(count):
            by_unary[((row + r) * steps + end) * size : (row + r + 1) * steps * size] = 0.0
        for j in range(0, height * width, wide):
            store(beta, here + j, fill(beta, 0.0))
        for t in range(end - 1, -1, -1):
            at = base + t * height * width
            due = t % run == run - 1
            if t < end - 1:
                product(
                    beta, here, width, onward, at + height * width, width, 1, transposed, w_at, width,
                    height, width, inner, False,
                )  # fmt: skip
            for r in range(count):
                last_one = t == lengths[row + r] - 1
                if last_one:
                    for j in range(0, size, wide):
                        store_some(beta, here + r * width + j, size - j, fill(beta, 1.0))
                scale = 1.0
                if last_one or due:
                    mass = overlap(alpha, at + r * width, beta, here + r * width, width)
                    factor[r] = weight[row + r] / mass if mass > 0.0 else 0.0
                    scale = power_of_two(-exponent(peak(beta, here + r * width, width)))
                u_at = ((row + r) * steps + t) * size
                gather(alpha, onward, at + r * width, beta, here + r * width, factor[r], scale, by_unary, u_at, size)
                factor[r] /= scale
                if floor > 0.0 and faintest(onward, at + r * width, width) < floor:
                    lost[row + r] = True
            if t % STEPS == 0 and t < end - 1:
                stop = min(t + STEPS, end - 1)
                product(
                    counts, w_at, width, alpha, at, 1, width, onward, at + height * width, width,
                    width, width, (stop - t) * height, True,
                )  # fmt: skip


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

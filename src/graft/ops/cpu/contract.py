"""Compiled sums of products along a tree, with their derivatives, in linear space and double precision.

Every table carries its greatest entry and a bound of what may be missing from any of its entries, because products
below the smallest normal number are lost. The bounds go through the tree with the tables, forwards and backwards, and
say at the end whether a result is proven.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from numba import njit

from graft.ops.cpu.bounds import HIGH, LOW, PROVEN, TINY
from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.packed import differentiate, multiply, peak

# sums may be taken in any order, so that they run in wide registers; infinities and NaN stay what they are
_loose = njit(nogil=True, error_model="numpy", forceinline=True, fastmath={"reassoc", "contract"})


@_loose
@no_type_check
def _add(x: Any, to: int, factor: float, at: int, size: int) -> None:
    # slices, because a computed index might be negative to the compiler, which then does not use wide registers
    into, line = x[to : to + size], x[at : at + size]
    for r in range(size):
        into[r] += factor * line[r]


@_loose
@no_type_check
def _both_ways(x: Any, g: Any, a: float, weight: float, at: int, c: int, size: int) -> float:
    """Adds to the derivatives of a line of the right table; returns that of the left table's entry."""
    found, scaled = 0.0, weight * a
    slope, line, into = g[c : c + size], x[at : at + size], g[at : at + size]
    for r in range(size):
        found += slope[r] * line[r]
        into[r] += scaled * slope[r]
    return found


@_loose
@no_type_check
def _scaled(x: Any, at: int, size: int, factor: float) -> None:
    part = x[at : at + size]
    for i in range(size):
        part[i] *= factor


@compiled
@no_type_check
def shift(logs: Any, starts: Any, sizes: Any, highs: Any) -> None:
    """Brings the maximum of every table to 0; a table of zeros alone stays `-inf`."""
    for row in range(logs.shape[0]):
        for k in range(len(starts)):
            high = -np.inf
            for i in range(starts[k], starts[k] + sizes[k]):
                if not logs[row, i] <= high:  # NaN stays
                    high = logs[row, i]
            highs[row, k] = high
            if high != -np.inf:
                for i in range(starts[k], starts[k] + sizes[k]):
                    logs[row, i] -= high


@inlined
@no_type_check
def _multiplied(x: Any, pair: Any, index: Any, left: int, right: int, made: int) -> None:
    """As `multiply`, entry by entry."""
    _, _, _, both, first, summed, second, ab, al, am, bb, bm, br, unit, _ = pair
    x[made : made + both * first * second] = 0.0
    for i in range(both):
        for j in range(first):
            here = left + index[ab + i] + index[al + j]
            to = made + (i * first + j) * second
            for m in range(summed):
                value = x[here + index[am + m]]
                if value == 0.0:
                    continue
                at = right + index[bb + i] + index[bm + m]
                if unit:
                    _add(x, to, value, at, second)
                else:
                    for r in range(second):
                        x[to + r] += value * x[at + index[br + r]]


@compiled
@no_type_check
def forward(x: Any, pairs: Any, index: Any, tables: Any, peaks: Any, lost: Any, factors: Any, scratch: Any) -> float:
    """Makes the tables of all pairs; returns the logarithm of what they were divided by, NaN if one is 0."""
    total = 0.0
    for k in range(len(pairs)):
        a, b, c, summed = pairs[k, 0], pairs[k, 1], pairs[k, 2], pairs[k, 5]
        left, right, made, size = tables[a, 1], tables[b, 1], tables[c, 1], tables[c, 2]
        if pairs[k, 14]:
            multiply(x, pairs[k], index, left, right, made, scratch[0], scratch[1], scratch[2])
        else:
            _multiplied(x, pairs[k], index, left, right, made)
        high = peak(x, made, size)
        # a table that is nowhere a normal number has lost its digits, and its reciprocal overflows
        if not TINY <= high < np.inf:
            return np.nan
        gone = lost[a] * peaks[b] + lost[b] * peaks[a] + lost[a] * lost[b] + TINY
        peaks[c], lost[c], factors[c] = high, summed * gone, 1.0
        if not LOW < high < HIGH:
            _scaled(x, made, size, 1.0 / high)
            total += np.log(high)
            peaks[c], lost[c], factors[c] = 1.0, lost[c] / high, 1.0 / high
    return total


@inlined
@no_type_check
def _differentiated(
    x: Any, g: Any, pair: Any, index: Any, left: int, right: int, made: int, for_left: float, for_right: float
) -> None:
    """As `differentiate`, entry by entry."""
    _, _, _, both, first, summed, second, ab, al, am, bb, bm, br, unit, _ = pair
    for i in range(both):
        for j in range(first):
            here = left + index[ab + i] + index[al + j]
            top = made + (i * first + j) * second
            for m in range(summed):
                at = right + index[bb + i] + index[bm + m]
                value, found = x[here + index[am + m]], 0.0
                if unit:
                    found = _both_ways(x, g, value, for_right, at, top, second)
                else:
                    for r in range(second):
                        found += g[top + r] * x[at + index[br + r]]
                        g[at + index[br + r]] += for_right * value * g[top + r]
                g[here + index[am + m]] += for_left * found


@compiled
@no_type_check
def backward(
    x: Any, g: Any, weight: float, pairs: Any, index: Any, tables: Any, peaks: Any, lost: Any, factors: Any,
    steep: Any, missing: Any, scratch: Any,
) -> None:  # fmt: skip
    """Adds to the derivatives by both tables of every pair, last pair first; those of shared tables are weighted.

    `steep` and `missing` bound a derivative, and what may be missing from it.
    """
    for k in range(len(pairs) - 1, -1, -1):
        a, b, c, first, second = pairs[k, 0], pairs[k, 1], pairs[k, 2], pairs[k, 4], pairs[k, 6]
        left, right, made, size = tables[a, 1], tables[b, 1], tables[c, 1], tables[c, 2]
        for_left = weight if tables[a, 0] < tables[c, 0] else 1.0
        for_right = weight if tables[b, 0] < tables[c, 0] else 1.0
        if factors[c] != 1.0:
            _scaled(g, made, size, factors[c])
        steepest, gone = peak(g, made, size), missing[c] * factors[c] + TINY
        if pairs[k, 14]:
            differentiate(
                x, g, pairs[k], index, left, right, made, for_left, for_right, scratch[0], scratch[1], scratch[2]
            )
        else:
            _differentiated(x, g, pairs[k], index, left, right, made, for_left, for_right)
        steep[a] += abs(for_left) * second * steepest * peaks[b]
        missing[a] += abs(for_left) * second * (gone * peaks[b] + (steepest + gone) * lost[b] + TINY)
        steep[b] += abs(for_right) * first * steepest * peaks[a]
        missing[b] += abs(for_right) * first * (gone * peaks[a] + (steepest + gone) * lost[a] + TINY)


@compiled
@no_type_check
def unproven(shared: bool, tables: Any, peaks: Any, lost: Any, steep: Any, missing: Any) -> float:
    """What may be missing of a derivative by the logarithm of some entry, of shared tables or of the row's own."""
    worst = 0.0
    for k in range(len(tables) - 1):
        if (tables[k, 0] == 0) == shared:
            here = (peaks[k] + lost[k]) * missing[k] + lost[k] * steep[k]
            worst = here if not here <= worst else worst
    return worst


@compiled
@no_type_check
def enter(row: int, x: Any, data: Any, shared_data: Any, inputs: Any, peaks: Any, lost: Any, factors: Any) -> None:
    """The inputs of a row in their places."""
    for k in range(len(inputs)):
        come, to, size, at = inputs[k]
        if come == 1:
            x[to : to + size] = data[row, at : at + size]
        elif come == 2:
            x[to : to + size] = shared_data[at : at + size]
        if come:
            peaks[k], lost[k], factors[k] = 1.0, TINY, 1.0


@compiled
@no_type_check
def product(x: Any, tables: Any, roots: Any, lost: Any) -> float:
    """The log of the product of the roots; NaN if it is not proven."""
    value = 0.0
    for k in range(len(roots)):
        root = x[tables[roots[k], 1]]
        value += np.log(root) if root < np.inf and lost[roots[k]] <= PROVEN * root else np.nan
    return value


@compiled
@no_type_check
def turn(
    x: Any, g: Any, weight: float, tables: Any, roots: Any, first: int, lost: Any, steep: Any, missing: Any
) -> None:
    """The derivatives by the roots; everything of the row before is forgotten."""
    g[first : len(x)] = 0.0
    for k in range(len(tables)):
        if tables[k, 0]:
            steep[k], missing[k] = 0.0, 0.0
    for k in range(len(roots)):
        root, at = x[tables[roots[k], 1]], tables[roots[k], 1]
        mine = 1.0 if tables[roots[k], 0] else weight
        g[at] += mine / root
        steep[roots[k]] += abs(mine) / root
        missing[roots[k]] += abs(mine) * (lost[roots[k]] / root / root + TINY)


@compiled
@no_type_check
def leave(
    row: int, weight: float, x: Any, g: Any, inputs: Any, index: Any, tables: Any, wanted: Any, answers: Any,
    out: Any,
) -> None:  # fmt: skip
    """The marginals asked for, which sum to one, and the derivatives by the logs of the row's inputs."""
    for k in range(len(wanted)):
        table, states, rest, by_state, by_rest, to = wanted[k]
        at, whole = tables[table, 1], 0.0
        for s in range(states):
            found = 0.0
            for r in range(rest):
                here = at + index[by_state + s] + index[by_rest + r]
                found += x[here] * g[here]
            answers[row, to + s] = found
            whole += found
        for s in range(states):
            answers[row, to + s] /= whole
    for k in range(len(inputs) if out.shape[1] else 0):
        come, at, size, to = inputs[k]
        if come == 1:
            for i in range(size):
                out[row, to + i] = weight * x[at + i] * g[at + i]


@compiled
@no_type_check
def sweep_rows(
    first: int, last: int, backwards: bool, x: Any, g: Any, weights: Any, data: Any, shared_data: Any, inputs: Any,
    pairs: Any, index: Any, tables: Any, roots: Any, wanted: Any, shared_size: int, peaks: Any, lost: Any,
    factors: Any, steep: Any, missing: Any, scratch: Any, values: Any, answers: Any, out: Any,
) -> None:  # fmt: skip
    """The sum of every row in turn, and its derivatives; `values` becomes NaN where nothing is proven."""
    for row in range(first, last):
        enter(row, x, data, shared_data, inputs, peaks, lost, factors)
        value = forward(x, pairs, index, tables, peaks, lost, factors, scratch) + product(x, tables, roots, lost)
        values[row], weight = value, weights[row]
        if not backwards or value != value or weight == 0.0:
            continue
        turn(x, g, weight, tables, roots, shared_size, lost, steep, missing)
        backward(x, g, weight, pairs, index, tables, peaks, lost, factors, steep, missing, scratch)
        if not unproven(False, tables, peaks, lost, steep, missing) <= PROVEN:
            values[row] = np.nan
        leave(row, weight, x, g, inputs, index, tables, wanted, answers, out)

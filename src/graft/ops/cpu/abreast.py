"""Rows of a batch swept abreast: two registers hold the same entry of as many rows.

For tables so small that a row alone would not fill a register. Every entry of every table is a line of `2 lanes` rows;
tables that all rows share are repeated. The bounds are those of `graft.ops.cpu.contract`, one for each row.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np

from graft.ops.cpu.bounds import HIGH, LOW, PROVEN, TINY
from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.vectors import fill, lanes, load, maximum, mul_add, store


@compiled
@no_type_check
def abreast(x: Any) -> int:
    """How many rows go together."""
    return 2 * lanes(x)


@inlined
@no_type_check
def _enter(first: int, last: int, x: Any, data: Any, inputs: Any, peaks: Any, lost: Any, factors: Any) -> None:
    """The inputs that each row has of its own; the last row stands for those that are not there."""
    rows = 2 * lanes(x)
    for k in range(len(inputs)):
        come, to, size, at = inputs[k]
        if come:
            peaks[k, :], lost[k, :], factors[k, :] = 1.0, TINY, 1.0
        if come == 1:
            for r in range(rows):
                line, row = x[to * rows + r :], data[min(first + r, last - 1), at : at + size]
                for i in range(size):
                    line[i * rows] = row[i]


@inlined
@no_type_check
def _pair(x: Any, pair: Any, index: Any, left: int, right: int, made: int, peaks: Any) -> None:
    """The product of a pair, summed, and its greatest entry."""
    _, _, made_number, both, first, summed, second, ab, al, am, bb, bm, br, _, _ = pair
    wide = lanes(x)
    rows = 2 * wide
    high, high_too = fill(x, 0.0), fill(x, 0.0)
    for i in range(both):
        for j in range(first):
            here = left + index[ab + i] + index[al + j]
            for r in range(second):
                there = right + index[bb + i] + index[br + r]
                found, too = fill(x, 0.0), fill(x, 0.0)
                for m in range(summed):
                    a, b = (here + index[am + m]) * rows, (there + index[bm + m]) * rows
                    found = mul_add(load(x, a), load(x, b), found)
                    too = mul_add(load(x, a + wide), load(x, b + wide), too)
                to = (made + (i * first + j) * second + r) * rows
                store(x, to, found)
                store(x, to + wide, too)
                high, high_too = maximum(high, found), maximum(high_too, too)
    at = made_number * rows
    store(peaks, at, high)
    store(peaks, at + wide, high_too)


@inlined
@no_type_check
def _scaled(x: Any, at: int, size: int, factors: Any, number: int) -> None:
    wide = lanes(x)
    rows = 2 * wide
    by, by_too = load(factors, number * rows), load(factors, number * rows + wide)
    for i in range(at * rows, (at + size) * rows, rows):
        store(x, i, load(x, i) * by)
        store(x, i + wide, load(x, i + wide) * by_too)


@inlined
@no_type_check
def _bounded(a: int, b: int, c: int, summed: int, peaks: Any, lost: Any, factors: Any, value: Any) -> bool:
    """The bounds of what a pair made; adds what it is divided by, NaN where it is 0; tells whether anything is."""
    some = False
    for r in range(peaks.shape[1]):
        high, gone = peaks[c, r], lost[a, r] * peaks[b, r] + lost[b, r] * peaks[a, r] + lost[a, r] * lost[b, r] + TINY
        lost[c, r], factors[c, r] = summed * gone, 1.0
        if not TINY <= high < np.inf:
            value[r] = np.nan
        elif not LOW < high < HIGH:
            value[r] += np.log(high)
            peaks[c, r], lost[c, r], factors[c, r], some = 1.0, lost[c, r] / high, 1.0 / high, True
    return some


@inlined
@no_type_check
def _back(x: Any, g: Any, pair: Any, index: Any, left: int, right: int, made: int, for_left: bool, for_right: bool
) -> None:  # fmt: skip
    """Adds to the derivatives by those tables of a pair that each row has of its own."""
    _, _, _, both, first, summed, second, ab, al, am, bb, bm, br, _, _ = pair
    wide = lanes(x)
    rows = 2 * wide
    for i in range(both):
        for j in range(first):
            here, top = left + index[ab + i] + index[al + j], made + (i * first + j) * second
            for m in range(summed):
                at, there = (here + index[am + m]) * rows, right + index[bb + i] + index[bm + m]
                found, too, value, more = fill(x, 0.0), fill(x, 0.0), load(x, at), load(x, at + wide)
                for r in range(second):
                    b, c = (there + index[br + r]) * rows, (top + r) * rows
                    slope, slope_too = load(g, c), load(g, c + wide)
                    found = mul_add(slope, load(x, b), found)
                    too = mul_add(slope_too, load(x, b + wide), too)
                    if for_right:
                        store(g, b, mul_add(value, slope, load(g, b)))
                        store(g, b + wide, mul_add(more, slope_too, load(g, b + wide)))
                if for_left:
                    store(g, at, load(g, at) + found)
                    store(g, at + wide, load(g, at + wide) + too)


@inlined
@no_type_check
def _peaks(g: Any, at: int, size: int, steepest: Any) -> None:
    """The greatest entry of each row; none is negative."""
    wide = lanes(g)
    rows = 2 * wide
    high, high_too = fill(g, 0.0), fill(g, 0.0)
    for i in range(at * rows, (at + size) * rows, rows):
        high, high_too = maximum(high, load(g, i)), maximum(high_too, load(g, i + wide))
    store(steepest, 0, high)
    store(steepest, wide, high_too)


@inlined
@no_type_check
def _turn(x: Any, g: Any, tables: Any, roots: Any, first: int, lost: Any, steep: Any, missing: Any) -> None:
    """The derivatives by the roots; everything of the rows before is forgotten."""
    rows = steep.shape[1]
    g[first * rows :] = 0.0
    steep[:], missing[:] = 0.0, 0.0
    for k in range(len(roots)):
        number = roots[k]
        at = tables[number, 1] * rows
        for r in range(rows if tables[number, 0] else 0):
            root = x[at + r]
            g[at + r] += 1.0 / root
            steep[number, r] += 1.0 / root
            missing[number, r] += lost[number, r] / root / root + TINY


@inlined
@no_type_check
def _leave(first: int, count: int, x: Any, g: Any, index: Any, tables: Any, wanted: Any, answers: Any
) -> None:  # fmt: skip
    """The marginals asked for, which sum to one."""
    wide = lanes(x)
    rows = 2 * wide
    line, whole = np.empty(rows), np.empty(rows)
    for k in range(len(wanted)):
        table, states, rest, by_state, by_rest, to = wanted[k]
        at = tables[table, 1]
        whole[:] = 0.0
        for s in range(states):
            found, too = fill(x, 0.0), fill(x, 0.0)
            for q in range(rest):
                here = (at + index[by_state + s] + index[by_rest + q]) * rows
                found = mul_add(load(x, here), load(g, here), found)
                too = mul_add(load(x, here + wide), load(g, here + wide), too)
            store(line, 0, found)
            store(line, wide, too)
            for r in range(count):
                answers[first + r, to + s] = line[r]
                whole[r] += line[r]
        for r in range(count):
            for s in range(states):
                answers[first + r, to + s] /= whole[r]


@inlined
@no_type_check
def _forward(x: Any, pairs: Any, index: Any, tables: Any, roots: Any, bounds: Any, value: Any) -> None:
    """The tables of all pairs, and the logs of the sums."""
    peaks, lost, factors = bounds[0], bounds[1], bounds[2]
    flat_peaks, flat_factors, rows = peaks.reshape(-1), factors.reshape(-1), len(value)
    value[:] = 0.0
    for k in range(len(pairs)):
        a, b, c = pairs[k, 0], pairs[k, 1], pairs[k, 2]
        _pair(x, pairs[k], index, tables[a, 1], tables[b, 1], tables[c, 1], flat_peaks)
        if _bounded(a, b, c, pairs[k, 5], peaks, lost, factors, value):
            _scaled(x, tables[c, 1], tables[c, 2], flat_factors, c)
    for k in range(len(roots)):
        at = tables[roots[k], 1] * rows
        for r in range(rows):
            root = x[at + r]
            value[r] += np.log(root) if root < np.inf and lost[roots[k], r] <= PROVEN * root else np.nan


@inlined
@no_type_check
def _backward(x: Any, g: Any, pairs: Any, index: Any, tables: Any, bounds: Any, steepest: Any) -> None:
    """The derivatives by the tables that each row has of its own, last pair first."""
    peaks, lost, factors, steep, missing = bounds[0], bounds[1], bounds[2], bounds[3], bounds[4]
    flat_factors = factors.reshape(-1)
    for k in range(len(pairs) - 1, -1, -1):
        a, b, c, first, second = pairs[k, 0], pairs[k, 1], pairs[k, 2], pairs[k, 4], pairs[k, 6]
        if not np.all(factors[c] == 1.0):
            _scaled(g, tables[c, 1], tables[c, 2], flat_factors, c)
        _peaks(g, tables[c, 1], tables[c, 2], steepest)
        _back(
            x, g, pairs[k], index, tables[a, 1], tables[b, 1], tables[c, 1], tables[a, 0] != 0, tables[b, 0] != 0
        )  # fmt: skip
        for r in range(len(steepest)):
            slope, gone = steepest[r], missing[c, r] * factors[c, r] + TINY
            steep[a, r] += second * slope * peaks[b, r]
            missing[a, r] += second * (gone * peaks[b, r] + (slope + gone) * lost[b, r] + TINY)
            steep[b, r] += first * slope * peaks[a, r]
            missing[b, r] += first * (gone * peaks[a, r] + (slope + gone) * lost[a, r] + TINY)


@inlined
@no_type_check
def _missing(r: int, tables: Any, bounds: Any) -> float:
    """What may be missing of a derivative by the logarithm of some entry of a row."""
    peaks, lost, steep, missing = bounds[0], bounds[1], bounds[3], bounds[4]
    worst = 0.0
    for k in range(len(tables) - 1):
        here = (peaks[k, r] + lost[k, r]) * missing[k, r] + lost[k, r] * steep[k, r]
        worst = here if tables[k, 0] and not here <= worst else worst
    return worst


@compiled
@no_type_check
def sweep_abreast(
    first: int, last: int, backwards: bool, x: Any, g: Any, data: Any, inputs: Any, pairs: Any, index: Any,
    tables: Any, roots: Any, wanted: Any, shared_size: int, bounds: Any, values: Any, answers: Any,
) -> None:  # fmt: skip
    """The sum of every row, and the marginals asked for; `values` becomes NaN where nothing is proven.

    Args:
        first, last: the rows.
        backwards: whether marginals are wanted.
        x, g: flat (entries, rows abreast): tables, those that all rows share filled in, and derivatives.
        bounds: (5, tables, rows abreast): peaks, lost, factors, steep, missing; those of shared tables filled in.
        data, inputs, pairs, index, tables, roots, wanted, shared_size: see `graft.ops.contraction.layout`.
        values: (all rows).
        answers: (all rows, answer).
    """
    rows = bounds.shape[2]
    value, steepest = np.empty(rows), np.empty(rows)
    for begin in range(first, last, rows):
        count = min(rows, last - begin)
        _enter(begin, last, x, data, inputs, bounds[0], bounds[1], bounds[2])
        _forward(x, pairs, index, tables, roots, bounds, value)
        values[begin : begin + count] = value[:count]
        if not backwards:
            continue
        _turn(x, g, tables, roots, shared_size, bounds[1], bounds[3], bounds[4])
        _backward(x, g, pairs, index, tables, bounds, steepest)
        for r in range(count):
            if not _missing(r, tables, bounds) <= PROVEN:
                values[begin + r] = np.nan
        _leave(begin, count, x, g, index, tables, wanted, answers)

"""Sweeps of semi-Markov chains in log space and double precision, one row at a time.

Sums over the elements of a segment are formed anew for each end, from elements already centred: nothing is subtracted.
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.logspace import log_sum
from graft.ops.cpu.table import peak
from graft.ops.cpu.vectors import (
    exp,
    fill,
    finite_or,
    lanes,
    load,
    load_some,
    maximum,
    store,
    store_some,
    total,
)


@inlined
@no_type_check
def place(row: int, t: int, final: bool, strides: Any) -> tuple[int, int]:
    """Where, in the table that serves, a segment of duration 1 lies that ends at t; and the distance of two steps."""
    which = 2 if final else 0
    return row * strides[which] + (t - 1) * strides[which + 1], strides[which + 1]


@inlined
@no_type_check
def window(
    v: Any, entry: Any, at: int, o: Any, o_at: int, g: Any, where: Any, count: int, sizes: Any, out: Any
) -> None:
    """Writes the log-weights of all that ends with an element, a line for each duration of the last segment.

    Args:
        v, entry: lines of `width`, that of the last element at `at`: element scores, and messages before segments.
        o: lines of S, that of the last element at `o_at`.
        g: the table that serves, where `place` says.
        count: how many durations.
        sizes: T, K, S, width.
        out: lines of `width`.
    """
    size, width = sizes[2], sizes[3]
    for j in range(0, width, lanes(out)):
        score = fill(out, 0.0)
        for d in range(count):
            score = score + load(v, at - d * width + j)
            begin = load_some(o, o_at - d * size + j, size - j, -np.inf) + load(entry, at - d * width + j)
            table = load_some(g, where[0] + d * (size - where[1]) + j, size - j, -np.inf)
            store(out, d * width + j, score + begin + table)


@inlined
@no_type_check
def collapse(lines: Any, count: int, width: int, out: Any, at: int) -> None:
    """The log-sum of lines."""
    wide, zero = lanes(out), fill(out, 0.0)
    for j in range(0, width, wide):
        high = fill(out, -np.inf)
        for d in range(count):
            high = maximum(high, load(lines, d * width + j))
        high = finite_or(high, zero)
        found = zero
        for d in range(count):
            found = found + exp(load(lines, d * width + j) - high)
        store(out, at + j, found)
        for k in range(j, j + wide):
            out[at + k] = math.log(out[at + k])
        store(out, at + j, load(out, at + j) + high)


@inlined
@no_type_check
def enter(w: Any, w_at: int, size: int, ended: Any, at: int, entry: Any, to: int, width: int) -> None:
    """The message before segments that start after those that `ended`."""
    wide, zero = lanes(entry), fill(entry, 0.0)
    for j in range(0, width, wide):
        high = fill(entry, -np.inf)
        for i in range(size):
            high = maximum(high, fill(entry, ended[at + i]) + load_some(w, w_at + i * size + j, size - j, -np.inf))
        high = finite_or(high, zero)
        found = zero
        for i in range(size):
            line = load_some(w, w_at + i * size + j, size - j, -np.inf)
            found = found + exp(fill(entry, ended[at + i]) + line - high)
        store(entry, to + j, found)
        for k in range(j, j + wide):
            entry[to + k] = math.log(entry[to + k])
        store(entry, to + j, load(entry, to + j) + high)


@inlined
@no_type_check
def shifted(x: Any, at: int, width: int, by: float) -> None:
    """Subtracts a number from a line."""
    for j in range(0, width, lanes(x)):
        store(x, at + j, load(x, at + j) - fill(x, by))


@compiled
@no_type_check
def forward(
    u: Any, o: Any, g: Any, last: Any, w: Any, lengths: Any, v: Any, ended: Any, entry: Any, log_z: Any, lines: Any,
    strides: Any, sizes: Any, first: int, beyond: int,
) -> None:  # fmt: skip
    """Sweeps rows from `first` up to `beyond`.

    Args:
        u, o: flat (b, T, S).
        g, last: flat (b or 1, T or 1, K, S).
        w: flat (b or 1, T-1 or 1, S, S).
        lengths: (b).
        v, ended, entry: flat (rows, T, width), on exit centred element scores and messages.
        log_z: (b).
        lines: scratch of this thread, flat (K, width).
        strides: the distances of two rows and of two steps in g, last and w, 0 if shared; and of two rows in `v`.
        sizes: T, K, S, width.
    """
    steps, limit, size, width = sizes
    for row in range(first, beyond):
        length, scale, base = lengths[row], 0.0, row * strides[6]
        entry[base : base + width] = 0.0
        for t in range(1, length + 1):
            at, u_at = base + (t - 1) * width, (row * steps + t - 1) * size
            for j in range(0, width, lanes(v)):
                store(v, at + j, load_some(u, u_at + j, size - j, -np.inf))
            count = min(limit, t)
            where = place(row, t, t == length, strides)
            window(v, entry, at, o, u_at, last if t == length else g, where, count, sizes, lines)
            collapse(lines, count, width, ended, at)
            high = peak(ended, at, width)
            if high > -np.inf:
                scale += high
                shifted(ended, at, width, high)
                shifted(v, at, width, high)
            if t < length:
                enter(w, row * strides[4] + (t - 1) * strides[5], size, ended, at, entry, at + width, width)
        log_z[row] = scale + log_sum(ended, base + (length - 1) * width, width) if length > 0 else 0.0


@inlined
@no_type_check
def leave(
    w: Any, w_at: int, size: int, ended: Any, at: int, entry: Any, to: int, start: Any, s_at: int, line: Any, end: Any,
    by_w: Any,
) -> None:  # fmt: skip
    """Carries the probabilities of starts to those of the ends before them, in `end`, and counts the pairs."""
    wide = lanes(line)
    for j in range(size):
        # where nothing starts, nothing came from anywhere
        line[j] = entry[to + j] if start[s_at + j] != 0.0 else np.inf
    for i in range(size):
        found, before = fill(line, 0.0), fill(line, ended[at + i])
        for j in range(0, size, wide):
            both = before + load_some(w, w_at + i * size + j, size - j, -np.inf)
            part = exp(both - load_some(line, j, size - j, np.inf)) * load_some(start, s_at + j, size - j, 0.0)
            found = found + part
            store_some(by_w, w_at + i * size + j, size - j, load_some(by_w, w_at + i * size + j, size - j, 0.0) + part)
        end[i] = total(found)


@inlined
@no_type_check
def unfold(
    lines: Any, count: int, ended: Any, at: int, end: Any, by_u: Any, by_o: Any, u_at: int, by_g: Any, where: Any,
    sizes: Any,
) -> None:  # fmt: skip
    """Shares the probabilities of ends among the segments that end there."""
    size, width = sizes[2], sizes[3]
    wide = lanes(lines)
    for j in range(size):
        # where nothing ends, no segment does
        lines[count * width + j] = ended[at + j] if end[j] != 0.0 else np.inf
    for j in range(0, size, wide):
        norm, weight = load_some(lines, count * width + j, size - j, np.inf), load_some(end, j, size - j, 0.0)
        covered = fill(lines, 0.0)
        for d in range(count - 1, -1, -1):
            part = exp(load(lines, d * width + j) - norm) * weight
            covered = covered + part
            to = u_at - d * size + j
            store_some(by_u, to, size - j, load_some(by_u, to, size - j, 0.0) + covered)
            store_some(by_o, to, size - j, load_some(by_o, to, size - j, 0.0) + part)
            to = where[0] + d * (size - where[1]) + j
            store_some(by_g, to, size - j, load_some(by_g, to, size - j, 0.0) + part)


@compiled
@no_type_check
def backward(
    o: Any, g: Any, last: Any, w: Any, lengths: Any, v: Any, ended: Any, entry: Any, log_z: Any, lines: Any,
    weight: Any, by_u: Any, by_o: Any, by_g: Any, by_last: Any, by_w: Any, strides: Any, sizes: Any,
    first: int, beyond: int,
) -> None:  # fmt: skip
    """Adds the gradients of rows, from what `forward` left, to arrays like `u`, `o`, `g`, `last` and `w`.

    Args:
        lines: scratch of this thread, flat (K + 3, width).
        weight: (b), what each row's gradient is multiplied by.
    """
    steps, limit, size, width = sizes
    line, end = lines[(limit + 1) * width : (limit + 2) * width], lines[(limit + 2) * width :]
    for row in range(first, beyond):
        length, base = lengths[row], row * strides[6]
        if log_z[row] == -np.inf:
            length = 0
        for t in range(length, 0, -1):
            at, u_at, count = base + (t - 1) * width, (row * steps + t - 1) * size, min(limit, t)
            if t == length:
                norm = log_sum(ended, at, width)
                for j in range(size):
                    end[j] = weight[row] * math.exp(ended[at + j] - norm)
            else:
                w_at = row * strides[4] + (t - 1) * strides[5]
                leave(w, w_at, size, ended, at, entry, at + width, by_o, u_at + size, line, end, by_w)
            where = place(row, t, t == length, strides)
            window(v, entry, at, o, u_at, last if t == length else g, where, count, sizes, lines)
            into = by_last if t == length else by_g
            unfold(lines, count, ended, at, end, by_u, by_o, u_at, into, where, sizes)

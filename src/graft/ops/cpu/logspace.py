"""Sweeps of chains in log space and double precision, one row at a time: right for potentials of any size."""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.table import peak
from graft.ops.cpu.vectors import exp, fill, finite_or, lanes, load_some, maximum, store_some, top, total


@inlined
@no_type_check
def log_sum(x: Any, at: int, size: int) -> float:
    """The log-sum of `size` entries."""
    wide, high = lanes(x), peak(x, at, size)
    if high == -np.inf:
        return high
    found = fill(x, 0.0)
    for j in range(0, size, wide):
        found = found + exp(load_some(x, at + j, size - j, -np.inf) - fill(x, high))
    return high + math.log(total(found))


@inlined
@no_type_check
def centre(x: Any, at: int, size: int) -> float:
    """Shifts `size` entries so that their maximum is 0; returns what it was, 0 if all are `-inf`."""
    high = peak(x, at, size)
    if high == -np.inf:
        return 0.0
    for j in range(size):
        x[at + j] -= high
    return high


@inlined
@no_type_check
def advance(u: Any, u_at: int, w: Any, w_at: int, size: int, alpha: Any, at: int) -> None:
    """One forward step, from the message at `at - size` to that at `at`."""
    wide, zero = lanes(alpha), fill(alpha, 0.0)
    for j in range(0, size, wide):
        high = fill(alpha, -np.inf)
        for i in range(size):
            line = load_some(w, w_at + i * size + j, size - j, -np.inf)
            high = maximum(high, fill(alpha, alpha[at - size + i]) + line)
        high = finite_or(high, zero)
        found = zero
        for i in range(size):
            line = load_some(w, w_at + i * size + j, size - j, -np.inf)
            found = found + exp(fill(alpha, alpha[at - size + i]) + line - high)
        store_some(alpha, at + j, size - j, found)
        for k in range(j, min(j + wide, size)):
            alpha[at + k] = math.log(alpha[at + k]) + u[u_at + k]
        lift(alpha, at + j, size - j, high)


@inlined
@no_type_check
def lift(x: Any, at: int, count: int, by: Any) -> None:
    """Adds a vector to entries."""
    store_some(x, at, count, load_some(x, at, count, 0.0) + by)


@compiled
@no_type_check
def sweep(
    u: Any, w: Any, strides: Any, lengths: Any, alpha: Any, log_z: Any, weight: Any,
    by_unary: Any, by_pairwise: Any, sizes: Any, first: int, last: int,
) -> None:  # fmt: skip
    """Sweeps rows `first` to `last` forward and, if `weight` has entries, back.

    Args:
        u: flat (b, T, S).
        w: flat (b or 1, T-1 or 1, S, S); `strides` are the distances of two rows and of two steps, 0 if shared.
        lengths: (b).
        alpha: scratch of this thread, flat (T + 2, S).
        log_z: (b).
        weight: (b), what each row's gradient is multiplied by, or nothing.
        by_unary: flat (b, T, S), overwritten.
        by_pairwise: as `w`, added to.
        sizes: T, S.
    """
    steps, size = sizes
    for row in range(first, last):
        length, scale = lengths[row], 0.0
        for t in range(length):
            u_at = (row * steps + t) * size
            if t == 0:
                alpha[:size] = u[u_at : u_at + size]
            else:
                advance(u, u_at, w, row * strides[0] + (t - 1) * strides[1], size, alpha, t * size)
            scale += centre(alpha, t * size, size)
        log_z[row] = scale + log_sum(alpha, (length - 1) * size, size) if length > 0 else 0.0
        if weight.size:
            by_unary[row * steps * size : (row + 1) * steps * size] = 0.0
            if log_z[row] > -np.inf:
                retreat(u, w, strides, length, alpha, weight[row], by_unary, by_pairwise, row, sizes)


@inlined
@no_type_check
def retreat(
    u: Any, w: Any, strides: Any, length: int, alpha: Any, weight: float, by_unary: Any, by_pairwise: Any,
    row: int, sizes: Any,
) -> None:  # fmt: skip
    """The backward sweep of one row and its gradients."""
    steps, size = sizes
    beta, ahead = steps * size, (steps + 1) * size
    for t in range(length - 1, -1, -1):
        u_at, w_at, at = (row * steps + t) * size, row * strides[0] + t * strides[1], t * size
        for i in range(size):
            if t == length - 1:
                alpha[beta + i] = 0.0
            else:
                alpha[beta + i] = joined(w, w_at + i * size, alpha, ahead, size)
        for i in range(size):
            alpha[at + i] += alpha[beta + i]
        norm = log_sum(alpha, at, size)
        for i in range(size):
            share = alpha[at + i] - norm
            by_unary[u_at + i] = weight * math.exp(share)
            if t < length - 1 and share > -np.inf:
                # of what follows state i, its part in each next state
                begin = share - alpha[beta + i]
                credit(w, w_at + i * size, alpha, ahead, size, begin, weight, by_pairwise)
        centre(alpha, beta, size)
        for j in range(size):
            alpha[ahead + j] = alpha[beta + j] + u[u_at + j]


@inlined
@no_type_check
def joined(w: Any, w_at: int, x: Any, at: int, size: int) -> float:
    """The log-sum of the sums of two lines."""
    wide = lanes(x)
    high = fill(x, -np.inf)
    for j in range(0, size, wide):
        high = maximum(high, load_some(w, w_at + j, size - j, -np.inf) + load_some(x, at + j, size - j, -np.inf))
    most = top(high)
    if most == -np.inf:
        return most
    found = fill(x, 0.0)
    for j in range(0, size, wide):
        both = load_some(w, w_at + j, size - j, -np.inf) + load_some(x, at + j, size - j, -np.inf)
        found = found + exp(both - fill(x, most))
    return most + math.log(total(found))


@inlined
@no_type_check
def credit(w: Any, w_at: int, x: Any, at: int, size: int, begin: float, weight: float, out: Any) -> None:
    """Adds weighted probabilities of the pairs that leave one state."""
    wide = lanes(x)
    for j in range(0, size, wide):
        both = load_some(w, w_at + j, size - j, -np.inf) + load_some(x, at + j, size - j, -np.inf)
        part = exp(both + fill(x, begin)) * fill(x, weight)
        store_some(out, w_at + j, size - j, load_some(out, w_at + j, size - j, 0.0) + part)

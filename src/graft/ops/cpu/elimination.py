"""Sums over spanning trees and their arcs' probabilities, compiled: elimination in linear space, and its adjoint.

As in `graft.ops.spanning_tree` nothing is subtracted on the way there, so each number has all its digits unless it left
the range of floats. That is watched for; rows where it happened are marked as lost.
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np
import torch
from torch import Tensor

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.share import share

#: What a product of two numbers may fall to, or a quotient rise to.
TINY, HUGE = 1e-280, 1e280
#: The weight of every root where exactly one is wanted: with it, two weigh nothing against one.
LONE = 1e-90


@inlined
@no_type_check
def load(arcs: Any, roots: Any, nodes: Any, count: int, lone: float, w: Any, tops: Any) -> bool:
    """Writes weights relative to each node's heaviest, heads below the root in line 0; whether one is out of range."""
    lost = False
    for m in range(count):
        high = roots[nodes[m]]
        for h in range(count):
            if h != m:
                high = max(high, arcs[nodes[h], nodes[m]])
        tops[m] = high
        if high == -np.inf:
            high = 0.0
        w[0, m] = math.exp(roots[nodes[m]] - high) * lone
        lost |= -np.inf < roots[nodes[m]] < high - 400.0
        for h in range(count):
            w[h + 1, m] = 0.0 if h == m else math.exp(arcs[nodes[h], nodes[m]] - high)
            lost |= h != m and -np.inf < arcs[nodes[h], nodes[m]] < high - 600.0
    return lost


@inlined
@no_type_check
def eliminate(w: Any, mass: Any, count: int) -> tuple[float, bool]:
    """Eliminates nodes in place; column and line of each stay as they were when it went. The log-sum, and if lost.

    Line 0 is the root and line h + 1 node h, so the heads of node n that are left are line 0 and those from n + 2 on:
    below, line 0 is met in place of line n + 1, which is node n itself.
    """
    total, lost = 0.0, False
    for n in range(count):
        mass[n] = w[0, n]
        for h in range(n + 2, count + 1):
            mass[n] += w[h, n]
        if mass[n] == 0.0:
            return -np.inf, lost
        total += math.log(mass[n])
        low, high = HUGE, 0.0
        for m in range(n + 1, count):
            if w[n + 1, m] > 0.0:
                low, high = min(low, w[n + 1, m]), max(high, w[n + 1, m])
        for h in range(n + 1, count + 1):
            line = 0 if h == n + 1 else h
            by = w[line, n] / mass[n]
            lost |= w[line, n] > 0.0 and (by < TINY or by * low < TINY or by * high > HUGE)
            loop = w[line, line - 1]
            for m in range(n + 1, count):
                w[line, m] += by * w[n + 1, m]
            if line > 0:
                w[line, line - 1] = loop
    return total, lost


@inlined
@no_type_check
def trace_back(w: Any, mass: Any, g: Any, count: int) -> None:
    """Derivatives of the log-sum by the weights, in `g`; zero on the diagonal."""
    for n in range(count - 1, -1, -1):
        for m in range(n + 1, count):
            g[n + 1, m] = 0.0
        for h in range(n + 1, count + 1):
            line = 0 if h == n + 1 else h
            by, found = w[line, n] / mass[n], 0.0
            for m in range(n + 1, count):
                g[n + 1, m] += g[line, m] * by
                found += g[line, m] * w[n + 1, m]
            g[line, n] = found / mass[n]
        share_of_mass = 1.0
        for m in range(n + 1, count):
            share_of_mass -= g[n + 1, m] * w[n + 1, m]
        for h in range(n + 1, count + 1):
            g[0 if h == n + 1 else h, n] += share_of_mass / mass[n]
        g[n + 1, n] = 0.0


@compiled
@no_type_check
def sweep(
    arcs: Any, roots: Any, exists: Any, single: bool, log_z: Any, by_arcs: Any, by_roots: Any, lost: Any,
    first: int, beyond: int,
) -> None:  # fmt: skip
    """Fills the log-sums and the probabilities of arcs and roots, zeros on entry, of rows from `first` up to `beyond`.

    Args:
        arcs, roots, exists: (b, N, N), (b, N) and (b, N).
        single: whether trees have one root.
        log_z: (b).
        by_arcs, by_roots: as `arcs` and `roots`.
        lost: (b), true where a number left the range of floats, probabilities do not add up, or more than one root
            counts where one is wanted.
    """
    size = roots.shape[1]
    w, g, start = np.empty((size + 1, size)), np.empty((size + 1, size)), np.empty((size + 1, size))
    mass, tops, nodes = np.empty(size), np.empty(size), np.empty(size, np.int64)
    lone = LONE if single else 1.0
    for row in range(first, beyond):
        count = 0
        for n in range(size):
            if exists[row, n]:
                nodes[count] = n
                count += 1
        if count == 0:
            continue
        lost[row] = load(arcs[row], roots[row], nodes, count, lone, w, tops)
        for h in range(count + 1):
            for m in range(count):
                start[h, m] = w[h, m]
        total, gone = eliminate(w, mass, count)
        lost[row] |= gone
        log_z[row] = total
        if lost[row] or total == -np.inf:
            continue
        log_z[row] -= math.log(lone)
        for m in range(count):
            log_z[row] += tops[m]
        trace_back(w, mass, g, count)
        number = 0.0
        for m in range(count):
            chances = by_roots[row, nodes[m]] = max(0.0, g[0, m] * start[0, m])
            number += chances
            for h in range(count):
                if h != m:
                    by_arcs[row, nodes[h], nodes[m]] = max(0.0, g[h + 1, m] * start[h + 1, m])
                    chances += by_arcs[row, nodes[h], nodes[m]]
            lost[row] |= not abs(chances - 1.0) < 1e-9
        lost[row] |= single and not abs(number - 1.0) < 1e-9


def swept(arcs: Tensor, roots: Tensor, exists: Tensor, single: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-sums (b), probabilities of arcs (b, N, N) and roots (b, N), and which rows (b) were lost."""
    a, r, e = (np.ascontiguousarray(x.detach().numpy()) for x in (arcs, roots, exists))
    log_z, by_arcs, by_roots, lost = np.zeros(len(a)), np.zeros(a.shape), np.zeros(r.shape), np.zeros(len(a), bool)

    def run(worker: int, first: int, last: int) -> None:
        sweep(a, r, e, single, log_z, by_arcs, by_roots, lost, first, last)

    share(len(a), float(a.size) * a.shape[1], run)
    return torch.from_numpy(log_z), torch.from_numpy(by_arcs), torch.from_numpy(by_roots), torch.from_numpy(lost)

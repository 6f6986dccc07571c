"""What stands before and after the sweeps of an E-step over lanes: parameters in whole blocks, and sums of threads."""

from __future__ import annotations

import math
from typing import Any, no_type_check

import numpy as np

from graft.ops.cpu.compile import compiled


@compiled
@no_type_check
def deal(
    rows: Any, into: Any, order: Any, lengths: Any, begins: Any, steps: int, width: int, lines: int, height: int
) -> None:
    """Copies rows (B, steps, width) into the lanes of blocks, (steps of all blocks, lines, height); the rest is 0.

    `order` names the row of each lane, `lengths` its length, the longest first.
    """
    for block in range(begins.size - 1):
        row = block * height
        for t in range(lengths[row]):
            at = (begins[block] + t) * lines * height
            into[at : at + lines * height] = 0
            for lane in range(height):
                if lengths[row + lane] <= t:
                    break
                place = (order[row + lane] * steps + t) * width
                for f in range(width):
                    into[at + f * height + lane] = rows[place + f]


@compiled
@no_type_check
def deal_about(
    rows: Any, centre: Any, into: Any, order: Any, lengths: Any, begins: Any, steps: int, height: int
) -> None:  # fmt: skip
    """As `deal`, of vectors less a centre."""
    width = centre.size
    for block in range(begins.size - 1):
        row = block * height
        for t in range(lengths[row]):
            at = (begins[block] + t) * width * height
            for lane in range(height):
                there = lengths[row + lane] > t
                place = (order[row + lane] * steps + t) * width if there else 0
                for f in range(width):
                    into[at + f * height + lane] = rows[place + f] - centre[f] if there else 0.0


@compiled
@no_type_check
def enter(
    start: Any, move: Any, natural: Any, constants: Any, symbols: bool, table: Any, into: Any, offsets: Any, sizes: Any
) -> tuple[float, float, bool]:
    """Parameters as `sweep` takes them; what lies beyond the states is left alone.

    Args:
        start, move: (S) and flat (S, S), log-probabilities.
        natural: flat (K, F), of symbols (S, V).
        constants: (K).
        symbols: whether the features are symbols.
        table: flat (width, width), overwritten by W.
        into: flat (rows, features), of symbols (V, width), overwritten.
        offsets: flat (2, S), overwritten.
        sizes: see `sweep`.

    Returns:
        The greatest and the least finite entry of the moves, and whether there are others; minus infinity without any.
    """
    states, width, groups, _, features, _ = sizes
    high, low, zeros = -np.inf, np.inf, False
    for i in range(move.size):
        finite = move[i] > -np.inf
        high, low = (max(high, move[i]), min(low, move[i])) if finite else (high, low)
        zeros = zeros or not finite
    for i in range(states):
        for j in range(states):
            table[i * width + j] = math.exp(move[i * states + j] - high)
        alone = constants[i] if groups == 1 else 0.0
        offsets[i], offsets[states + i] = alone + start[i], alone
    columns = natural.size // constants.size
    for k in range(constants.size):
        for f in range(columns):
            if symbols:
                into[f * width + k] = natural[k * columns + f]
            else:
                into[k * features + f] = natural[k * columns + f]
    return high, low, zeros


@compiled
@no_type_check
def leave(
    sums: Any, ends: Any, table: Any, symbols: bool, starts: Any, counts: Any, mass: Any, moments: Any, sizes: Any
) -> None:
    """The sums of all threads in the shapes of the user.

    Args:
        sums: (threads, numbers): counts, starts, mass and moments of `sweep`, which end at `ends`.
        table: flat (width, width), W.
        symbols: whether the features are symbols.
        starts, counts, mass, moments: see `graft.ops.cpu.chain_sums.Sums`; all 0, added to.
        sizes: see `sweep`.
    """
    states, width, groups, _, features, height = sizes
    for thread in range(sums.shape[0]):
        own = sums[thread]
        for i in range(states):
            for lane in range(height):
                starts[i] += own[ends[0] + i * height + lane]
            for j in range(states):
                counts[i, j] += own[i * width + j] * table[i * width + j]
        for k in range(mass.size):
            for lane in range(height if groups > 1 else 0):
                mass[k] += own[ends[1] + k * height + lane]
            for f in range(moments.shape[1]):
                moments[k, f] += own[ends[2] + (f * width + k if symbols else k * features + f)]
    if groups == 1:
        # every element is the first of its row, or follows another
        for i in range(states):
            mass[i] = starts[i]
            for j in range(states):
                mass[i] += counts[j, i]

r"""The E-step of chains that lie side by side: every lane of a register is a row.

With $e_t = \exp(u_t - \max u_t)$ and $W = \exp(w - \max w)$ messages are $\alpha_t = (\alpha_{t-1} W) \circ e_t$ and
$\beta_t = W (e_{t+1} \circ \beta_{t+1})$, scaled at every step by exact powers of two, one per lane. Nothing is summed
across lanes but counts and moments. `graft.ops.cpu.sweeps` says when nothing is lost in linear space.

A block is `height` rows, and a line `height` numbers, one of each. All arrays are flat.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np

from graft.ops.cpu.chain_ahead import forward
from graft.ops.cpu.chain_back import STEPS, backward
from graft.ops.cpu.compile import compiled
from graft.ops.cpu.vectors import pointer


@compiled
@no_type_check
def sweep(
    x: Any, lines: int, symbols: Any, begins: Any, natural: Any, constants: Any, offsets: Any, table: Any, lengths: Any,
    scratch: Any, ends: Any, log_z: Any, counts: Any, starts: Any, mass: Any, moments: Any, peak: float, floor: float,
    sizes: Any, first: int, last: int,
) -> bool:  # fmt: skip
    """The E-step of blocks `first` to `last`; returns whether a number may have been lost.

    Args:
        x: flat (steps of all blocks, lines, height), or nothing.
        lines: as many as features; or fewer, and the features are these and their squares.
        symbols: flat (steps of all blocks, height), or nothing.
        begins: at which step each block begins.
        natural: flat (rows, features), parameters; of symbols, flat (symbols, width).
        constants: (rows), what is added to the products.
        offsets: flat (2, states), what is added to log-densities of states at the first step and at others.
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
    lost, width, height = False, sizes[1], sizes[5]
    # arrays, handed on, are seven words and a count of their owners each
    data, names, eta, constant = pointer(x), pointer(symbols), pointer(natural), pointer(constants)
    alpha, e, parts = pointer(scratch), pointer(scratch[ends[0] :]), pointer(scratch[ends[1] :])
    offset, w, share = pointer(offsets), pointer(table), scratch[ends[2] :]
    share[:] = 0.0
    room = np.zeros((2 * width + 5 + STEPS * sizes[4]) * height)
    part, notes, beta = pointer(room), pointer(room[width * height :]), pointer(room[(width + 5) * height :])
    both = pointer(room[(2 * width + 5) * height :])
    for block in range(first, last):
        row, x_at, y_at = block * height, begins[block] * lines * height, begins[block] * height
        room[:] = 0.0
        there = forward(
            data, x_at, lines, both, names, y_at, eta, constant, offset, w, lengths, row, alpha, e, parts, part, notes,
            log_z, peak, floor, sizes,
        )  # fmt: skip
        back = backward(
            data, x_at, lines, both, names, y_at, w, lengths, row, alpha, e, parts, pointer(share), beta,
            pointer(counts), pointer(starts), pointer(mass), pointer(moments), floor, sizes,
        )  # fmt: skip
        lost = lost or there or back
    return lost

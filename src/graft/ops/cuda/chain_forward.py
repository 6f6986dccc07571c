"""The forward sweep of chains: messages and log Z."""

from typing import no_type_check

import triton
import triton.language as tl

from graft.ops.cuda.arithmetic import arriving, centred


@triton.jit(do_not_specialize=["steps"])
@no_type_check
def forward(
    unary: tl.tensor,
    pairwise: tl.tensor,
    lengths: tl.tensor,
    messages: tl.tensor,
    log_z: tl.tensor,
    steps: tl.tensor,
    states: tl.tensor,
    unary_row: tl.tensor,
    unary_step: tl.tensor,
    table_row: tl.tensor,
    table_step: tl.tensor,
    VARYING: tl.constexpr,
    AHEAD: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """One program for each row; what the next step reads is asked for before this one is summed.

    Args:
        unary: (b, T, S), the last dimension contiguous; `unary_row` and `unary_step` are the other strides.
        pairwise: tables (S, S), contiguous each; `table_row` and `table_step` tell how far apart, 0 if shared.
        lengths: (b).
        messages: (b, T, S), float64, filled up to lengths: the forward messages with maximum 0.
        log_z: (b), filled.
        VARYING: whether each step has a table.
        AHEAD: whether the next of them is asked for a step ahead, which takes registers.
        BLOCK: the power of two that S is padded to, with `-inf`.
    """
    row = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + row).to(tl.int32)
    state = tl.arange(0, BLOCK)
    inside = state < states
    square = inside[:, None] & inside[None, :]
    cells = state[:, None] * states + state[None, :]
    unary += row * unary_row
    pairwise += row * table_row
    messages += row * steps * states
    u = tl.load(unary + state, mask=inside & (length > 0), other=-float("inf"))
    now, scale = centred(u.to(tl.float64))
    tl.store(messages + state, now, mask=inside & (length > 0))
    u = tl.load(unary + unary_step + state, mask=inside & (length > 1), other=-float("inf"))
    w = tl.load(pairwise + cells, mask=square & (length > 1), other=-float("inf"))
    for t in range(1, length):
        unary += unary_step
        messages += states
        later = t + 1 < length
        u_next = tl.load(unary + unary_step + state, mask=inside & later, other=-float("inf"))
        if VARYING and AHEAD:
            pairwise += table_step
            w_next = tl.load(pairwise + cells, mask=square & later, other=-float("inf"))
        top, below = arriving(now, w)
        total = tl.log(tl.sum(tl.exp(below), 0))
        now, shift = centred(u.to(tl.float64) + (top.to(tl.float64) + total.to(tl.float64)))
        scale += shift
        tl.store(messages + state, now, mask=inside)
        u = u_next
        if VARYING:
            if AHEAD:
                w = w_next
            else:
                pairwise += table_step
                w = tl.load(pairwise + cells, mask=square & later, other=-float("inf"))
    found = scale + tl.log(tl.sum(tl.exp(now), 0))
    tl.store(log_z + row, tl.where(length > 0, found, 0.0))

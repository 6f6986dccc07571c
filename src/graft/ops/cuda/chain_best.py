"""The best sequence of each chain, by Viterbi's algorithm."""

from typing import no_type_check

import triton
import triton.language as tl

from graft.ops.cuda.arithmetic import arriving, centred


@triton.jit(do_not_specialize=["steps"])
@no_type_check
def viterbi(
    unary: tl.tensor,
    pairwise: tl.tensor,
    lengths: tl.tensor,
    origins: tl.tensor,
    ends: tl.tensor,
    scores: tl.tensor,
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
    """One program for each row; arguments beside those of `forward`:

    Args:
        origins: (b, T, S), int16, filled from 1 up to lengths: the state before each on the best way there.
        ends: (b), int32, filled: the last state of a best sequence.
        scores: (b), filled.
    """
    row = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + row).to(tl.int32)
    state = tl.arange(0, BLOCK)
    inside = state < states
    square = inside[:, None] & inside[None, :]
    cells = state[:, None] * states + state[None, :]
    unary += row * unary_row
    pairwise += row * table_row
    origins += row * steps * states
    u = tl.load(unary + state, mask=inside & (length > 0), other=-float("inf"))
    now, scale = centred(u.to(tl.float64))
    u = tl.load(unary + unary_step + state, mask=inside & (length > 1), other=-float("inf"))
    w = tl.load(pairwise + cells, mask=square & (length > 1), other=-float("inf"))
    for t in range(1, length):
        unary += unary_step
        origins += states
        later = t + 1 < length
        u_next = tl.load(unary + unary_step + state, mask=inside & later, other=-float("inf"))
        if VARYING and AHEAD:
            pairwise += table_step
            w_next = tl.load(pairwise + cells, mask=square & later, other=-float("inf"))
        top, below = arriving(now, w)
        # the greatest as rounded need not be the greatest
        best, origin = tl.max(below, 0, return_indices=True)
        now, shift = centred(u.to(tl.float64) + (top.to(tl.float64) + best.to(tl.float64)))
        scale += shift
        tl.store(origins + state, origin.to(tl.int16), mask=inside)
        u = u_next
        if VARYING:
            if AHEAD:
                w = w_next
            else:
                pairwise += table_step
                w = tl.load(pairwise + cells, mask=square & later, other=-float("inf"))
    best, end = tl.max(now, 0, return_indices=True)
    tl.store(ends + row, end)
    tl.store(scores + row, tl.where(length > 0, scale + best, 0.0))


@triton.jit(do_not_specialize=["steps"])
@no_type_check
def follow(
    lengths: tl.tensor, origins: tl.tensor, ends: tl.tensor, paths: tl.tensor, steps: tl.tensor, states: tl.tensor
) -> None:
    """Walks back from each end; one program for each row.

    Args:
        lengths, origins, ends, steps, states: as in `viterbi`.
        paths: (b, T), int64, filled up to lengths.
    """
    row = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + row).to(tl.int32)
    state = tl.load(ends + row)
    last = tl.maximum(length - 1, 0).to(tl.int64)
    origins += (row * steps + last) * states
    paths += row * steps + last
    tl.store(paths, state.to(tl.int64), mask=length > 0)
    for _back in range(1, length):
        state = tl.load(origins + state).to(tl.int32)
        origins -= states
        paths -= 1
        tl.store(paths, state.to(tl.int64))

r"""The backward sweep of chains: marginals, from the end, by the probabilities of each state given the next.

$$ p(y_t = i \mid y_{t+1} = j) \propto_i e^{\alpha_t(i) + w_t(i, j)}, \qquad
   p(y_t = i, y_{t+1} = j) = p(y_{t+1} = j)\, p(y_t = i \mid y_{t+1} = j). $$

Nothing here is a logarithm but the forward messages, and nothing that is lost to the range of the type is greater than
its smallest number: probabilities only shrink on their way. Source: Kitagawa, *Non-Gaussian state-space modeling of
nonstationary time series* (1987), smoothing; as a gradient, it is the derivative of the forward sweep.

Only probabilities of states wait for each other; those of pairs are sums of products that all steps make side by side.
"""

from typing import no_type_check

import triton
import triton.language as tl

from graft.ops.cuda.arithmetic import arriving, centred


@triton.jit
@no_type_check
def joint(message: tl.tensor, table: tl.tensor, single: tl.tensor) -> tl.tensor:
    """Probabilities of pairs (S, S), from the message to the first of them and the probabilities of the second."""
    _, below = arriving(message, table)
    weights = tl.exp(below)
    total = tl.sum(weights, 0)
    # a state that nothing arrives at has probability 0
    share = tl.where(total > 0, single / tl.where(total > 0, total, 1.0), 0.0)
    return weights * share[None, :]


@triton.jit
@no_type_check
def normalised(single: tl.tensor) -> tl.tensor:
    """Probabilities that sum to 1 again, or all 0: rounding errors of many steps must not add up."""
    total = tl.sum(single, 0)
    return single / tl.where(total > 0, total, 1.0)


@triton.jit(do_not_specialize=["steps"])
@no_type_check
def backward(
    pairwise: tl.tensor,
    lengths: tl.tensor,
    messages: tl.tensor,
    weights: tl.tensor,
    by_unary: tl.tensor,
    steps: tl.tensor,
    states: tl.tensor,
    table_row: tl.tensor,
    table_step: tl.tensor,
    VARYING: tl.constexpr,
    AHEAD: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """One program for each row.

    Args:
        pairwise, lengths, messages, steps, states, table_row, table_step, VARYING, AHEAD, BLOCK: as in `forward`.
        weights: (b), what the probabilities of a row are multiplied by.
        by_unary: (b, T, S), filled up to lengths.
    """
    row = tl.program_id(0).to(tl.int64)
    length = tl.load(lengths + row).to(tl.int32)
    weight = tl.load(weights + row)
    state = tl.arange(0, BLOCK)
    inside = state < states
    square = inside[:, None] & inside[None, :]
    cells = state[:, None] * states + state[None, :]
    last = tl.maximum(length - 1, 0).to(tl.int64)
    messages += (row * steps + last) * states
    by_unary += (row * steps + last) * states
    pairwise += row * table_row + tl.maximum(last - 1, 0) * table_step
    now, _ = centred(tl.load(messages + state, mask=inside & (length > 0), other=-float("inf")))
    single = normalised(tl.exp(now)).to(weight.dtype)
    tl.store(by_unary + state, single * weight, mask=inside & (length > 0))
    messages -= states
    message = tl.load(messages + state, mask=inside & (length > 1), other=-float("inf"))
    w = tl.load(pairwise + cells, mask=square & (length > 1), other=-float("inf"))
    for back in range(1, length):
        by_unary -= states
        messages -= states
        earlier = back + 1 < length
        message_next = tl.load(messages + state, mask=inside & earlier, other=-float("inf"))
        if VARYING and AHEAD:
            pairwise -= table_step
            w_next = tl.load(pairwise + cells, mask=square & earlier, other=-float("inf"))
        single = normalised(tl.sum(joint(message, w, single), 1))
        tl.store(by_unary + state, single * weight, mask=inside)
        message = message_next
        if VARYING:
            if AHEAD:
                w = w_next
            else:
                pairwise -= table_step
                w = tl.load(pairwise + cells, mask=square & earlier, other=-float("inf"))


@triton.jit(do_not_specialize=["rows", "steps", "row_run", "step_run", "parts"])
@no_type_check
def pairs(
    pairwise: tl.tensor,
    lengths: tl.tensor,
    messages: tl.tensor,
    by_unary: tl.tensor,
    by_pairwise: tl.tensor,
    rows: tl.tensor,
    steps: tl.tensor,
    states: tl.tensor,
    table_row: tl.tensor,
    table_step: tl.tensor,
    row_run: tl.tensor,
    step_run: tl.tensor,
    parts: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Weighted probabilities of pairs, summed over runs of rows and of steps; a program for each two runs.

    Nothing is added by two programs to one place, so that results are the same at every call.

    Args:
        by_unary: (b, T, S), as `backward` fills it.
        by_pairwise: (runs of rows, runs of steps, S, S), filled.
        row_run, step_run: how long the runs are.
        parts: how many runs of steps there are.
    """
    program = tl.program_id(0)
    row = (program // parts).to(tl.int64) * row_run
    first = (program % parts).to(tl.int64) * step_run
    state = tl.arange(0, BLOCK)
    inside = state < states
    square = inside[:, None] & inside[None, :]
    cells = state[:, None] * states + state[None, :]
    sums = tl.zeros((BLOCK, BLOCK), tl.float64)
    for at in range(row, tl.minimum(row + row_run, rows)):
        length = tl.load(lengths + at).to(tl.int64)
        start = (at * steps + first) * states
        for step in range(first, tl.minimum(first + step_run, length - 1)):
            message = tl.load(messages + start + state, mask=inside, other=-float("inf"))
            single = tl.load(by_unary + start + states + state, mask=inside, other=0.0)
            w = tl.load(pairwise + at * table_row + step * table_step + cells, mask=square, other=-float("inf"))
            sums += joint(message, w, single).to(tl.float64)
            start += states
    by_pairwise += program.to(tl.int64) * states * states
    tl.store(by_pairwise + cells, sums.to(by_pairwise.dtype.element_ty), mask=square)

"""Messages that lose no digits to large potentials, in the arithmetic of these potentials."""

# not from __future__ import annotations: Triton's interpreter looks annotations up, and does not know them as words
from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def arriving(message: tl.tensor, table: tl.tensor) -> tl.tensor:
    r"""What arrives at each next state j by each state i, as logarithms: their greatest over i, and what is below it.

    $m_j = \max_i \alpha_i + w_{ij}$ as rounded, 0 if nothing arrives, and $d_{ij} = \alpha_i + w_{ij} - m_j$ to all
    digits of the type of the table wherever $d$ is near 0: messages are in double precision, and the rounding error of
    each sum is found and added (Knuth, *The art of computer programming*, volume 2, section 4.2.2, theorem B). Most
    cards are slow in double precision; so only the vectors are, and squares are in the type of the table.

    Args:
        message: (S), float64, finite or `-inf`.
        table: (S, S), finite or `-inf`.

    Returns:
        m (S) and d (S, S), in the type of the table.
    """
    high = message.to(table.dtype)
    low = (message - high.to(tl.float64)).to(table.dtype)
    total = high[:, None] + table
    back = total - high[:, None]
    rest = (high[:, None] - (total - back)) + (table - back) + low[:, None]
    top = tl.max(total, 0)
    top = tl.where(top == -float("inf"), 0.0, top)
    below = (total - top[None, :]) + rest
    # of what is -inf the error is NaN
    return top, tl.where(total == -float("inf"), -float("inf"), below)


@triton.jit
@no_type_check
def centred(message: tl.tensor) -> tl.tensor:
    """A message with maximum 0, and what was taken from it; one that is all `-inf` stays."""
    top = tl.max(message, 0)
    top = tl.where(top == -float("inf"), 0.0, top)
    return message - top, top

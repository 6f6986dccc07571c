"""Matrix products of a few rows, in blocks that stay in registers."""

from __future__ import annotations

from typing import Any, no_type_check

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.vectors import lanes, make_tile

_8x2, _4x2, _2x2, _1x2 = make_tile(8, 2), make_tile(4, 2), make_tile(2, 2, 2), make_tile(1, 2, 4)
_8x1, _4x1, _2x1, _1x1 = make_tile(8, 1), make_tile(4, 1, 2), make_tile(2, 1, 4), make_tile(1, 1, 8)


@compiled
@no_type_check
def product(
    c: Any, c_at: int, c_row: int, a: Any, a_at: int, a_row: int, a_step: int,
    b: Any, b_at: int, b_step: int, rows: int, columns: int, steps: int, add: bool,
) -> None:  # fmt: skip
    """c[r, j] = sum_k a[r, k] b[k, j], plus what stood there if `add`.

    Args:
        c, a, b: flat arrays; `c_at` is where the result begins, `c_row` the distance of its rows, and so on.
        rows, columns, steps: sizes; columns are a multiple of a register, steps of 8.
    """
    wide = lanes(c)
    j = 0
    while j + 2 * wide <= columns:
        r = 0
        while r + 8 <= rows:
            _8x2(c, c_at + r * c_row + j, c_row, a, a_at + r * a_row, a_row, a_step, b, b_at + j, b_step, steps, add)
            r += 8
        if r + 4 <= rows:
            _4x2(c, c_at + r * c_row + j, c_row, a, a_at + r * a_row, a_row, a_step, b, b_at + j, b_step, steps, add)
            r += 4
        if r + 2 <= rows:
            _2x2(c, c_at + r * c_row + j, c_row, a, a_at + r * a_row, a_row, a_step, b, b_at + j, b_step, steps, add)
            r += 2
        if r < rows:
            _1x2(c, c_at + r * c_row + j, c_row, a, a_at + r * a_row, a_row, a_step, b, b_at + j, b_step, steps, add)
        j += 2 * wide
    if j < columns:
        r = 0
        while r + 8 <= rows:
            _8x1(c, c_at + r * c_row + j, c_row, a, a_at + r * a_row, a_row, a_step, b, b_at + j, b_step, steps, add)
            r += 8
        if r + 4 <= rows:
            _4x1(c, c_at + r * c_row + j, c_row, a, a_at + r * a_row, a_row, a_step, b, b_at + j, b_step, steps, add)
            r += 4
        if r + 2 <= rows:
            _2x1(c, c_at + r * c_row + j, c_row, a, a_at + r * a_row, a_row, a_step, b, b_at + j, b_step, steps, add)
            r += 2
        if r < rows:
            _1x1(c, c_at + r * c_row + j, c_row, a, a_at + r * a_row, a_row, a_step, b, b_at + j, b_step, steps, add)


@inlined
@no_type_check
def step(c: Any, c_at: int, a: Any, a_at: int, b: Any, b_at: int, rows: int, columns: int, steps: int) -> None:
    """`product` of matrices whose rows stand `columns` apart; 8 rows, and one of one register, cost no call."""
    wide = lanes(c)
    if rows == 8:
        j = 0
        while j + 2 * wide <= columns:
            _8x2(c, c_at + j, columns, a, a_at, columns, 1, b, b_at + j, columns, steps, False)
            j += 2 * wide
        if j < columns:
            _8x1(c, c_at + j, columns, a, a_at, columns, 1, b, b_at + j, columns, steps, False)
    elif rows == 1 and columns == wide:
        _1x1(c, c_at, columns, a, a_at, columns, 1, b, b_at, columns, steps, False)
    else:
        product(c, c_at, columns, a, a_at, columns, 1, b, b_at, columns, rows, columns, steps, False)

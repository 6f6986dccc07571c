"""Inner products of lines that lie side by side over many steps: expected counts and moments."""

from __future__ import annotations

from typing import Any, no_type_check

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.vectors import fill, lanes, load, mul_add, total


@inlined
@no_type_check
def added(x: Any, y: Any, sums: Any) -> Any:
    """One line times four, added to four sums."""
    return (
        mul_add(x, y[0], sums[0]),
        mul_add(x, y[1], sums[1]),
        mul_add(x, y[2], sums[2]),
        mul_add(x, y[3], sums[3]),
    )


@inlined
@no_type_check
def put(c: Any, at: int, sums: Any) -> None:
    """Adds the sums over lanes to four numbers."""
    c[at] += total(sums[0])
    c[at + 1] += total(sums[1])
    c[at + 2] += total(sums[2])
    c[at + 3] += total(sums[3])


@inlined
@no_type_check
def four_by_four(
    c: Any, c_at: int, c_row: int, a: Any, a_at: int, a_step: int, b: Any, b_at: int, b_step: int,
    height: int, steps: int,
) -> None:  # fmt: skip
    """A block of `gram` that stays in registers."""
    zero = fill(a, 0.0)
    first = second = third = fourth = (zero, zero, zero, zero)
    for t in range(steps):
        for v in range(0, height, lanes(a)):
            left, right = a_at + t * a_step + v, b_at + t * b_step + v
            y = (
                load(b, right),
                load(b, right + height),
                load(b, right + 2 * height),
                load(b, right + 3 * height),
            )
            first = added(load(a, left), y, first)
            second = added(load(a, left + height), y, second)
            third = added(load(a, left + 2 * height), y, third)
            fourth = added(load(a, left + 3 * height), y, fourth)
    put(c, c_at, first)
    put(c, c_at + c_row, second)
    put(c, c_at + 2 * c_row, third)
    put(c, c_at + 3 * c_row, fourth)


@compiled
@no_type_check
def gram(
    c: Any, columns: int, a: Any, a_at: int, a_step: int, b: Any, b_at: int, b_step: int,
    rows: int, height: int, steps: int,
) -> None:  # fmt: skip
    """c[i, j] += sum over steps t and lanes r of a[t, i, r] b[t, j, r].

    Args:
        c: flat (rows, columns), multiples of 4.
        a, b: flat (steps, lines, height), from `a_at` and `b_at` on, with the distances of two steps.
        height: a multiple of a register.
        steps: how many.
    """
    for i in range(0, rows, 4):
        for j in range(0, columns, 4):
            four_by_four(
                c, i * columns + j, columns, a, a_at + i * height, a_step, b, b_at + j * height, b_step, height, steps
            )

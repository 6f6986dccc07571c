"""Pairs of tables as products of small matrices, copied side by side so that the products run in whole registers."""

from __future__ import annotations

from typing import Any, no_type_check

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.vectors import fill, lanes, load, load_some, make_tile, maximum, store_some, top

# few of them: machine code of tiles is most of what is compiled at the first call
_4x2, _1x2, _4x1, _1x1 = make_tile(4, 2), make_tile(1, 2), make_tile(4, 1), make_tile(1, 1)


@compiled
@no_type_check
def _matrix(
    c: Any, c_row: int, a: Any, a_at: int, a_row: int, a_step: int, b: Any, b_at: int, b_step: int, rows: int,
    columns: int, steps: int,
) -> None:  # fmt: skip
    """c[r, j] = sum_k a[r, k] b[k, j]; columns are a multiple of a register, `c` begins with the result."""
    wide, j = lanes(c), 0
    while j < columns:
        r, at, two = 0, b_at + j, j + 2 * wide <= columns
        while r < rows:
            to, start, four = r * c_row + j, a_at + r * a_row, r + 4 <= rows
            if four and two:
                _4x2(c, to, c_row, a, start, a_row, a_step, b, at, b_step, steps, False)
            elif two:
                _1x2(c, to, c_row, a, start, a_row, a_step, b, at, b_step, steps, False)
            elif four:
                _4x1(c, to, c_row, a, start, a_row, a_step, b, at, b_step, steps, False)
            else:
                _1x1(c, to, c_row, a, start, a_row, a_step, b, at, b_step, steps, False)
            r += 4 if four else 1
        j += 2 * wide if two else wide


@inlined
@no_type_check
def padded(x: Any, count: int) -> int:
    """Whole registers that hold so many entries."""
    wide = lanes(x)
    return (count + wide - 1) // wide * wide


@inlined
@no_type_check
def peak(x: Any, at: int, size: int) -> float:
    """The greatest of the absolute values of some entries."""
    wide, zero = lanes(x), fill(x, 0.0)
    found, i = zero, 0
    while i + wide <= size:
        some = load(x, at + i)
        found = maximum(found, maximum(some, zero - some))
        i += wide
    if i < size:
        some = load_some(x, at + i, size - i, 0.0)
        found = maximum(found, maximum(some, zero - some))
    return top(found)


@inlined
@no_type_check
def _copied(to: Any, row: int, x: Any, at: int, index: Any, first: int, rows: int, second: int, columns: int) -> None:
    """to[r, j] = x[at + first[r] + second[j]]."""
    for r in range(rows):
        here = at + index[first + r]
        into, places = to[r * row : r * row + columns], index[second : second + columns]
        for j in range(columns):
            into[j] = x[here + places[j]]


@inlined
@no_type_check
def _added(
    x: Any, at: int, index: Any, first: int, rows: int, second: int, columns: int, factor: float, by: Any, row: int
) -> None:
    """x[at + first[r] + second[j]] += factor by[r, j]."""
    for r in range(rows):
        here = at + index[first + r]
        source, places = by[r * row : r * row + columns], index[second : second + columns]
        for j in range(columns):
            x[here + places[j]] += factor * source[j]


@compiled
@no_type_check
def multiply(
    x: Any, pair: Any, index: Any, left: int, right: int, made: int, first_scratch: Any, second_scratch: Any,
    third_scratch: Any,
) -> None:  # fmt: skip
    """The product of a pair of tables, summed, in its place."""
    _, _, _, both, first, summed, second, ab, al, am, bb, bm, br, unit, _ = pair
    a, b, c = first_scratch, second_scratch, third_scratch
    width, wide = padded(x, second), lanes(x)
    for i in range(both):
        _copied(a, summed, x, left + index[ab + i], index, al, first, am, summed)
        start = right + index[bb + i]
        if unit > 1:
            _matrix(c, width, a, 0, summed, 1, x, start, unit, first, width, summed)
        else:
            _copied(b, width, x, start, index, bm, summed, br, second)
            _matrix(c, width, a, 0, summed, 1, b, 0, width, first, width, summed)
        for j in range(first):
            to = made + (i * first + j) * second
            for r in range(0, second, wide):
                store_some(x, to + r, second - r, load(c, j * width + r))


@compiled
@no_type_check
def differentiate(
    x: Any, g: Any, pair: Any, index: Any, left: int, right: int, made: int, for_left: float, for_right: float,
    first_scratch: Any, second_scratch: Any, third_scratch: Any,
) -> None:  # fmt: skip
    """Adds to the derivatives by both tables of a pair what those by its product tell."""
    _, _, _, both, first, summed, second, ab, al, am, bb, bm, br, _, _ = pair
    a, b, c = first_scratch, second_scratch, third_scratch
    width, narrow = padded(x, second), padded(x, summed)
    for i in range(both):
        top_at, start = made + i * first * second, right + index[bb + i]
        _copied(b, narrow, x, start, index, br, second, bm, summed)
        _matrix(c, narrow, g, top_at, second, 1, b, 0, narrow, first, narrow, second)
        _added(g, left + index[ab + i], index, al, first, am, summed, for_left, c, narrow)
        _copied(a, summed, x, left + index[ab + i], index, al, first, am, summed)
        _matrix(c, width, a, 0, 1, summed, g, top_at, second, summed, width, first)
        _added(g, start, index, bm, summed, br, second, for_right, c, width)

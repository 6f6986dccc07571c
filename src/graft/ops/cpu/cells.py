"""Log-densities of rows of many independent cells, summed: one pass over memory instead of one for each operation.

A tensor is told by three numbers: the address of its first cell, how far its rows lie apart, and how many there are;
one with fewer rows than the result begins again from its first. Beside a sum, a kernel leaves its derivatives by cell
where it is given room for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, no_type_check

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.lanewise import divide
from graft.ops.cpu.vectors import (
    exp,
    fill,
    lanes,
    load_some,
    log_odds,
    maximum,
    minimum,
    store_some,
    total,
    where_positive,
)

#: Cells that are summed in the tensor's own type; sums of such blocks are added as doubles.
BLOCK = 2048
#: A logit so low that its unit adds nothing: what stands beyond the end of a row.
OFF = -1e30


def _pointer_to(number: types.Float, kind: ir.Type, name: str) -> Any:
    def behind(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            return builder.inttoptr(args[0], kind.as_pointer())

        return types.CPointer(number)(types.int64), codegen

    behind.__name__ = behind.__qualname__ = name
    return intrinsic(behind)


_single = _pointer_to(types.float32, ir.FloatType(), "single")
_double = _pointer_to(types.float64, ir.DoubleType(), "double")


@inlined
@no_type_check
def _units(logits: Any, at: int, values: Any, from_: int, slopes: Any, to: int, width: int, keep: bool) -> float:
    """The log-probability of a row of units; its derivative by a logit is value - sigmoid(logit)."""
    wide, zero, one, two, found = lanes(logits), fill(logits, 0.0), fill(logits, 1.0), fill(logits, 2.0), 0.0
    for first in range(0, width, BLOCK):
        some = fill(logits, 0.0)
        for c in range(first, min(first + BLOCK, width), wide):
            x = load_some(logits, at + c, width - c, OFF)
            y = load_some(values, from_ + c, width - c, 0.0)
            u = exp(minimum(x, zero - x))
            # one division for both 1 / (1 + u) and u / (2 + u): it takes as long as all the rest
            inverse = divide(one, (one + u) * (two + u))
            # x y and max(x, 0) cancel exactly where y is 1
            some = some + ((x * y - maximum(x, zero)) - log_odds(u * (one + u) * inverse))
            if keep:
                store_some(slopes, to + c, width - c, y - where_positive(x, one, u) * (two + u) * inverse)
        found += total(some)
    return found


@inlined
@no_type_check
def _normals(
    values: Any, y: int, locs: Any, m: int, logs: Any, w: int, scales: Any, s: int, by_loc: Any, by_log: Any, to: int,
    width: int, to_loc: bool, to_log: bool,
) -> float:  # fmt: skip
    """Minus half the square and log sigma, summed; the derivatives by mu and log sigma are z / sigma and z^2 - 1."""
    wide, half, one, found = lanes(values), fill(values, -0.5), fill(values, 1.0), 0.0
    for first in range(0, width, BLOCK):
        some = fill(values, 0.0)
        for c in range(first, min(first + BLOCK, width), wide):
            n = width - c
            scale = load_some(scales, s + c, n, 1.0)
            # not times its inverse, which overflows where the scale is a denormal number
            z = divide(load_some(values, y + c, n, 0.0) - load_some(locs, m + c, n, 0.0), scale)
            some = some + (half * z * z - load_some(logs, w + c, n, 0.0))
            if to_loc:
                store_some(by_loc, to + c, n, divide(z, scale))
            if to_log:
                store_some(by_log, to + c, n, z * z - one)
        found += total(some)
    return found


def _units_of(behind: Callable[..., Any]) -> Any:
    @no_type_check
    def units(logits: Any, values: Any, slopes: int, out: int, width: int, first: int, last: int) -> None:
        x, y, d, sums = behind(logits[0]), behind(values[0]), behind(slopes), behind(out)
        for r in range(first, last):
            at, from_ = (r % logits[2]) * logits[1], (r % values[2]) * values[1]
            sums[r] = _units(x, at, y, from_, d, r * width, width, slopes != 0)

    return units


def _normals_of(behind: Callable[..., Any]) -> Any:
    @no_type_check
    def normals(
        values: Any, locs: Any, logs: Any, scales: Any, by_loc: int, by_log: int, out: int, width: int, shift: float,
        first: int, last: int,
    ) -> None:  # fmt: skip
        y, m, w, s = behind(values[0]), behind(locs[0]), behind(logs[0]), behind(scales[0])
        by_m, by_w, sums = behind(by_loc), behind(by_log), behind(out)
        for r in range(first, last):
            sums[r] = shift + _normals(
                y, (r % values[2]) * values[1], m, (r % locs[2]) * locs[1], w, (r % logs[2]) * logs[1],
                s, (r % scales[2]) * scales[1], by_m, by_w, r * width, width, by_loc != 0, by_log != 0,
            )  # fmt: skip

    return normals


#: By the bits of a float.
UNITS = {32: compiled(_units_of(_single)), 64: compiled(_units_of(_double))}
NORMALS = {32: compiled(_normals_of(_single)), 64: compiled(_normals_of(_double))}

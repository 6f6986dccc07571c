"""Arithmetic of vectors whose lanes are different rows: what each lane needs without asking the others."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

from graft.ops.cpu.vectors import Vector

#: Mantissa bits and exponent bias of a double.
BITS, BIAS = 52, 1023


def _whole(vector: ir.Value, number: int) -> ir.Constant:
    """A vector of as many equal integers."""
    return ir.Constant(_integers(vector), [number] * vector.type.count)


def _integers(vector: ir.Value) -> ir.VectorType:
    return ir.VectorType(ir.IntType(64), vector.type.count)


@intrinsic
def divide(typingctx: Any, a: Any, b: Any) -> Any:
    """`divide(a, b)`: a / b, lane by lane."""
    if not (isinstance(a, Vector) and a == b):
        return None

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.fdiv(*args)

    return a(a, b), codegen


@intrinsic
def exponents(typingctx: Any, vector: Any) -> Any:
    """`exponents(vector)` of lanes of doubles, at least 0: as a double the n with 2^n <= x < 2^(n+1); 0 for 0."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        bits = builder.lshr(builder.bitcast(args[0], _integers(args[0])), _whole(args[0], BITS))
        zero = builder.icmp_signed("==", bits, _whole(args[0], 0))
        n = builder.select(zero, _whole(args[0], 0), builder.sub(bits, _whole(args[0], BIAS)))
        return builder.sitofp(n, args[0].type)

    return vector(vector), codegen


@intrinsic
def inverse_power(typingctx: Any, n: Any) -> Any:
    """`inverse_power(n)`: 2^-n for whole lanes from -1023 to 1022."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        whole = builder.fptosi(args[0], _integers(args[0]))
        bits = builder.shl(builder.sub(_whole(args[0], BIAS), whole), _whole(args[0], BITS))
        return builder.bitcast(bits, args[0].type)

    return n(n), codegen

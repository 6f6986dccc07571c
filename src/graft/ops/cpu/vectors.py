"""Vectors of machine registers in compiled code: what the chain kernels are written in.

numba leaves it to the compiler to find vector instructions in loops over scalars, and for short inner loops the
compiler finds poor ones. Here a vector is a value: `load`, `store`, arithmetic, `exp`, and `tile`, a block of a matrix
product that stays in registers. Importing this module imports numba, which is slow: only kernels do.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, no_type_check

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel
from numba.extending import intrinsic, overload, register_model

INT32, INT64 = ir.IntType(32), ir.IntType(64)

#: Coefficients of exp(r) = sum of c_k r^k for |r| <= log(2) / 2, the highest power first, by the width in bits of a
#: float: the series, cut off where the next term is below a quarter of the last digit.
_SERIES = {
    32: [1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0],
    64: [
        *(1 / 6227020800, 1 / 479001600, 1 / 39916800, 1 / 3628800, 1 / 362880, 1 / 40320),
        *(1 / 5040, 1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0),
    ],
}
#: Terms of log((1 + s) / (1 - s)) = 2 (s + s^3 / 3 + s^5 / 5 + ...) for s <= 1/3, and the least s^2 that they tell from
#: 0 (powers of lesser ones are denormal numbers, which take a hundred times as long), by the width of a float.
_ODDS = {32: (8, 1e-9), 64: (16, 1e-18)}
#: log(2) in two pieces, the first so short that small multiples of it are exact (Cody and Waite 1980).
_LOG2 = {32: (0.693359375, -2.12194440e-4), 64: (6.93145751953125e-1, 1.42860682030941723212e-6)}
#: Mantissa bits, and the lowest argument of `exp` whose result is a normal number.
_FORMAT = {32: (23, -87.0), 64: (52, -708.0)}


def _register_bytes() -> int:
    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx2") else 16


#: The size of a register in bytes.
REGISTER = _register_bytes()


class Vector(types.Type):
    """The type of a register full of floats."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype, self.lanes = dtype, 8 * REGISTER // dtype.bitwidth
        super().__init__(name=f"Vector({dtype}, {self.lanes})")


@register_model(Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, ir.VectorType(dmm.lookup(fe_type.dtype).get_value_type(), fe_type.lanes))


def _llvm(vector: Vector) -> ir.VectorType:
    element = ir.FloatType() if vector.dtype.bitwidth == 32 else ir.DoubleType()
    return ir.VectorType(element, vector.lanes)


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, arguments: list[ir.Value]) -> ir.Value:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _suffix(kind: ir.VectorType) -> str:
    return f"v{kind.count}f{32 if isinstance(kind.element, ir.FloatType) else 64}"


def _spread(builder: ir.IRBuilder, kind: ir.VectorType, scalar: ir.Value) -> ir.Value:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, INT32(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(INT32, kind.count), [0] * kind.count))


def _constant(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [value] * kind.count)


def _place(context: Any, builder: ir.IRBuilder, array: Any, value: ir.Value, at: ir.Value) -> ir.Value:
    """The address of one entry of a flat array, or behind a pointer."""
    data = value if isinstance(array, types.CPointer) else context.make_array(array)(context, builder, value).data
    return builder.gep(data, [at], source_etype=context.get_data_type(array.dtype))


@intrinsic
def pointer(typingctx: Any, array: Any) -> Any:
    """`pointer(array)`: where a flat array begins; what takes an array takes it too, as one word instead of seven."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


def _first(builder: ir.IRBuilder, lanes: int, count: ir.Value) -> ir.Value:
    """The mask of the first `count` lanes."""
    kind = ir.VectorType(INT32, lanes)
    count = _spread(builder, kind, builder.trunc(count, INT32))
    return builder.icmp_signed("<", ir.Constant(kind, list(range(lanes))), count)


@intrinsic
def lanes(typingctx: Any, array: Any) -> Any:
    """`lanes(array)`: how many of its numbers fill a register, a constant to the compiler."""
    count = Vector(array.dtype).lanes

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return INT64(count)

    return types.int64(array), codegen


@intrinsic
def load(typingctx: Any, array: Any, at: Any) -> Any:
    """`load(array, at)`: the vector that begins at a place of a flat array."""
    vector = Vector(array.dtype)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        place = _place(context, builder, signature.args[0], args[0], args[1])
        kind = _llvm(vector)
        return builder.load(builder.bitcast(place, kind.as_pointer()), align=vector.dtype.bitwidth // 8, typ=kind)

    return vector(array, types.int64), codegen


@intrinsic
def load_some(typingctx: Any, array: Any, at: Any, count: Any, other: Any) -> Any:
    """`load_some(array, at, count, other)`: as `load`, but `other` in all but the first `count` lanes."""
    vector = Vector(array.dtype)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        kind = _llvm(vector)
        place = builder.bitcast(_place(context, builder, signature.args[0], args[0], args[1]), kind.as_pointer())
        mask = _first(builder, vector.lanes, args[2])
        name = f"llvm.masked.load.{_suffix(kind)}.p0"
        align = INT32(vector.dtype.bitwidth // 8)
        return _call(builder, name, kind, [place, align, mask, _spread(builder, kind, args[3])])

    return vector(array, types.int64, types.int64, vector.dtype), codegen


@intrinsic
def store(typingctx: Any, array: Any, at: Any, vector: Any) -> Any:
    """`store(array, at, vector)`."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        place = _place(context, builder, signature.args[0], args[0], args[1])
        place = builder.bitcast(place, args[2].type.as_pointer())
        builder.store(args[2], place, align=vector.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, vector), codegen


@intrinsic
def store_some(typingctx: Any, array: Any, at: Any, count: Any, vector: Any) -> Any:
    """`store_some(array, at, count, vector)`: only the first `count` lanes."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        kind = args[3].type
        place = builder.bitcast(_place(context, builder, signature.args[0], args[0], args[1]), kind.as_pointer())
        mask = _first(builder, kind.count, args[2])
        name = f"llvm.masked.store.{_suffix(kind)}.p0"
        _call(builder, name, ir.VoidType(), [args[3], place, INT32(vector.dtype.bitwidth // 8), mask])
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, vector), codegen


@intrinsic
def fill(typingctx: Any, like: Any, value: Any) -> Any:
    """`fill(array, value)`: a vector of the array's kind with one number in every lane."""
    vector = Vector(like.dtype)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _spread(builder, _llvm(vector), args[1])

    return vector(like, vector.dtype), codegen


def _binary(name: str, emit: Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]) -> Any:
    """An operation of two vectors, lane by lane."""

    def typing(typingctx: Any, a: Any, b: Any) -> Any:
        if not (isinstance(a, Vector) and a == b):
            return None

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            return emit(builder, *args)

        return a(a, b), codegen

    typing.__name__ = typing.__qualname__ = name
    return intrinsic(typing)


def _choose(comparison: str) -> Callable[[ir.IRBuilder, ir.Value, ir.Value], ir.Value]:
    return lambda builder, a, b: builder.select(builder.fcmp_ordered(comparison, a, b), a, b)


maximum = _binary("maximum", _choose(">"))
minimum = _binary("minimum", _choose("<"))


def _smaller_positive(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    zero = _constant(a.type, 0.0)
    smaller = builder.and_(builder.fcmp_ordered("<", b, a), builder.fcmp_ordered(">", b, zero))
    return builder.select(smaller, b, a)


def _finite_or(builder: ir.IRBuilder, a: ir.Value, b: ir.Value) -> ir.Value:
    return builder.select(builder.fcmp_ordered(">", a, _constant(a.type, float("-inf"))), a, b)


smaller_positive = _binary("smaller_positive", _smaller_positive)
finite_or = _binary("finite_or", _finite_or)


def _operator(symbol: Callable[..., Any], operation: Any) -> None:
    """Gives vectors an operator."""

    @no_type_check
    def typed(a, b):  # noqa: ANN001, ANN202 - numba compares the signature with the lambda's
        return (lambda a, b: operation(a, b)) if isinstance(a, Vector) and isinstance(b, Vector) else None

    overload(symbol)(typed)


_operator(operator.add, _binary("_add", lambda builder, a, b: builder.fadd(a, b)))
_operator(operator.sub, _binary("_sub", lambda builder, a, b: builder.fsub(a, b)))
_operator(operator.mul, _binary("_mul", lambda builder, a, b: builder.fmul(a, b)))


@intrinsic
def mul_add(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """`mul_add(a, b, c)`: a b + c."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _mul_add(builder, *args)

    return a(a, b, c), codegen


def _mul_add(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    return _call(builder, f"llvm.fmuladd.{_suffix(a.type)}", a.type, [a, b, c])


@intrinsic
def top(typingctx: Any, vector: Any) -> Any:
    """`top(vector)`: the greatest lane."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _fold(builder, args[0], _choose(">"))

    return vector.dtype(vector), codegen


@intrinsic
def bottom(typingctx: Any, vector: Any) -> Any:
    """`bottom(vector)`: the least lane."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _fold(builder, args[0], _choose("<"))

    return vector.dtype(vector), codegen


@intrinsic
def total(typingctx: Any, vector: Any) -> Any:
    """`total(vector)`: the sum of the lanes."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return _fold(builder, args[0], lambda b, x, y: b.fadd(x, y))

    return vector.dtype(vector), codegen


def _fold(builder: ir.IRBuilder, vector: ir.Value, combine: Callable[..., ir.Value]) -> ir.Value:
    """Halves the vector until one lane is left."""
    while vector.type.count > 1:
        half = vector.type.count // 2
        index = ir.VectorType(INT32, half)
        low = builder.shuffle_vector(vector, vector, ir.Constant(index, list(range(half))))
        high = builder.shuffle_vector(vector, vector, ir.Constant(index, list(range(half, 2 * half))))
        vector = combine(builder, low, high)
    return builder.extract_element(vector, INT32(0))


@intrinsic
def exp(typingctx: Any, vector: Any) -> Any:
    r"""`exp(vector)` for lanes of at most 0: within 2 units of the last digit, and 0 below the normal numbers.

    With $n$ the integer nearest to $x / \log 2$ and $r = x - n \log 2$ it is $2^n$ times a polynomial in $r$.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        width = vector.dtype.bitwidth
        kind, (bits, lowest) = _llvm(vector), _FORMAT[width]
        normal = builder.fcmp_ordered(">=", args[0], _constant(kind, lowest))
        # added to so great a number, n stands in the lowest bits
        shift = _constant(kind, 1.5 * 2.0**bits)
        shifted = _mul_add(builder, args[0], _constant(kind, 1.4426950408889634), shift)
        n, r = builder.fsub(shifted, shift), args[0]
        for piece in _LOG2[width]:
            r = _mul_add(builder, n, _constant(kind, -piece), r)
        low, linear, *rest = [_constant(kind, c) for c in reversed(_SERIES[width])]
        # the last two steps in turn: in pairs, their roundings would cost the last digit
        value = _mul_add(builder, _polynomial(builder, rest, r), r, linear)
        value = _mul_add(builder, value, r, low)
        whole = ir.VectorType(ir.IntType(width), kind.count)
        power = builder.shl(builder.bitcast(shifted, whole), ir.Constant(whole, [bits] * kind.count))
        value = builder.bitcast(builder.add(builder.bitcast(value, whole), power), kind)
        return builder.select(normal, value, _constant(kind, 0.0))

    return vector(vector), codegen


@intrinsic
def log_odds(typingctx: Any, vector: Any) -> Any:
    """`log_odds(s)` for lanes from 0 to 1/3: log((1 + s) / (1 - s)); with s = u / (2 + u) that is log(1 + u)."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        kind, (count, least) = _llvm(vector), _ODDS[vector.dtype.bitwidth]
        terms = [_constant(kind, 2 / (2 * k + 1)) for k in range(count)]
        square = _choose(">")(builder, builder.fmul(args[0], args[0]), _constant(kind, least))
        return builder.fmul(args[0], _polynomial(builder, terms, square))

    return vector(vector), codegen


@intrinsic
def where_positive(typingctx: Any, x: Any, yes: Any, no: Any) -> Any:
    """`where_positive(x, yes, no)`: `yes` in lanes where x >= 0, else `no`."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.select(builder.fcmp_ordered(">=", args[0], _constant(_llvm(x), 0.0)), args[1], args[2])

    return x(x, yes, no), codegen


def _polynomial(builder: ir.IRBuilder, terms: list[ir.Value], x: ir.Value) -> ir.Value:
    """The sum of terms times powers of x, the lowest first, by pairs: few of them wait for others (Estrin 1960)."""
    while len(terms) > 1:
        pairs = [_mul_add(builder, high, x, low) for low, high in zip(terms[::2], terms[1::2], strict=False)]
        terms, x = pairs + terms[2 * len(pairs) :], builder.fmul(x, x)
    return terms[0]


@intrinsic
def exponent(typingctx: Any, x: Any) -> Any:
    """`exponent(x)` of a positive double: the n with 2^n <= x < 2^(n+1); 0 for 0."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        bits = builder.lshr(builder.bitcast(args[0], INT64), INT64(52))
        zero = builder.icmp_signed("==", bits, INT64(0))
        return builder.select(zero, INT64(0), builder.sub(bits, INT64(1023)))

    return types.int64(types.float64), codegen


@intrinsic
def power_of_two(typingctx: Any, n: Any) -> Any:
    """`power_of_two(n)`: 2^n for -1022 <= n <= 1023."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        bits = builder.shl(builder.add(args[0], INT64(1023)), INT64(52))
        return builder.bitcast(bits, ir.DoubleType())

    return types.float64(types.int64), codegen


def make_tile(rows: int, vectors: int, ways: int = 1) -> Any:
    """A block of a matrix product, `rows` x `vectors` registers, as a compiled function.

    `tile(c, c_at, c_row, a, a_at, a_row, a_step, b, b_at, b_step, steps, add)` computes, for each row r,
    c[c_at + r c_row + j] = sum_k a[a_at + r a_row + k a_step] b[b_at + k b_step + j], plus what stood there if `add`.
    All arrays are flat. Small blocks take several steps at a time, `ways`, of which `steps` is a multiple: otherwise
    each step waits for the one before.
    """

    def typing(typingctx: Any, c: Any, c_at: Any, c_row: Any, a: Any, a_at: Any, a_row: Any, a_step: Any,
               b: Any, b_at: Any, b_step: Any, steps: Any, add: Any) -> Any:  # fmt: skip
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            _Tile(context, builder, signature, args).emit(rows, vectors, ways)
            return context.get_dummy_value()

        i = types.int64
        return types.void(c, i, i, a, i, i, i, b, i, i, i, types.boolean), codegen

    typing.__name__ = typing.__qualname__ = f"tile_{rows}x{vectors}x{ways}"
    return intrinsic(typing)


class _Tile:
    """Writes the code of one tile."""

    def __init__(self, context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> None:
        self.context, self.builder, self.array = context, builder, signature.args[0]
        self.kind = _llvm(Vector(self.array.dtype))
        self.c, self.c_at, self.c_row, self.a, self.a_at, self.a_row, self.a_step = args[:7]
        self.b, self.b_at, self.b_step, self.steps, self.add = args[7:]

    def emit(self, rows: int, vectors: int, ways: int) -> None:
        builder, kind, zero = self.builder, self.kind, _constant(self.kind, 0.0)
        cells = [(r, v, w) for r in range(rows) for v in range(vectors) for w in range(ways)]
        sums = {cell: cgutils.alloca_once(builder, kind) for cell in cells}
        for place in sums.values():
            builder.store(zero, place)
        with cgutils.for_range_slice(builder, INT64(0), self.steps, INT64(ways), intp=INT64) as (k, _):
            for w in range(ways):
                step = builder.add(k, INT64(w))
                right = [self._right(step, v) for v in range(vectors)]
                left = [self._left(step, r) for r in range(rows)]
                for r, v in {(r, v): 0 for r, v, _ in cells}:
                    place = sums[r, v, w]
                    builder.store(_mul_add(builder, left[r], right[v], builder.load(place, typ=kind)), place)
        for r, v in {(r, v): 0 for r, v, _ in cells}:
            parts = [builder.load(sums[r, v, w], typ=kind) for w in range(ways)]
            while len(parts) > 1:
                parts = [builder.fadd(x, y) for x, y in zip(parts[::2], parts[1::2], strict=True)]
            self._put(r, v, parts[0])

    def _at(self, array: ir.Value, *offsets: ir.Value) -> ir.Value:
        offset = offsets[0]
        for more in offsets[1:]:
            offset = self.builder.add(offset, more)
        return _place(self.context, self.builder, self.array, array, offset)

    def _load(self, place: ir.Value) -> ir.Value:
        place = self.builder.bitcast(place, self.kind.as_pointer())
        return self.builder.load(place, align=self.array.dtype.bitwidth // 8, typ=self.kind)

    def _right(self, step: ir.Value, v: int) -> ir.Value:
        return self._load(self._at(self.b, self.b_at, self.builder.mul(step, self.b_step), INT64(v * self.kind.count)))

    def _left(self, step: ir.Value, r: int) -> ir.Value:
        builder = self.builder
        offset = builder.add(builder.mul(step, self.a_step), builder.mul(self.a_row, INT64(r)))
        return _spread(builder, self.kind, builder.load(self._at(self.a, self.a_at, offset), typ=self.kind.element))

    def _put(self, r: int, v: int, value: ir.Value) -> None:
        builder = self.builder
        place = self._at(self.c, self.c_at, builder.mul(self.c_row, INT64(r)), INT64(v * self.kind.count))
        target = builder.bitcast(place, self.kind.as_pointer())
        result = cgutils.alloca_once_value(builder, value)
        with builder.if_then(self.add):
            builder.store(builder.fadd(value, self._load(place)), result)
        builder.store(builder.load(result, typ=self.kind), target, align=self.array.dtype.bitwidth // 8)

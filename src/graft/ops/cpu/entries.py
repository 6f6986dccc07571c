"""Tables of a network as probabilities, straight from where its parameters lie.

Of a table only the entries are read that agree with what is known, rows of a conditional table are normalised as they
are read, and the result stands where the contraction of the tables wants it: nothing of the size of a parameter is
copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from graft.ops.cpu.compile import compiled, inlined
from graft.ops.cpu.table import peak
from graft.ops.cpu.vectors import exp, fill, lanes, load_some, store, store_some, total

#: Columns of a table's description: whether its rows are normalised; entries of a row; how many rows are read; where
#: in `index` their places begin, in the parameter and in the result; the distance of a row's entries in the result;
#: its first known axis, how many there are; which known value picks an entry of each row (-1: all are wanted);
#: whether each row of the batch has its own result; where that begins, and its size; where the whole table is
#: normalised beforehand (-1: it is not), and its size.
NORMALISED, STATES, READ, FROM, TO, STEP, KNOWN, KNOWNS, CHILD, OWN, AT, SIZE, WHOLE, ALL = range(14)
COLUMNS = 14


def _at_address(kind: Any, number: ir.Type) -> Callable[..., Any]:
    def at(typingctx: Any, address: Any, place: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            start = builder.inttoptr(args[0], number.as_pointer())
            found = builder.load(builder.gep(start, [args[1]], source_etype=number), typ=number)
            return found if number == ir.DoubleType() else builder.fpext(found, ir.DoubleType())

        return types.float64(types.int64, types.int64), codegen

    at.__name__ = at.__qualname__ = f"{kind}_at"
    return intrinsic(at)


_double, _single = _at_address("double", ir.DoubleType()), _at_address("single", ir.FloatType())


@inlined
@no_type_check
def _entry(address: int, single: int, place: int) -> float:
    return _single(address, place) if single else _double(address, place)


@inlined
@no_type_check
def _row(address: int, single: int, place: int, states: int, line: Any) -> tuple[float, float]:
    """Leaves exp(row - high) in `line`; returns high and the sum, NaN if the row is no row of logits."""
    good = True
    for s in range(states):
        value = _entry(address, single, place + s)
        line[s] = value
        good = good and value < np.inf
    wide, high = lanes(line), peak(line, 0, states)
    shift, found = fill(line, high), fill(line, 0.0)
    for s in range(0, states, wide):
        some = exp(load_some(line, s, states - s, -np.inf) - shift)
        store(line, s, some)
        found = found + some
    return high, total(found) if good and high > -np.inf else np.nan


@inlined
@no_type_check
def _exponentials(x: Any, at: int, size: int) -> float:
    """Turns logs into numbers of which the greatest is 1; returns its log."""
    wide, high = lanes(x), peak(x, at, size)
    shift = fill(x, high if high > -np.inf else 0.0)
    for i in range(0, size, wide):
        store_some(x, at + i, size - i, exp(load_some(x, at + i, size - i, -np.inf) - shift))
    return high


@inlined
@no_type_check
def _offset(table: Any, knowns: Any, values: Any, row: int) -> int:
    found = 0
    for k in range(table[KNOWN], table[KNOWN] + table[KNOWNS]):
        found += values[knowns[k, 0], row] * knowns[k, 1]
    return found


@inlined
@no_type_check
def _conditional(table: Any, address: int, single: int, index: Any, off: int, child: int, out: Any, at: int, line: Any
) -> float:  # fmt: skip
    """The rows that are read, or the known entry of each as its log; returns a sum of rows that is NaN if one is."""
    states, check = table[STATES], 0.0
    for q in range(table[READ]):
        place, to = index[table[FROM] + q] + off, at + index[table[TO] + q]
        high, mass = _row(address, single, place, states, line)
        check += mass
        if child >= 0:
            out[to] = _entry(address, single, place + child) - high - np.log(mass)
        else:
            for s in range(states):
                out[to + s * table[STEP]] = line[s] / mass
    return check


@compiled
@no_type_check
def normalise(tables: Any, addresses: Any, whole: Any) -> bool:
    """Whole tables that are read more often than they have rows, as probabilities or, for known entries, as logs."""
    good, line = True, np.zeros(tables[:, STATES].max() + 64)
    for k in range(len(tables)):
        table = tables[k]
        states = table[STATES]
        for place in range(0, table[ALL] if table[WHOLE] >= 0 else 0, states):
            high, mass = _row(addresses[k, 0], addresses[k, 1], place, states, line)
            good = good and mass == mass
            for s in range(states):
                to = table[WHOLE] + place + s
                if table[CHILD] >= 0:
                    whole[to] = _entry(addresses[k, 0], addresses[k, 1], place + s) - high - np.log(mass)
                else:
                    whole[to] = line[s] / mass
    return good


@compiled
@no_type_check
def tabulate(
    own: bool, rows: int, tables: Any, addresses: Any, index: Any, knowns: Any, values: Any, whole: Any, out: Any,
    width: int, logs: Any,
) -> bool:  # fmt: skip
    """The tables that come alike, for every row, and the logs of what they are to be multiplied by.

    Args:
        own: those of which each row has its own, else those that all rows share.
        rows: how many; one for shared tables.
        tables: see `COLUMNS`.
        addresses: per table, where its numbers lie, and whether they are single.
        index: places that the descriptions refer to.
        knowns: (axes, 2): the number of a known value and the distance of its entries.
        values: (known, rows).
        whole: what `normalise` made.
        out: flat (rows, width).
        logs: (rows), added to.

    Returns:
        Whether all that was read are logits: neither NaN nor infinite, and not all of a row minus infinity.
    """
    good, line = True, np.zeros(tables[:, STATES].max() + 64)
    for row in range(rows):
        for k in range(len(tables)):
            table = tables[k]
            if (table[OWN] != 0) != own:
                continue
            at, off = row * width + table[AT], _offset(table, knowns, values, row)
            child = values[table[CHILD], row] if table[CHILD] >= 0 else -1
            check = 0.0
            if table[WHOLE] >= 0:
                _copied(table, index, off, child, whole, out, at)
            elif table[NORMALISED]:
                check = _conditional(table, addresses[k, 0], addresses[k, 1], index, off, child, out, at, line)
            else:
                for q in range(table[READ]):
                    value = _entry(addresses[k, 0], addresses[k, 1], index[table[FROM] + q] + off)
                    out[at + index[table[TO] + q]] = value
                    check += 0.0 if value < np.inf else np.nan
            good = good and check == check
            if child >= 0 or not table[NORMALISED]:
                logs[row] += _exponentials(out, at, table[SIZE])
    return good


@inlined
@no_type_check
def _copied(table: Any, index: Any, off: int, child: int, whole: Any, out: Any, at: int) -> None:
    start = table[WHOLE] + off
    for q in range(table[READ]):
        place, to = start + index[table[FROM] + q], at + index[table[TO] + q]
        if child >= 0:
            out[to] = whole[place + child]
        else:
            for s in range(table[STATES]):
                out[to + s * table[STEP]] = whole[place + s]

"""Variable elimination as in a textbook, one row, in numpy: log Z and all marginals of a network of tables."""

from __future__ import annotations

import numpy as np


def eliminated(model, known):
    """log p(known) and the marginal of every other variable, each by an elimination of its own."""
    tables = []
    for node in model.graph.nodes:
        names = [*(term.name for term in node.reads), node.head.name]
        values = node.module.table.detach().double().softmax(-1).numpy()
        index = tuple(known.get(name, slice(None)) for name in names)
        tables.append(([name for name in names if name not in known], values[index]))
    names = [name for name in model.graph.variables if name not in known]
    total = _summed(tables, names, None)
    marginals = {}
    for name in names:
        table = _summed(tables, names, name)
        marginals[name] = table / table.sum()
    return float(np.log(total)), marginals


def _summed(tables, names, kept):
    """The product summed over all names but one, those of the smallest product first."""
    tables, left = list(tables), [name for name in names if name != kept]
    while left:
        best = min(left, key=lambda name: len({n for scope, _ in tables if name in scope for n in scope}))
        left.remove(best)
        mine = [table for table in tables if best in table[0]]
        tables = [table for table in tables if best not in table[0]] + [_joined(mine, best)]
    _, values = _joined(tables, None)
    return values


def _joined(tables, gone):
    scope = list(dict.fromkeys(name for names, _ in tables for name in names))
    letters = {name: place for place, name in enumerate(scope)}
    out = [name for name in scope if name != gone]
    operands = [part for names, values in tables for part in (values, [letters[name] for name in names])]
    return out, np.einsum(*operands, [letters[name] for name in out], optimize="greedy")

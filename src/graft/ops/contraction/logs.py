"""A tree carried out in log space: right for tables of any range, differentiable to any order, and slow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graft.ops.contraction.tree import Key, Pair, Tree
from graft.ops.logspace import logsumexp


def log_space(tables: Sequence[Tensor], tree: Tree) -> Tensor:
    """The log of the sum of every row, in double precision.

    Args:
        tables: log-tables, (states of the scope, rows or 1).
        tree: to be followed.
    """
    # logs of 1e4 have three digits behind the point in single precision
    held = {number: table.double() for number, table in enumerate(tables)}
    for place, pair in enumerate(tree.pairs):
        held[tree.inputs + place] = _joined(held, tree, pair)
    total = torch.zeros(1, dtype=torch.float64, device=tables[0].device if tables else None)
    for root in tree.roots:
        total = total + held[root]
    return total


def _joined(held: dict[int, Tensor], tree: Tree, pair: Pair) -> Tensor:
    keys = (*pair.keys, *pair.summed)
    joint = aligned(held.pop(pair.left), tree.scopes[pair.left], keys)
    if pair.right is not None:
        joint = joint + aligned(held.pop(pair.right), tree.scopes[pair.right], keys)
    if not pair.summed:
        return joint
    count = len(pair.keys)
    return logsumexp(joint, tuple(range(count, count + len(pair.summed))))


def aligned(table: Tensor, scope: tuple[Key, ...], keys: Sequence[Key]) -> Tensor:
    """A table with the axes of `keys`, size 1 for those it lacks, the rows last."""
    mine = [scope.index(key) for key in keys if key in scope]
    table = table.permute((*mine, len(scope)))
    for place, key in enumerate(keys):
        if key not in scope:
            table = table.unsqueeze(place)
    return table

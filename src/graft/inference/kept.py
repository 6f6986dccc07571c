"""What has been worked out about a graph, kept for the next call that asks the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import finalize

from graft.graph.factor_graph import FactorGraph

T = TypeVar("T")


class Kept(Generic[T]):
    """Results by graph and label, the last ones of each graph; they go when their graph goes.

    Args:
        limit: how many are kept of each graph.
    """

    def __init__(self, limit: int = 32) -> None:
        self.limit = limit
        self._of: dict[int, OrderedDict[Hashable, T]] = {}

    def get(self, graph: FactorGraph, label: Hashable, make: Callable[[], T]) -> T:
        """The result for a label, made if there is none yet."""
        # by identity, since every call looks here several times; another graph has it only after this one has gone
        mine = self._of.get(id(graph))
        if mine is None:
            mine = self._of.setdefault(id(graph), OrderedDict())
            finalize(graph, self._of.pop, id(graph), None).atexit = False
        found = mine.get(label)
        if found is None:
            found = mine[label] = make()
            # another thread may have let one go meanwhile
            while len(mine) > self.limit:
                mine.popitem(last=False)
        return found

"""Elimination orders: which variable to sum out next, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import prod
from random import Random


@dataclass(frozen=True)
class Order:
    """An elimination order.

    Attributes:
        keys: in the order they are summed out.
        cliques: per key, the keys of the table it is summed from (itself first).
        largest: entries of the largest such table.
        total: entries of all of them.
        complete: whether it goes to the end; it stops where its tables grow beyond the limit.
    """

    keys: tuple[Hashable, ...]
    cliques: tuple[tuple[Hashable, ...], ...]
    largest: int
    total: int
    complete: bool = True


#: Entries of all tables from which more orders are tried, how many, and how far their costs are shaken.
_WIDE, _TRIES, _NOISE = 100_000, 6, 0.5


def best_order(scopes: Iterable[Iterable[Hashable]], states: Mapping[Hashable, int], limit: int | None = None) -> Order:
    """The best of a few greedy orders, by fill-in and by table size (Koller & Friedman 2009, section 9.4.3).

    Where tables are wide, more orders are tried, with costs multiplied by random numbers between 1 and 1.5, always the
    same ones. Each is given up where it becomes worse than the best before.

    Args:
        scopes: the keys of every table.
        states: how many states each key has.
        limit: entries of all tables at which an order is given up.
    """
    tuples = [tuple(scope) for scope in scopes]
    rules = (_Greedy.fill, _Greedy.size)
    first = [_Greedy(tuples, states, limit, rule) for rule in rules]
    best = min((greedy.order() for greedy in first), key=_worth)
    if best.total < _WIDE:
        return best
    # looking for an order, which is interpreted, must not take far longer than following it
    effort = 20 * sum(greedy.looked for greedy in first)
    shaken = Random(0)
    for _ in range(min(_TRIES, best.total // effort)):
        for rule in rules:
            bound = best.total if best.complete else limit
            best = min(best, _Greedy(tuples, states, bound, rule, shaken).order(), key=_worth)
    return best


def _worth(order: Order) -> tuple[bool, int]:
    return not order.complete, order.total


class _Greedy:
    """Neighbours are bits of one integer per key: a graph of thousands of keys is ordered in a second."""

    def __init__(
        self,
        scopes: Iterable[tuple[Hashable, ...]],
        states: Mapping[Hashable, int],
        limit: int | None,
        rule: Callable[[_Greedy, int], int],
        shaken: Random | None = None,
    ) -> None:
        self.shaken = shaken
        #: how many neighbours have been looked at
        self.looked = 1
        self.keys, self.states, self.limit, self.rule = list(states), list(states.values()), limit, rule
        place = {key: i for i, key in enumerate(self.keys)}
        self.near = [0] * len(self.keys)
        for scope in scopes:
            everything = sum({1 << place[key] for key in scope})
            for key in scope:
                self.near[place[key]] |= everything
        self.near = [mask & ~(1 << i) for i, mask in enumerate(self.near)]
        #: the keys with each number of states
        self.sorts = {n: sum(1 << i for i, m in enumerate(self.states) if m == n) for n in set(self.states)}

    def weight(self, mask: int) -> int:
        """The states of some keys, added up."""
        return sum(n * (mask & keys).bit_count() for n, keys in self.sorts.items())

    def fill(self, key: int) -> int:
        """What eliminating a key would join anew, pairs weighed by their joint states."""
        near = self.near[key]
        self.looked += near.bit_count()
        return sum(self.states[a] * self.weight(near & ~self.near[a] & ~(1 << a)) for a in _bits(near))

    def size(self, key: int) -> int:
        """The entries of the table that eliminating a key leaves."""
        return prod(n ** (self.near[key] & keys).bit_count() for n, keys in self.sorts.items())

    def _cost(self, key: int) -> int | float:
        found = self.rule(self, key)
        return found if self.shaken is None else (found + 1) * (1 + _NOISE * self.shaken.random())

    def order(self) -> Order:
        self.gone, self.chosen, self.cliques, self.sizes = 0, list[int](), list[tuple[int, ...]](), [0]
        self._leaves()
        cost = {key: self._cost(key) for key in range(len(self.keys)) if not self.gone >> key & 1}
        heap = [(c, key) for key, c in cost.items()]
        heapify(heap)
        while heap and not self._beyond():
            c, key = heappop(heap)
            if self.gone >> key & 1 or c != cost[key]:
                continue
            for other in _bits(self._take(key)):
                cost[other] = self._cost(other)
                heappush(heap, (cost[other], other))
        return self._found()

    def _leaves(self) -> None:
        """What has one neighbour at most goes first: nothing is better, and a hub is then without its many leaves."""
        waiting = [key for key, near in enumerate(self.near) if near.bit_count() <= 1]
        while waiting and not self._beyond():
            key = waiting.pop()
            if not self.gone >> key & 1:
                friends = self.near[key]
                self._take(key)
                waiting += [friend for friend in _bits(friends) if self.near[friend].bit_count() <= 1]

    def _beyond(self) -> bool:
        return self.limit is not None and self.sizes[-1] > self.limit

    def _take(self, key: int) -> int:
        """Eliminate a key; those whose cost may have changed."""
        self.gone |= 1 << key
        self.chosen.append(key)
        self.cliques.append((key, *_bits(self.near[key])))
        self.sizes.append(self.sizes[-1] + self.states[key] * _Greedy.size(self, key))
        return self._eliminate(key)

    def _eliminate(self, key: int) -> int:
        """Join the neighbours of a key; the keys whose cost may change."""
        friends = self.near[key]
        changed = friends
        for friend in _bits(friends):
            mine = (self.near[friend] | friends) & ~(1 << friend) & ~(1 << key)
            if mine & ~self.near[friend]:
                # a new neighbour changes what eliminating a common one would join; else only friends have changed
                changed |= mine
            self.near[friend] = mine
        return changed

    def _found(self) -> Order:
        largest = max((prod(self.states[i] for i in clique) for clique in self.cliques), default=1)
        named = tuple(tuple(self.keys[i] for i in clique) for clique in self.cliques)
        complete = len(self.chosen) == len(self.keys) and not self._beyond()
        return Order(tuple(self.keys[i] for i in self.chosen), named, largest, self.sizes[-1], complete)


def _bits(mask: int) -> Iterator[int]:
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low

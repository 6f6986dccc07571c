"""Elimination orders: which variable to sum out next, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import prod


@dataclass(frozen=True)
class Order:
    """An elimination order.

    Attributes:
        keys: in the order they are summed out.
        cliques: per key, the keys of the table it is summed from (itself first).
        largest: entries of the largest such table.
        total: entries of all of them.
    """

    keys: tuple[Hashable, ...]
    cliques: tuple[tuple[Hashable, ...], ...]
    largest: int
    total: int


def best_order(scopes: Iterable[Iterable[Hashable]], states: Mapping[Hashable, int]) -> Order:
    """The better of two greedy orders, by fill-in and by table size (Koller & Friedman 2009, section 9.4.3).

    Args:
        scopes: the keys of every table.
        states: how many states each key has.
    """
    found = [_greedy(scopes, states, rule) for rule in (_by_fill, _by_size)]
    return min(found, key=lambda order: order.total)


Rule = Callable[[Hashable, Mapping[Hashable, set[Hashable]], Mapping[Hashable, int]], int]


def _by_fill(key: Hashable, near: Mapping[Hashable, set[Hashable]], states: Mapping[Hashable, int]) -> int:
    missing = sum(states[a] * states[b] for a, b in combinations(near[key], 2) if b not in near[a])
    return missing


def _by_size(key: Hashable, near: Mapping[Hashable, set[Hashable]], states: Mapping[Hashable, int]) -> int:
    return prod(states[other] for other in near[key])


def _greedy(scopes: Iterable[Iterable[Hashable]], states: Mapping[Hashable, int], rule: Rule) -> Order:
    near: dict[Hashable, set[Hashable]] = {key: set() for key in states}
    for scope in scopes:
        keys = list(scope)
        for key in keys:
            near[key].update(other for other in keys if other != key)
    rank = {key: place for place, key in enumerate(near)}
    cost = {key: rule(key, near, states) for key in near}
    keys, cliques = [], []
    while near:
        key = min(near, key=lambda k: (cost[k], rank[k]))
        friends = near.pop(key)
        keys.append(key)
        cliques.append((key, *sorted(friends, key=rank.__getitem__)))
        for friend in friends:
            near[friend].discard(key)
            near[friend].update(other for other in friends if other != friend)
        # fill changes for the neighbours of neighbours too
        changed = set(friends)
        for friend in friends:
            changed |= near[friend]
        for other in changed:
            cost[other] = rule(other, near, states)
    sizes = [prod(states[key] for key in clique) for clique in cliques]
    return Order(tuple(keys), tuple(cliques), max(sizes, default=1), sum(sizes))

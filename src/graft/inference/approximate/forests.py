"""How often each table appears in a random forest of tables."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from graft.inference.approximate.network import Network

#: Forests at most; each covers tables that none before it does.
MOST = 10_000


def appearances(network: Network, forests: int, seed: int) -> list[Float[Tensor, " tables"]]:
    r"""The appearance probabilities $\rho_f$ of a mixture of forests in which every table appears.

    A forest is a set of tables that joins elements without a loop. Each is grown from the tables that appeared least,
    in random order, so that appearances even out and all are covered.

    Source: Wainwright, Jaakkola & Willsky 2005, section IV-A.

    Args:
        network: whose tables.
        forests: how many; more are grown if some table has not appeared.
        seed: of their orders.

    Returns:
        Per group (tables), all above 0; 1 if the network is a forest itself.
    """
    scopes, dice = _scopes(network), random.Random(seed)
    counts, grown = [0] * len(scopes), 0
    while scopes and (grown < forests or min(counts) == 0) and grown < MOST:
        order = list(range(len(scopes)))
        dice.shuffle(order)
        order.sort(key=counts.__getitem__)
        chosen = _forest(scopes, order, network.elements)
        grown += 1
        for i in chosen:
            counts[i] += 1
        if len(chosen) == len(scopes):  # one forest holds all
            counts, grown = [1] * len(scopes), 1
            break
    return _by_group(network, [count / max(grown, 1) for count in counts])


def heaviest(network: Network, weights: Sequence[Tensor]) -> list[Float[Tensor, " tables"]]:
    """The forest grown greedily by weight (a heaviest one where tables join pairs): per group, 1 for its tables.

    Source: Kruskal 1956.

    Args:
        network: whose tables.
        weights: per group (tables).
    """
    scopes = _scopes(network)
    flat = torch.cat(list(weights)).tolist() if weights else []
    order = sorted(range(len(scopes)), key=flat.__getitem__, reverse=True)
    found = [0.0] * len(scopes)
    for i in _forest(scopes, order, network.elements):
        found[i] = 1.0
    return _by_group(network, found)


def _scopes(network: Network) -> list[tuple[int, ...]]:
    """The elements of every table."""
    found: list[tuple[int, ...]] = []
    for group in network.groups:
        places = zip(group.layers, group.places, strict=True)
        ends = [(place + network.starts[layer]).tolist() for layer, place in places]
        found += zip(*ends, strict=True)
    return found


def _forest(scopes: Sequence[tuple[int, ...]], order: Sequence[int], elements: int) -> list[int]:
    """The tables, in order, that close no loop with those before (union-find; Tarjan 1975)."""
    parent, chosen = list(range(elements)), []
    for i in order:
        roots = set()
        for element in scopes[i]:
            while parent[element] != element:
                parent[element] = element = parent[parent[element]]
            roots.add(element)
        if len(roots) == len(scopes[i]):
            first = roots.pop()
            for root in roots:
                parent[root] = first
            chosen.append(i)
    return chosen


def _by_group(network: Network, values: Sequence[float]) -> list[Tensor]:
    flat = torch.tensor(values, dtype=network.dtype, device=network.constant.device)
    return list(flat.split([group.count for group in network.groups]))

"""A flat network added up by listing every assignment of its elements: the oracle of the flat form itself."""

from __future__ import annotations

import torch
from torch import Tensor

from graft.inference.approximate.network import Network


def joint(network: Network) -> Tensor:
    """(batch, states of every element): the log of the product of all tables."""
    ends = [(layer.states, i, j) for i, layer in enumerate(network.layers) for j in range(layer.count)]
    place = {(i, j): k for k, (_, i, j) in enumerate(ends)}
    if not ends:
        return network.constant.double().unsqueeze(-1)
    total = torch.zeros((network.batch, *(states for states, _, _ in ends)), dtype=torch.float64)
    total = total + network.constant.double().reshape(-1, *(1,) * len(ends))
    for i, layer in enumerate(network.layers):
        for j in range(layer.count):
            total = total + _spread(layer.weights[..., j], [place[i, j]], len(ends))
    for group in network.groups:
        table = group.dense()
        for column in range(group.count):
            mine = table[..., column if table.shape[-1] > 1 else 0]
            keys = [place[i, int(p[column])] for i, p in zip(group.layers, group.places, strict=True)]
            total = total + _spread(mine, keys, len(ends))
    return total


def _spread(table: Tensor, keys: list[int], count: int) -> Tensor:
    """(states of keys, batch) as (batch, states of all elements)."""
    table = table.double().movedim(-1, 0)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    table = table.permute(0, *(1 + i for i in order))
    shape = [1] * count
    for place, size in zip(sorted(keys), table.shape[1:], strict=True):
        shape[place] = size
    return table.reshape(table.shape[0], *shape)


def is_forest(network: Network) -> bool:
    """Whether tables and elements form no loop: as many joints as a forest has."""
    parent = list(range(network.elements))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for group in network.groups:
        for column in range(group.count):
            ends = [int(p[column]) + network.starts[i] for i, p in zip(group.layers, group.places, strict=True)]
            roots = [root(e) for e in ends]
            if len(set(roots)) < len(roots):
                return False
            for r in roots[1:]:
                parent[r] = roots[0]
    return True

"""Elements that no table joins, and so may change at once."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import torch
from jaxtyping import Int
from torch import Tensor

from graft.inference.approximate.network import Network


def colours(network: Network) -> list[list[Int[Tensor, " elements"]]]:
    """Classes of elements of which no two stand in one table: per colour and layer, the elements.

    A greedy colouring in breadth-first order: two colours wherever two suffice, as on grids and trees.

    Source: Gonzalez, Low, Gretton & Guestrin 2011, section 3.

    Args:
        network: whose elements to colour.
    """
    graph, starts = nx.Graph(), network.starts
    graph.add_nodes_from(range(network.elements))
    for group in network.groups:
        ends = [(place + starts[layer]).tolist() for layer, place in zip(group.layers, group.places, strict=True)]
        for one, two in combinations(ends, 2):
            graph.add_edges_from(zip(one, two, strict=True))
    found = nx.greedy_color(graph, strategy="connected_sequential_bfs")
    device = network.constant.device
    which = torch.tensor([found[i] for i in range(network.elements)], dtype=torch.long, device=device)
    count = int(which.max()) + 1 if len(which) else 0
    parts = [which[start : start + layer.count] for start, layer in zip(starts, network.layers, strict=True)]
    return [[(part == colour).nonzero().squeeze(-1) for part in parts] for colour in range(count)]

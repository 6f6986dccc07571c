"""Single spanning trees: the best, and exact draws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from graft.ops.chain import draw
from graft.ops.logspace import NEG_INF


def best_heads(scores: np.ndarray) -> np.ndarray | None:
    """The heads of a spanning tree of the highest score from node 0, or `None` if there is no spanning tree.

    By greedy choice and contraction of the cycles it makes, O(N³) time at worst.
    Source: Chu and Liu, *On the shortest arborescence of a directed graph* (1965); Edmonds, *Optimum branchings*
    (1967).

    Args:
        scores: (N+1, N+1), from row (the head) to column, `-inf` where there is no arc.

    Returns:
        (N+1), that of node 0 being -1.

    Example:
        >>> inf = np.inf
        >>> best_heads(np.array([[-inf, 1.0, 3.0], [-inf, -inf, 9.0], [-inf, 8.0, -inf]]))
        array([-1,  2,  0])
    """
    scores = scores.copy()
    np.fill_diagonal(scores, -np.inf)
    scores[:, 0] = -np.inf
    folded = []
    while True:
        heads = scores.argmax(0)
        if np.isneginf(scores[heads[1:], np.arange(1, len(scores))]).any():
            return None
        cycle = _cycle(heads)
        if cycle is None:
            break
        scores, back = _contract(scores, heads, cycle)
        folded.append(back)
    heads[0] = -1
    for back in reversed(folded):
        heads = back(heads)
    return heads


def _cycle(heads: np.ndarray) -> np.ndarray | None:
    """The nodes of a cycle of the heads, if there is one."""
    seen = np.zeros(len(heads), np.int64)
    for start in range(1, len(heads)):
        node = start
        while node != 0 and seen[node] == 0:
            seen[node] = start
            node = heads[node]
        if node != 0 and seen[node] == start:
            found = [node]
            while heads[found[-1]] != node:
                found.append(heads[found[-1]])
            return np.array(found)
    return None


def _contract(
    scores: np.ndarray, heads: np.ndarray, cycle: np.ndarray
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """The graph with a cycle made one node, its last; and how heads there become heads here."""
    outside = np.setdiff1d(np.arange(len(scores)), cycle)
    size = len(outside)
    # to enter the cycle at a node costs the arc that enters it now
    gain = scores[np.ix_(outside, cycle)] - scores[heads[cycle], cycle]
    leave = scores[np.ix_(cycle, outside)]
    small = np.full((size + 1, size + 1), -np.inf)
    small[:size, :size] = scores[np.ix_(outside, outside)]
    small[:size, size], entry = gain.max(1), cycle[gain.argmax(1)]
    small[size, :size], source = leave.max(0), cycle[leave.argmax(0)]

    def back(found: np.ndarray) -> np.ndarray:
        whole = heads.copy()
        inside = found[:size] == size
        whole[outside] = np.where(inside, source, outside[np.minimum(found[:size], size - 1)])
        whole[0] = -1
        whole[entry[found[size]]] = outside[found[size]]
        return whole

    return small, back


def mode(arcs: np.ndarray, roots: np.ndarray, exists: np.ndarray, single: bool) -> np.ndarray | None:
    """The heads of a best tree of one row, -1 at roots and where nothing exists; `None` if there is none.

    With a single root the arcs from it are lowered by more than all others can make good, so that no more of them
    are used than must be. Source of that: Stanojevic and Cohen, *A root of the problem* (2021).
    """
    nodes = np.flatnonzero(exists)
    heads = np.full(len(exists), -1)
    if len(nodes) == 0:
        return heads
    scores = np.full((len(nodes) + 1, len(nodes) + 1), -np.inf)
    scores[1:, 1:] = arcs[np.ix_(nodes, nodes)]
    scores[0, 1:] = roots[nodes]
    np.fill_diagonal(scores, -np.inf)
    # of each node's head only differences count: the largest numbers never meet
    top = scores[:, 1:].max(0)
    if np.isneginf(top).any():
        return None
    scores[:, 1:] -= top
    if single:
        scores[0] -= 1.0 - np.where(np.isfinite(scores), scores, 0.0).min(0).sum()
    found = best_heads(scores)
    if found is None or (single and (found[1:] == 0).sum() != 1):
        return None
    heads[nodes] = np.where(found[1:] > 0, nodes[found[1:] - 1], -1)
    return heads


def sample_heads(
    arcs: Float[Tensor, "b n n"],
    roots: Float[Tensor, "b n"],
    log_z: Callable[[Tensor, Tensor], Tensor],
    generator: torch.Generator | None = None,
) -> Int[Tensor, "b n"]:
    """One exact draw for each row that is possible, one node after the other given the heads before it.

    A node's choices have the probabilities that are the derivatives of the log-partition; O(N⁴) time in all.

    Args:
        arcs: log-weights; rows are independent.
        roots: log-weights.
        log_z: their log-partition.
        generator: the source of randomness.
    """
    found = []
    for node in range(roots.shape[1]):
        with torch.inference_mode(False), torch.enable_grad():
            column, root = arcs[:, :, node].clone().requires_grad_(), roots[:, node].clone().requires_grad_()
            before = torch.arange(roots.shape[1], device=arcs.device) == node
            whole = torch.where(before, column[:, :, None], arcs.clone())
            score = log_z(whole, torch.where(before, root[:, None], roots.clone()))
            chances = torch.autograd.grad(score.sum(), (root, column), materialize_grads=True)
        chance = torch.cat([chances[0][:, None], chances[1]], 1).clamp_min(0)
        head = draw(chance.log(), generator) - 1
        found.append(head)
        at_root = (head == -1)[:, None]
        chosen = torch.arange(roots.shape[1], device=arcs.device) == head[:, None]
        arcs = torch.where(before & ~chosen[:, :, None], NEG_INF, arcs)
        roots = roots.masked_fill(before & ~at_root, NEG_INF)
    return torch.stack(found, 1) if found else arcs.new_zeros(arcs.shape[:2], dtype=torch.long)

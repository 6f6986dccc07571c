"""What the common laws do not say of trees: chains, depth, order, cycles, errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import grad

from graft.errors import GraftError, ImpossibleEvidence, ShapeError
from graft.structured.linear_chain import LinearChain
from graft.structured.tree import Tree

NEG_INF, NAN = float("-inf"), float("nan")


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_chain_is_a_tree(backwards):
    """With its root at either end."""
    u, w = draws(3, 6, 4), draws(5, 4, 4, seed=1)
    chain = LinearChain(u, w)
    if backwards:
        parents = torch.tensor([1, 2, 3, 4, 5, -1])
        tree = Tree(u, torch.cat([w.mT, w[:1] * NAN]), parents)
    else:
        parents = torch.arange(-1, 5)
        tree = Tree(u, torch.cat([w[:1] * NAN, w]), parents)
    pairs = tree.pair_marginals[..., :-1, :, :].mT if backwards else tree.pair_marginals[..., 1:, :, :]
    torch.testing.assert_close(tree.log_partition, chain.log_partition)
    torch.testing.assert_close(tree.marginals, chain.marginals)
    torch.testing.assert_close(pairs, chain.pair_marginals)
    torch.testing.assert_close(tree.entropy(), chain.entropy())
    torch.testing.assert_close(tree.expected_counts.sum((-2, -1)), torch.full((3,), 5.0).double())
    assert torch.equal(tree.mode(), chain.mode())


def test_the_order_of_nodes_does_not_matter():
    parents = torch.tensor([3, -1, 0, 1, 1, 2, 7, -1])
    u, w, order = draws(8, 3), draws(8, 3, 3, seed=1), torch.randperm(8, generator=torch.Generator().manual_seed(2))
    place = order.argsort()
    moved = torch.where(parents[order] < 0, -1, place[parents[order].clamp_min(0)])
    one, two = Tree(u, w, parents), Tree(u[order], w[order], moved)
    torch.testing.assert_close(one.log_partition, two.log_partition)
    torch.testing.assert_close(one.marginals[order], two.marginals)
    torch.testing.assert_close(one.entropy(), two.entropy())


SHAPES = {
    "path": torch.arange(-1, 199),
    "star": torch.tensor([-1] + [0] * 199),
    "heap": (torch.arange(200) - 1) // 2,
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_large_trees_keep_their_digits(name, offset):
    u, w = draws(200, 3) * 3, draws(3, 3, seed=1)
    tree = Tree(u + offset, w, SHAPES[name])
    torch.testing.assert_close(tree.marginals.sum(-1), torch.ones(200).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(tree.marginals, Tree(u, w, SHAPES[name]).marginals, rtol=0, atol=1e-7)
    assert tree.score(tree.mode()) < tree.log_partition


def test_impossible_rows():
    u = torch.zeros(2, 3, 2).double()
    u[1, 2] = NEG_INF
    w, parents = torch.zeros(2, 2).double(), torch.tensor([-1, 0, -1])
    u, w = u.requires_grad_(), w.requires_grad_()
    value = Tree(u, w, parents).log_partition
    assert (value == NEG_INF).tolist() == [False, True]
    for taped in (False, True):
        found = grad(value.sum(), (u, w), retain_graph=True, create_graph=taped)
        assert all(x.isfinite().all() for x in found)
        assert (found[0][1] == 0).all()
    d = Tree(u.detach(), w.detach(), parents)
    assert d.log_prob(torch.zeros(3, dtype=torch.long)).tolist()[1] == NEG_INF
    for query in ("marginals", "pair_marginals", "expected_counts", "entropy", "mode", "sample"):
        with pytest.raises(ImpossibleEvidence, match=r"\(1,\)"):
            _ = getattr(d, query) if "marginals" in query or "counts" in query else getattr(d, query)()


U, W, P = torch.zeros(2, 3, 2), torch.zeros(2, 2), torch.tensor([-1, 0, 0])
LOOP = torch.tensor([[-1, 0, 0], [2, 0, 1]])
ERRORS = {
    "cycle": (lambda: Tree(U, W, LOOP), GraftError, r"cycle in batch rows \(1,\)"),
    "its own parent": (lambda: Tree(U, W, torch.tensor([-1, 1, 0])), GraftError, r"cycle in batch rows \(0,\), \(1,\)"),
    "range": (lambda: Tree(U, W, torch.tensor([-1, 0, 3])), GraftError, r"0\.\.2, or -1 at roots, not -1\.\.3"),
    "below": (lambda: Tree(U, W, torch.tensor([-1, 0, -2])), GraftError, r"not -2\.\.0"),
    "orphan": (
        lambda: Tree(U, W, torch.tensor([2, 0, -1]), lengths=torch.tensor([3, 2])),
        GraftError,
        r"does not exist in batch rows \(1,\)",
    ),
    "floats": (lambda: Tree(U, W, P.double()), GraftError, "parents must be integers"),
    "parents shape": (lambda: Tree(U, W, P[:2]), ShapeError, r"parents \(2,\)"),
    "pairwise shape": (lambda: Tree(U, W.expand(2, 2, 2), P), ShapeError, r"pairwise \(2, 2, 2\)"),
    "states": (lambda: Tree(U[..., :1], W, P), ShapeError, r"unary \(2, 3, 1\)"),
    "batches": (lambda: Tree(U, W.expand(3, 3, 2, 2), P), ShapeError, "broadcast"),
    "unary nan": (lambda: Tree(U * NAN, W, P), GraftError, "unary is NaN"),
    "pairwise inf": (lambda: Tree(U, W.expand(3, 2, 2) + math.inf, P), GraftError, "pairwise is NaN"),
    "integers": (lambda: Tree(U.long(), W, P), GraftError, "floating-point"),
    "state high": (lambda: Tree(U, W, P).score(P + 3), GraftError, r"0\.\.1 .*not 2\.\.3"),
    "states shape": (lambda: Tree(U, W, P).score(P[:2]), ShapeError, r"\(2,\)"),
    "kl states": (lambda: Tree(U, W, P).kl(Tree(U[..., :1], W[:1, :1], P)), GraftError, "2 states"),
    "kl parents": (lambda: Tree(U, W, P).kl(Tree(U, W, torch.tensor([-1, 0, 1]))), GraftError, "same trees"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    call, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        call()

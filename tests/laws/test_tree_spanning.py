"""What the common laws do not say of spanning trees: counts, wide ranges, best trees, impossible rows, errors."""

from __future__ import annotations

import itertools
import math

import networkx as nx
import numpy as np
import pytest
import torch
from tests.reference.structures import Spanning
from torch.autograd import grad

from graft.errors import GraftError, ImpossibleEvidence, ShapeError
from graft.ops import spanning_tree_gradient
from graft.ops.spanning_tree_paths import best_heads
from graft.structured.spanning_tree import SpanningTree
from graft.structured.tree import Tree

NEG_INF, NAN = float("-inf"), float("nan")


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 2, 7, 60])
def test_counts_are_cayleys(size):
    """(N + 1)^(N - 1) trees with a root apart, N^(N - 1) with a root among the nodes."""
    arcs, roots = torch.zeros(size, size).double(), torch.zeros(size).double()
    many, one = (SpanningTree(arcs, roots, single_root=single) for single in (False, True))
    assert abs(many.log_partition.item() - (size - 1) * math.log(size + 1)) < 1e-10
    assert abs(one.log_partition.item() - (size - 1) * math.log(size)) < 1e-10
    torch.testing.assert_close(one.root_marginals, torch.full((size,), 1 / size).double())


def test_as_the_determinant_where_that_keeps_its_digits():
    arcs, roots = draws(5, 12, 12), draws(5, 12, seed=1)
    weights = arcs.exp() * (1 - torch.eye(12))
    laplacian = torch.diag_embed(weights.sum(1) + roots.exp()) - weights
    torch.testing.assert_close(SpanningTree(arcs, roots).log_partition, laplacian.logdet())
    single = torch.diag_embed(weights.sum(1)) - weights
    single[:, 0] = roots.exp()  # Koo et al. (2007), equation 8
    torch.testing.assert_close(SpanningTree(arcs, roots, single_root=True).log_partition, single.det().log())


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("spread", [1.0, 100.0, 1e4])
def test_wide_ranges_keep_their_digits(spread, single):
    """Against a sum over all trees; a determinant is lost from about 30 on."""
    arcs, roots = draws(20, 4, 4) * spread, draws(20, 4, seed=1) * spread
    d = SpanningTree(arcs, roots, single_root=single)
    rows = [Spanning([True] * 4, a, r, single) for a, r in zip(arcs.tolist(), roots.tolist(), strict=True)]
    want = torch.tensor([row.log_partition for row in rows], dtype=torch.float64)
    torch.testing.assert_close(d.log_partition, want, rtol=1e-12, atol=1e-12)
    for row, got in zip(rows, d.marginals, strict=True):
        counts = row.expected("marginals")
        for head, node in itertools.product(range(4), repeat=2):
            assert abs(got[head, node].item() - counts.get((head, node), 0.0)) < 1e-10
    torch.testing.assert_close(
        d.entropy(), torch.tensor([row.entropy() for row in rows], dtype=torch.float64), rtol=0, atol=1e-8
    )


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize(("spread", "zeros"), [(1.0, 0.0), (20.0, 0.3), (90.0, 0.0), (400.0, 0.3)])
def test_compiled_equals_log_space(spread, zeros, single, monkeypatch):
    pytest.importorskip("numba")
    generator = torch.Generator().manual_seed(4)
    arcs, roots = draws(6, 8, 8) * spread, draws(6, 8, seed=1) * spread
    arcs[torch.rand(arcs.shape, generator=generator) < zeros] = NEG_INF

    def answers():
        leaves = [x.clone().requires_grad_() for x in (arcs, roots)]
        d = SpanningTree(*leaves, lengths=torch.tensor([8, 7, 4, 2, 1, 0]), single_root=single)
        value = d.log_partition
        weighted = torch.where(value > NEG_INF, value, 0.0) @ torch.arange(6.0).double()
        return value, *grad(weighted, leaves)

    got = answers()
    monkeypatch.setattr(spanning_tree_gradient, "compiler", lambda: False)
    for x, y in zip(got, answers(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-11, atol=1e-10)


def test_a_tight_cycle_far_from_its_root():
    """Two nodes that hold each other at e^200, and a root that is e^-200 away."""
    arcs, roots = torch.full((2, 2), 200.0), torch.full((2,), -200.0)
    d = SpanningTree(arcs, roots)
    assert abs(d.log_partition.item() - math.log(2)) < 1e-6  # either is the root, at 1; both, at e^-400
    torch.testing.assert_close(d.marginals, torch.tensor([[0.0, 0.5], [0.5, 0.0]]))


@pytest.mark.parametrize("zeros", [0.0, 0.5])
def test_best_heads_as_networkx_finds_them(zeros):
    generator = np.random.default_rng(0)
    found = 0
    for size in [2, 3, 5, 9, 14] * 8:
        scores = generator.normal(size=(size, size))
        scores[generator.random(scores.shape) < zeros] = -np.inf
        graph = nx.DiGraph()
        graph.add_nodes_from(range(size))
        arcs = [(h, n, -scores[h, n]) for h in range(size) for n in range(1, size) if h != n]
        graph.add_weighted_edges_from(arc for arc in arcs if np.isfinite(arc[2]))
        heads = best_heads(scores)
        if not all(nx.has_path(graph, 0, n) for n in range(size)):
            assert heads is None
            continue
        want = -nx.minimum_spanning_arborescence(graph).size("weight")
        got = scores[heads[1:], np.arange(1, size)].sum()
        assert abs(got - want) < 1e-9
        found += 1
    assert found > 15


@pytest.mark.parametrize("single", [False, True])
def test_draws_and_best_trees_are_trees(single):
    d = SpanningTree(draws(6, 9, 9) * 3, draws(6, 9, seed=1), lengths=torch.arange(4, 10), single_root=single)
    heads = torch.cat([d.sample(3, generator=torch.Generator().manual_seed(0)), d.mode()[None]])
    assert (d.log_prob(heads) <= 0).all() and (d.score(heads) <= d.score(d.mode())).all()
    # what Tree takes for parents
    assert Tree(torch.zeros(6, 9, 2), torch.zeros(2, 2), d.mode(), lengths=torch.arange(4, 10)).size == 9
    exists = torch.arange(9) < torch.arange(4, 10)[:, None]
    assert not single or (((heads < 0) & exists).sum(-1) == 1).all()


def impossible(single: bool) -> SpanningTree:
    """Row 1 has a node without heads that is no root, or two nodes that can only be roots."""
    arcs, roots = torch.zeros(2, 3, 3), torch.zeros(2, 3)
    arcs[1, :, 1:] = NEG_INF
    roots[1] = torch.tensor([NEG_INF, 0.0, 0.0] if single else [0.0, NEG_INF, 0.0])
    return SpanningTree(arcs.requires_grad_(), roots.requires_grad_(), single_root=single)


@pytest.mark.parametrize("single", [False, True])
def test_impossible_rows(single):
    d = impossible(single)
    assert (d.log_partition == NEG_INF).tolist() == [False, True]
    arcs, roots = torch.zeros(2, 3, 3).double(), torch.zeros(2, 3).double()
    arcs[1], roots[1] = d._arcs[1].detach(), d._roots[1].detach()
    leaves = [arcs.requires_grad_(), roots.requires_grad_()]
    for taped in (False, True):
        found = grad(SpanningTree(*leaves, single_root=single).log_partition.sum(), leaves, create_graph=taped)
        assert all(x.isfinite().all() and (x[1] == 0).all() for x in found)
    assert d.log_prob(torch.tensor([-1, 0, 0]))[1] == NEG_INF
    for query in ("marginals", "root_marginals", "entropy", "mode", "sample"):
        with pytest.raises(ImpossibleEvidence, match=r"\(1,\)"):
            _ = getattr(d, query) if "marginals" in query else getattr(d, query)()


def test_more_roots_than_one_are_impossible_not_wrong():
    d = SpanningTree(torch.zeros(3, 3), torch.zeros(3), single_root=True)
    assert d.log_prob(torch.tensor([[-1, -1, 0], [-1, 0, 0]])).isneginf().tolist() == [True, False]


A, R = torch.zeros(2, 3, 3), torch.zeros(2, 3)
ERRORS = {
    **{f"draws, {n!r}": (lambda n=n: SpanningTree(A, R).sample(n), GraftError, "draws") for n in (-1, 2.0)},
    "square": (lambda: SpanningTree(A[:, :2], R), ShapeError, r"arcs \(2, 2, 3\) and roots \(2, 3\)"),
    "batch": (lambda: SpanningTree(A, R.expand(3, 2, 3)[:, :1].expand(3, 5, 3)), ShapeError, "broadcast"),
    "integers": (lambda: SpanningTree(A.long(), R), GraftError, "floating-point"),
    "arcs nan": (lambda: SpanningTree(A * NAN, R), GraftError, "arcs is NaN"),
    "roots inf": (lambda: SpanningTree(A, R + math.inf), GraftError, "roots is NaN"),
    "both": (lambda: SpanningTree(A, R, torch.tensor([3, 3]), R > 0), GraftError, "not both"),
    "cycle": (lambda: SpanningTree(A, R).score(torch.tensor([1, 0, -1])), GraftError, r"cycle in row \[0\]"),
    "self": (lambda: SpanningTree(A, R).score(torch.tensor([0, 0, -1])), GraftError, "cycle"),
    "range": (lambda: SpanningTree(A, R).score(torch.tensor([3, 0, -1])), GraftError, r"0\.\.2, or -1"),
    "absent": (
        lambda: SpanningTree(A, R, torch.tensor([3, 2])).score(torch.tensor([-1, 2, 0])),
        GraftError,
        "head of an existing node does not exist",
    ),
    "floats": (lambda: SpanningTree(A, R).score(R), GraftError, "heads must be integers"),
    "kl kind": (lambda: SpanningTree(A, R).kl(SpanningTree(A, R, single_root=True)), GraftError, "same kind"),
    "kl nodes": (lambda: SpanningTree(A, R).kl(SpanningTree(A[0], R[0])), GraftError, "same nodes"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    call, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        call()

"""What the common laws do not say of semi-Markov chains: kernels, digits, impossible rows, conversions, errors."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from torch.autograd import grad

from graft.errors import GraftError, ImpossibleEvidence, ShapeError
from graft.ops import semi_markov_kernels as kernels
from graft.structured.hidden_semi_markov import HiddenSemiMarkov
from graft.structured.linear_chain import LinearChain
from graft.structured.segmentation import Segmentation
from graft.structured.semi_markov import SemiMarkov

NEG_INF, NAN = float("-inf"), float("nan")


@dataclass(frozen=True)
class Size:
    """Potentials (b, T, K, S): their spread, the share of `-inf`, whether tables differ by start."""

    size: tuple[int, int, int, int]
    spread: float = 1.0
    zeros: float = 0.0
    dense: bool = False


SIZES = {
    "plain": Size((5, 20, 4, 3)),
    "a register": Size((3, 12, 5, 8)),
    "more than a register": Size((2, 9, 3, 19)),
    "one row": Size((1, 24, 30, 2)),
    "every start": Size((3, 12, 5, 4), dense=True),
    "wide": Size((4, 20, 6, 3), spread=1e4),
    "zeros": Size((6, 20, 5, 3), zeros=0.3),
    "zeros, wide, every start": Size((6, 14, 5, 3), zeros=0.4, spread=300.0, dense=True),
}
sizes = pytest.mark.parametrize("name", SIZES)


def potentials(name: str) -> dict[str, torch.Tensor]:
    case, generator = SIZES[name], torch.Generator().manual_seed(len(name))
    b, t, k, s = case.size

    def normal(*shape):
        x = torch.randn(*shape, generator=generator, dtype=torch.float64) * case.spread
        gone = torch.rand(x.shape, generator=generator) < case.zeros
        gone[..., 0] = False
        return x.masked_fill(gone, NEG_INF)

    lead = (b, t) if case.dense else ()
    return {
        "segments": normal(*lead, k, s),
        "transitions": normal(s, s),
        "unary": normal(b, t, s),
        "starts": normal(b, t, s),
        "last": normal(*lead, k, s),
    }


def lengths(name: str) -> torch.Tensor:
    b, t = SIZES[name].size[:2]
    return torch.tensor([t, *torch.arange(b - 1).tolist()])


def answers(name: str) -> list[torch.Tensor]:
    """Everything that compiled kernels compute."""
    leaves = {k: x.requires_grad_() for k, x in potentials(name).items()}
    d = SemiMarkov(**leaves, lengths=lengths(name))
    value = d.log_partition
    found = [value, *grad(value.square().sum(), list(leaves.values()), materialize_grads=True)]
    mode = d.mode()
    return [x.detach() for x in (*found, d.score(mode), d.marginals, d.start_marginals)]


@sizes
def test_compiled_kernels_equal_the_reference(name, monkeypatch):
    pytest.importorskip("numba")
    got = answers(name)
    monkeypatch.setattr(kernels, "compiler", lambda: False)
    for x, y in zip(got, answers(name), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "torch"])
def test_draws_of_both_kernels_follow_the_marginals(compiled, monkeypatch):
    """Fails a correct sampler with probability below 1e-3: 60 cells, each at 2 exp(-17) by Bernstein."""
    monkeypatch.setattr(kernels, "compiler", lambda: compiled)
    d = SemiMarkov(**{k: x[:2] if x.dim() > 2 else x for k, x in potentials("zeros").items()})
    count, p = 3000, d.start_marginals
    drawn = d.sample(count, generator=torch.Generator().manual_seed(2))
    starts = torch.nn.functional.one_hot(drawn.labels, d.states) * drawn.starts[..., None]
    seen = starts.double().mean(0)
    assert ((seen - p).abs() <= (34 / count * p * (1 - p).clamp_min(0)).sqrt() + 12 / count).all()
    assert (seen[p == 0] == 0).all()


def test_a_table_of_durations_takes_no_memory_for_starts():
    saved = []
    u = torch.randn(2, 300, 4, requires_grad=True)
    d = SemiMarkov(torch.zeros(50, 4, requires_grad=True), torch.zeros(4, 4), unary=u)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.numel()) or x, lambda x: x):
        value = d.log_partition.sum()
    value.backward()
    assert max(saved) == u.numel()


@pytest.mark.parametrize("offset", [1e4, -1e5])
def test_long_sequences_keep_their_digits(offset):
    """What is added to every element and label changes nothing but log Z, by exactly that."""
    generator, steps = torch.Generator().manual_seed(0), 4000
    u = (torch.randn(1, steps, 3, generator=generator, dtype=torch.float64) * 64).round() / 64
    g = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    w = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    here, there = SemiMarkov(g, w, unary=u), SemiMarkov(g, w, unary=u + offset)
    torch.testing.assert_close(there.log_partition - offset * steps, here.log_partition, rtol=0, atol=1e-6)
    torch.testing.assert_close(there.marginals, here.marginals, rtol=0, atol=1e-10)
    torch.testing.assert_close(here.marginals.sum(-1), torch.ones(1, steps, dtype=torch.float64), rtol=0, atol=1e-10)


def test_segments_of_one_element_are_a_chain():
    generator = torch.Generator().manual_seed(0)
    u, w = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((3, 6, 4), (3, 5, 4, 4)))
    mask = torch.rand(3, 6, generator=generator) < 0.7
    d, chain = SemiMarkov(torch.zeros(1, 4).double(), w, unary=u, mask=mask), LinearChain(u, w, mask=mask)
    torch.testing.assert_close(d.log_partition, chain.log_partition)
    torch.testing.assert_close(d.marginals, chain.marginals)
    torch.testing.assert_close(d.expected_counts, chain.expected_counts)
    torch.testing.assert_close(d.entropy(), chain.entropy())
    assert torch.equal(d.mode().labels, chain.mode())


def test_elements_and_their_sums_are_the_same():
    """Scores by element against the same, summed up for every start and duration."""
    generator = torch.Generator().manual_seed(1)
    u = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    g, w = torch.randn(3, 3, generator=generator).double(), torch.randn(3, 3, generator=generator).double()
    windows = torch.nn.functional.pad(u, (0, 0, 0, 2)).unfold(1, 3, 1).cumsum(-1).mT
    one, two = SemiMarkov(g, w, unary=u), SemiMarkov(g + windows, w)
    torch.testing.assert_close(one.log_partition, two.log_partition)
    torch.testing.assert_close(one.segment_marginals, two.segment_marginals)
    torch.testing.assert_close(one.marginals, two.marginals)


@pytest.mark.parametrize("censored", [True, False])
def test_likelihoods_of_all_observations(censored):
    """They sum to one if the last state may go on, and to the probability of an end there if not."""
    generator = torch.Generator().manual_seed(0)

    def table(*shape, dim):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).log_softmax(dim)

    start, moves, durations, symbols = table(2, dim=-1), table(2, 2, dim=-1), table(3, 2, dim=0), table(2, 3, dim=-1)
    every = torch.tensor(list(itertools.product(range(3), repeat=4)))
    emissions = symbols.T[every]
    total = HiddenSemiMarkov(start, moves, durations, emissions, censored=censored).log_partition.logsumexp(0).exp()
    silent = torch.zeros(4, 2, dtype=torch.float64)
    want = 1.0 if censored else HiddenSemiMarkov(start, moves, durations, silent).log_partition.exp().item()
    assert abs(total.item() - want) < 1e-12
    assert censored or total < 0.99


def impossible() -> dict[str, torch.Tensor]:
    unary = torch.zeros(3, 4, 2, dtype=torch.float64)
    unary[1, 2] = NEG_INF
    return {"segments": torch.zeros(2, 2).double(), "transitions": torch.zeros(2, 2).double(), "unary": unary}


@pytest.mark.parametrize("taped", [False, True])
def test_impossible_row_has_no_gradient(taped):
    leaves = {k: x.requires_grad_() for k, x in impossible().items()}
    value = SemiMarkov(**leaves).log_partition
    assert (value == NEG_INF).tolist() == [False, True, False]
    found = grad(value.sum(), list(leaves.values()), create_graph=taped)
    assert all(x.isfinite().all() for x in found)
    assert (found[2][1] == 0).all()
    d = SemiMarkov(**leaves)
    assert (d.log_prob(SemiMarkov(**impossible() | {"unary": torch.zeros(3, 4, 2)}).mode())[1] == NEG_INF).all()
    cut, scores = d.top_k(2)
    assert (scores[:, 1] == NEG_INF).all() and (cut.durations[:, 1] == 0).all()


QUERIES = ["marginals", "start_marginals", "segment_marginals", "duration_counts", "expected_counts"]


@pytest.mark.parametrize("query", [*QUERIES, "entropy", "mode", "sample"])
def test_impossible_rows_are_named(query):
    leaves = impossible()
    d = SemiMarkov(leaves["segments"], leaves["transitions"], unary=leaves["unary"].expand(2, 3, 4, 2))
    with pytest.raises(ImpossibleEvidence, match=r"\(0, 1\), \(1, 1\)"):
        _ = getattr(d, query) if query in QUERIES else getattr(d, query)()


def test_a_segment_too_long_is_impossible_not_wrong():
    d = SemiMarkov(torch.zeros(2, 1), torch.zeros(1, 1), unary=torch.zeros(3, 1, requires_grad=True))
    whole = Segmentation.from_spans([[(0, 3, 0)]], length=3)
    assert d.log_prob(whole) == NEG_INF
    assert d.score(whole) == NEG_INF


def test_spans_and_back():
    d = SemiMarkov(torch.zeros(3, 2), torch.zeros(2, 2), unary=torch.zeros(6, 5, 2), lengths=torch.arange(6))
    drawn = d.sample(generator=torch.Generator().manual_seed(0))
    again = Segmentation.from_spans(drawn.spans(), length=5)
    assert torch.equal(again.labels, drawn.labels) and torch.equal(again.durations, drawn.durations)
    holes = torch.tensor([True, False, True, True, False])
    cut = SemiMarkov(torch.tensor([[0.0], [9.0]]), torch.zeros(1, 1), unary=torch.zeros(5, 1), mask=holes).top_k(2)[0]
    assert sorted(cut.spans(holes.expand(2, 5))) == [[(0, 1, 0), (2, 4, 0)], [(0, 3, 0), (3, 4, 0)]]


G, W, U = torch.zeros(3, 2), torch.zeros(2, 2), torch.zeros(4, 5, 2)
START, MOVES, LAST = torch.tensor([0.5, 0.5]).log(), torch.full((2, 2), 0.5).log(), torch.full((4, 2), 0.25).log()


def cut(*spans):
    return SemiMarkov(G, W, unary=U).score(Segmentation.from_spans([spans], length=5))


def torn(labels, durations):
    return SemiMarkov(G, W, unary=U).score((torch.tensor(labels), torch.tensor(durations)))


ERRORS = {
    **{f"k, {k!r}": (lambda k=k: SemiMarkov(G, W, unary=U).top_k(k), GraftError, "positive") for k in (0, True, 2.0)},
    **{f"draws, {n!r}": (lambda n=n: SemiMarkov(G, W, unary=U).sample(n), GraftError, "draws") for n in (-1, 2.0)},
    "no length": (lambda: SemiMarkov(G, W), ShapeError, "T comes from unary or starts"),
    "labels": (lambda: SemiMarkov(G[:, :1], W, unary=U), ShapeError, r"segments \(3, 1\).*transitions \(2, 2\)"),
    "no durations": (lambda: SemiMarkov(G[:0], W, unary=U), ShapeError, "do not fit"),
    "starts": (lambda: SemiMarkov(G, W, unary=U, starts=U[:, :4]), ShapeError, r"starts \(4, 4, 2\)"),
    "steps": (lambda: SemiMarkov(G.expand(4, 3, 2), W, unary=U), ShapeError, r"segments \(4, 3, 2\)"),
    "last": (lambda: SemiMarkov(G, W, unary=U, last=G[:2]), ShapeError, r"last \(2, 2\)"),
    "transitions": (lambda: SemiMarkov(G, W.expand(5, 2, 2), unary=U), ShapeError, "T-1"),
    "batches": (lambda: SemiMarkov(G.expand(3, 1, 3, 2), W, unary=U), ShapeError, "do not fit"),
    "vector": (lambda: SemiMarkov(G[0], W, unary=U), ShapeError, r"segments \(2,\)"),
    "integers": (lambda: SemiMarkov(G, W.long(), unary=U), GraftError, "transitions must be real"),
    "segments nan": (
        lambda: SemiMarkov(G.fill_diagonal_(0).where(G > 1, NAN), W, unary=U),
        GraftError,
        "segments is NaN",
    ),
    "unary inf": (lambda: SemiMarkov(G, W, unary=U + math.inf), GraftError, r"unary is NaN or \+inf"),
    "starts nan": (lambda: SemiMarkov(G, W, unary=U, starts=U * NAN), GraftError, "starts is NaN"),
    "entry nan": (lambda: SemiMarkov(G, W.expand(4, 2, 2) * NAN, unary=U), GraftError, "transitions is NaN"),
    "both": (
        lambda: SemiMarkov(G, W, unary=U, lengths=torch.tensor(3), mask=U[..., 0] > 0),
        GraftError,
        "not both",
    ),
    "lengths": (lambda: SemiMarkov(G, W, unary=U, lengths=torch.tensor([9] * 4)), GraftError, r"0\.\.5"),
    "k": (lambda: SemiMarkov(G, W, unary=U).top_k(0), GraftError, "positive"),
    "kl": (lambda: SemiMarkov(G, W, unary=U).kl(SemiMarkov(G[:2], W, unary=U)), GraftError, "3 durations"),
    "kl lengths": (
        lambda: SemiMarkov(G, W, unary=U).kl(SemiMarkov(G, W, unary=U, lengths=torch.tensor([1, 2, 3, 4]))),
        GraftError,
        "same elements",
    ),
    "label": (lambda: cut((0, 3, 1), (3, 5, 2)), GraftError, r"labels must be in 0\.\.1"),
    "gap": (lambda: cut((0, 2, 1), (3, 5, 0)), GraftError, "ends at 2, the next starts at 3"),
    "empty span": (lambda: cut((0, 0, 1), (0, 5, 0)), GraftError, r"\(0, 0, 1\) of row 0"),
    "beyond": (lambda: cut((0, 6, 1)), GraftError, r"\(0, 6, 1\) of row 0"),
    "too short": (lambda: cut((0, 2, 1)), GraftError, "do not tile"),
    "untiled": (lambda: torn([0] * 5, [3, 2, 0, 0, 0]), GraftError, "do not tile"),
    "negative": (lambda: torn([0] * 5, [3, 0, 0, 3, -1]), GraftError, "do not tile"),
    "changes": (lambda: torn([0, 1, 0, 0, 0], [3, 0, 0, 2, 0]), GraftError, "change within a segment"),
    "floats": (lambda: torn([0.0] * 5, [3, 0, 0, 2, 0]), GraftError, "labels must be integers"),
    "shape": (lambda: torn([0] * 4, [4, 0, 0, 0]), ShapeError, r"\(4,\)"),
    "hidden start": (lambda: HiddenSemiMarkov(START + 0.1, MOVES, LAST, U), GraftError, "initial .* sums to 1.1"),
    "hidden moves": (lambda: HiddenSemiMarkov(START, W, LAST, U), GraftError, "transitions .* sums to 2"),
    "hidden durations": (lambda: HiddenSemiMarkov(START, MOVES, G, U), GraftError, "durations .* sums to 3"),
    "hidden nan": (lambda: HiddenSemiMarkov(START * NAN, MOVES, LAST, U), GraftError, "sums to nan"),
    "hidden shape": (lambda: HiddenSemiMarkov(START, MOVES, LAST, U[..., :1]), ShapeError, r"\(\.\.\., K, S\)"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    call, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("last", [None, G])
def test_empty_batches_have_empty_marginals(last):
    assert SemiMarkov(G, W, unary=U[:0], last=last).segment_marginals.shape == (0, *U.shape[1:2], *G.shape)

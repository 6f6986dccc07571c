"""Laws of `LinearChain` against enumeration, over a table of small random chains."""

from __future__ import annotations

import itertools
import math
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from tests.reference.chain import Enumerated
from torch.autograd import grad, gradcheck, gradgradcheck

from graft.data.tag_schemes import allowed, decode, tags_of
from graft.errors import DataError, GraftError, ImpossibleEvidence, ShapeError
from graft.structured.linear_chain import LinearChain

NEG_INF, NAN = float("-inf"), float("nan")


@dataclass(frozen=True)
class Case:
    """How to make one chain; `existence` is none, lengths, left (padding), holes; `zeros` a share of -inf."""

    batch: tuple[int, ...] = (12,)
    length: int = 4
    states: int = 3
    pairwise: str = "one each"  # table, one each, shared
    existence: str = "none"
    zeros: float = 0.0


TABLE = {
    "plain": Case(),
    "no batch": Case(batch=(), length=5),
    "two batch dims": Case(batch=(3, 4)),
    "empty batch": Case(batch=(0,)),
    "one table": Case(pairwise="table", length=5),
    "shared over the batch": Case(pairwise="shared"),
    "shared over one batch dim": Case(batch=(3, 4), pairwise="half shared", existence="holes"),
    "one state": Case(states=1),
    "four states": Case(states=4, batch=(6,)),
    "one element": Case(length=1, existence="lengths"),
    "no element": Case(length=0),
    "no element, table": Case(length=0, pairwise="table", existence="holes"),
    "lengths": Case(length=5, existence="lengths", batch=(15,)),
    "lengths, table": Case(length=5, pairwise="table", existence="lengths"),
    "lengths, shared": Case(pairwise="shared", existence="lengths"),
    "left padding": Case(length=5, existence="left", batch=(15,)),
    "holes": Case(length=5, existence="holes", batch=(20,)),
    "holes, table": Case(length=5, pairwise="table", existence="holes"),
    "holes, shared": Case(pairwise="shared", existence="holes"),
    "holes, no batch": Case(batch=(), length=5, existence="holes"),
    "holes, two batch dims": Case(batch=(3, 4), existence="holes"),
    "zeros": Case(zeros=0.4, batch=(20,)),
    "zeros, table": Case(zeros=0.3, pairwise="table"),
    "zeros, lengths": Case(zeros=0.4, length=5, existence="lengths"),
    "zeros, holes": Case(zeros=0.4, length=5, existence="holes", batch=(20,)),
    "zeros, holes, shared": Case(zeros=0.3, length=5, existence="holes", pairwise="shared"),
    "one path": Case(zeros=1.0, existence="holes"),
}
cases = pytest.mark.parametrize("name", TABLE)


def existence(case: Case, generator) -> torch.Tensor:
    shape = (*case.batch, case.length)
    time = torch.arange(case.length)
    lengths = torch.randint(0, case.length + 1, case.batch, generator=generator)
    if case.existence == "none":
        return torch.ones(shape, dtype=torch.bool)
    if case.existence == "holes":
        return torch.rand(shape, generator=generator) < 0.6
    return time < lengths[..., None] if case.existence == "lengths" else time >= lengths[..., None]


@cache
def make(name: str):
    """unary, pairwise and mask of a case; staying in state 0 is always possible."""
    case, generator = TABLE[name], torch.Generator().manual_seed(len(name))
    pairs, states = max(case.length - 1, 0), case.states
    lead = {"table": (), "one each": (*case.batch, pairs), "shared": (pairs,), "half shared": (3, 1, pairs)}
    unary = torch.randn(*case.batch, case.length, states, generator=generator, dtype=torch.float64)
    pairwise = torch.randn(*lead[case.pairwise], states, states, generator=generator, dtype=torch.float64)
    for x, path in ((unary, unary[..., :1]), (pairwise, pairwise[..., :1, :1])):
        kept = path.clone()
        x[torch.rand(x.shape, generator=generator) < case.zeros] = NEG_INF
        path.copy_(kept)
    return unary, pairwise, existence(case, generator)


def chain(name: str) -> LinearChain:
    unary, pairwise, mask = make(name)
    if TABLE[name].existence == "lengths":
        return LinearChain(unary, pairwise, lengths=mask.sum(-1))
    return LinearChain(unary, pairwise, mask=None if TABLE[name].existence == "none" else mask)


@cache
def rows(name: str) -> list[Enumerated]:
    unary, pairwise, mask = make(name)
    case = TABLE[name]
    pairs = max(case.length - 1, 0)
    pairwise = pairwise.expand(*case.batch, pairs, case.states, case.states)
    flat = [x.reshape(math.prod(case.batch), *x.shape[len(case.batch) :]) for x in (unary, pairwise, mask)]
    return [Enumerated(*row) for row in zip(*(x.tolist() for x in flat), strict=True)]


def close(got: torch.Tensor, want: list, shape) -> None:
    want = torch.tensor(want, dtype=torch.float64).reshape(shape)
    assert got.shape == want.shape
    assert ((got - want).abs() <= 1e-9 * want.abs().clamp_min(1)).all()


@cases
def test_log_partition(name):
    got = chain(name).log_partition
    close(got, [row.log_partition for row in rows(name)], TABLE[name].batch)


@cases
def test_marginals(name):
    case = TABLE[name]
    want = [row.marginals() for row in rows(name)]
    close(chain(name).marginals, want, (*case.batch, case.length, case.states))


@cases
def test_pair_marginals(name):
    case = TABLE[name]
    want = [row.pair_marginals() for row in rows(name)]
    shape = (*case.batch, max(case.length - 1, 0), case.states, case.states)
    close(chain(name).pair_marginals, want, shape)


@cases
def test_entropy(name):
    close(chain(name).entropy(), [row.entropy() for row in rows(name)], TABLE[name].batch)


@cases
def test_marginals_are_gradients_of_log_partition(name):
    unary, pairwise, mask = make(name)
    pairs = max(TABLE[name].length - 1, 0)
    pairwise = pairwise.expand(*unary.shape[:-2], pairs, *pairwise.shape[-2:])
    leaves = [unary.clone().requires_grad_(), pairwise.clone().requires_grad_()]
    d = LinearChain(*leaves, mask=mask)
    got = grad(d.log_partition.sum(), leaves, materialize_grads=True)
    torch.testing.assert_close(got, (d.marginals, d.pair_marginals), rtol=0, atol=1e-12)


@cases
def test_mode_is_the_best_sequence(name):
    case, states = TABLE[name], chain(name).mode()
    assert (states.shape, states.dtype) == ((*case.batch, case.length), torch.long)
    flat = states.reshape(len(rows(name)), case.length).tolist()
    assert all(tuple(y) == row.ranked()[0][1] for y, row in zip(flat, rows(name), strict=True))


@cases
@pytest.mark.parametrize("k", [2, 30])
def test_top_k_lists_the_best_sequences_in_order(name, k):
    case = TABLE[name]
    states, scores = chain(name).top_k(k)
    assert states.shape == (k, *case.batch, case.length)
    ranked = [row.ranked()[:k] for row in rows(name)]
    want = [[s for s, _ in best] + [NEG_INF] * (k - len(best)) for best in ranked]
    torch.testing.assert_close(scores.reshape(k, -1).T, torch.tensor(want).double().reshape(-1, k))
    flat = states.reshape(k, len(ranked), case.length).transpose(0, 1).tolist()
    for got, best in zip(flat, ranked, strict=True):
        assert [tuple(y) for y in got[: len(best)]] == [y for _, y in best]
        assert all(not any(y) for y in got[len(best) :])


@cases
def test_log_prob_of_every_sequence(name):
    case = TABLE[name]
    every = list(itertools.product(range(case.states), repeat=case.length))
    states = torch.tensor(every, dtype=torch.long).reshape(len(every), *[1] * len(case.batch), case.length)
    mask = make(name)[2]
    got = chain(name).log_prob(states.where(mask, -100))
    assert got.shape == (len(every), *case.batch)
    # what stands at removed elements does not count: every sequence is listed states^removed times
    copies = (~mask).sum(-1).double() * math.log(case.states)
    torch.testing.assert_close(got.logsumexp(0), copies, rtol=0, atol=1e-9)
    clean = states.where(mask, 0).expand(len(every), *mask.shape)
    clean = clean.reshape(len(every), len(rows(name)), case.length)
    want = [
        [row.scores[tuple(y)] - row.log_partition for y, row in zip(ys, rows(name), strict=True)]
        for ys in clean.tolist()
    ]
    torch.testing.assert_close(got.reshape(len(every), -1), torch.tensor(want).double().reshape(len(every), -1))


@cases
def test_samples_are_possible_and_repeatable(name):
    d, case = chain(name), TABLE[name]
    states = d.sample((2, 3), generator=torch.Generator().manual_seed(0))
    assert states.shape == (2, 3, *case.batch, case.length)
    assert torch.equal(states, d.sample((2, 3), generator=torch.Generator().manual_seed(0)))
    assert (d.log_prob(states) > NEG_INF).all()
    assert (states.masked_select(~make(name)[2]) == 0).all()


@pytest.mark.parametrize("name", ["plain", "lengths, shared", "holes", "zeros, holes", "two batch dims"])
def test_samples_follow_the_joint_distribution(name):
    """Fails a correct sampler with probability below 1e-3: 4860 cells, each at 2 exp(-17) by Bernstein."""
    case, count = TABLE[name], 5_000
    states = chain(name).sample(count, generator=torch.Generator().manual_seed(1)).flatten(1, -2)
    cells = case.states**case.length
    code = (states * case.states ** torch.arange(case.length - 1, -1, -1)).sum(-1)
    code = code + cells * torch.arange(len(rows(name)))
    seen = code.flatten().bincount(minlength=cells * len(rows(name))).reshape(-1, cells) / count
    every = itertools.product(range(case.states), repeat=case.length)
    p = torch.tensor([[row.prob(y) if y in row.scores else 0.0 for row in rows(name)] for y in every]).T
    assert ((seen - p).abs() <= (34 / count * p * (1 - p).clamp_min(0)).sqrt() + 12 / count).all()
    assert (seen[p == 0] == 0).all()


QUERIES = {
    "log_partition": lambda d: d.log_partition,
    "marginals": lambda d: d.marginals,
    "pair_marginals": lambda d: d.pair_marginals,
    "entropy": lambda d: d.entropy(),
    "score": lambda d: d.score(torch.zeros(d.length, dtype=torch.long)),
    "log_prob": lambda d: d.log_prob(torch.zeros(d.length, dtype=torch.long)),
    "top_k": lambda d: d.top_k(1)[1][0],
}
queries = pytest.mark.parametrize("query", QUERIES)


@queries
@pytest.mark.parametrize("holes", [False, True], ids=["whole", "holes"])
@pytest.mark.parametrize(("zeros", "shape"), [(False, (2, 2)), (True, (2, 2, 2))], ids=["table", "zeros"])
def test_derivatives_to_second_order(query, holes, zeros, shape):
    generator = torch.Generator().manual_seed(3)
    u = torch.randn(2, 3, 2, generator=generator, dtype=torch.float64).requires_grad_()
    w = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    mask = torch.tensor([[True, False, True], [False, True, False]]) if holes else None
    gone_u, gone_w = torch.zeros_like(u, dtype=torch.bool), torch.zeros_like(w, dtype=torch.bool)
    gone_u[0, 2, 1], gone_w[..., 0, 1] = zeros, zeros

    def f(u, w):
        return QUERIES[query](LinearChain(u.masked_fill(gone_u, NEG_INF), w.masked_fill(gone_w, NEG_INF), mask=mask))

    assert gradcheck(f, (u, w), fast_mode=True)
    assert gradgradcheck(f, (u, w), fast_mode=True)


@queries
@pytest.mark.parametrize("name", ["lengths", "zeros, holes, shared", "left padding"])
def test_ragged_batch_is_a_loop_over_members(name, query):
    unary, pairwise, mask = make(name)
    whole = QUERIES[query](chain(name))
    for row, got in enumerate(whole):
        w = pairwise[row] if pairwise.dim() == 4 else pairwise
        alone = QUERIES[query](LinearChain(unary[row], w, mask=mask[row]))
        torch.testing.assert_close(got, alone, rtol=1e-12, atol=1e-12)


@queries
@pytest.mark.parametrize(
    "name", ["lengths", "lengths, shared", "holes", "zeros, holes", "left padding", "holes, table"]
)
@pytest.mark.parametrize("rubbish", [NAN, math.inf], ids=str)
def test_padding_is_harmless(name, query, rubbish):
    unary, pairwise, mask = make(name)
    # an entry is used if its later element exists after an earlier one, in any row that shares it
    used = mask[:, 1:] & (mask.cumsum(-1)[:, :-1] > 0)
    unary = unary.masked_fill(~mask[..., None], rubbish).requires_grad_()
    if pairwise.dim() > 2:
        used = used if pairwise.dim() == 4 else used.any(0)
        pairwise = pairwise.masked_fill(~used[..., None, None], rubbish)
    pairwise = pairwise.clone().requires_grad_()
    got = QUERIES[query](LinearChain(unary, pairwise, mask=mask))
    torch.testing.assert_close(got, QUERIES[query](chain(name)))
    g_unary, g_pairwise = grad(torch.where(got.isfinite(), got, 0.0).square().sum(), (unary, pairwise))
    assert g_unary.isfinite().all()
    assert (g_unary[~mask] == 0).all()
    assert g_pairwise.isfinite().all()
    assert pairwise.dim() == 2 or (g_pairwise[~used] == 0).all()


def impossible(requires_grad=False):
    """Three rows, the middle one without any sequence: state 1 is forced, then forbidden."""
    unary = torch.zeros(3, 3, 2, dtype=torch.float64)
    unary[1, 0, 0] = unary[1, 1, 1] = NEG_INF
    pairwise = torch.tensor([[0.0, 0.0], [NEG_INF, 0.0]], dtype=torch.float64)
    return unary.requires_grad_(requires_grad), pairwise.requires_grad_(requires_grad)


@pytest.mark.parametrize(
    "query",
    [lambda d: d.log_partition, lambda d: d.log_prob(torch.ones(3, dtype=torch.long))],
    ids=["Z", "prob"],
)
def test_impossible_row_is_minus_infinity_with_zero_gradient(query):
    leaves = impossible(requires_grad=True)
    value = query(LinearChain(*leaves))
    assert (value == NEG_INF).tolist() == [False, True, False]
    g_unary, g_pairwise = grad(value.sum(), leaves, create_graph=True)
    assert (g_unary[1] == 0).all()
    assert g_unary.isfinite().all()
    assert g_pairwise.isfinite().all()
    second = grad(g_unary.square().sum() + g_pairwise.square().sum(), leaves)
    assert all(g.isfinite().all() for g in second)


def test_impossible_row_has_no_best_sequences():
    states, scores = LinearChain(*impossible()).top_k(2)
    assert (scores == NEG_INF).tolist() == [[False, True, False]] * 2
    assert (states[:, 1] == 0).all()


@pytest.mark.parametrize("query", ["marginals", "pair_marginals", "entropy", "mode", "sample"])
def test_impossible_rows_are_named(query):
    unary, pairwise = impossible()
    d = LinearChain(unary.expand(2, 3, 3, 2), pairwise)
    with pytest.raises(ImpossibleEvidence, match=r"\(0, 1\), \(1, 1\)") as caught:
        _ = getattr(d, query) if "marginals" in query else getattr(d, query)()
    assert caught.value.rows == [(0, 1), (1, 1)]


def test_forbidden_sequence_has_zero_gradient():
    w = torch.tensor([[0.0, NEG_INF], [0.0, 0.0]], requires_grad=True)
    u = torch.zeros(2, 2, requires_grad=True)
    value = LinearChain(u, w).log_prob(torch.tensor([0, 1]))
    assert value == NEG_INF
    assert all((g == 0).all() for g in grad(value, (u, w)))


@pytest.mark.parametrize("size", [1e4, -1e4], ids=str)
def test_large_potentials_in_float32(size):
    u = torch.tensor([[size, 0.0], [0.0, size], [size, size]])
    w = torch.tensor([[size, 0.0], [-size, 0.0]])
    d, exact = LinearChain(u, w), LinearChain(u.double(), w.double())
    torch.testing.assert_close(d.log_partition.double(), exact.log_partition, rtol=1e-6, atol=0)
    torch.testing.assert_close(d.marginals.double(), exact.marginals, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(d.entropy().double(), exact.entropy(), rtol=1e-6, atol=1e-6)
    assert torch.equal(d.mode(), exact.mode())


def test_far_apart_potentials_in_float32():
    """A product of two such tables in the linear space of float32 gives log 0 and no gradient."""
    w = torch.tensor([[0.0, -120.0], [-120.0, 0.0]], requires_grad=True)
    u = torch.tensor([[0.0, NEG_INF], [0.0, 0.0], [NEG_INF, 0.0]])
    d = LinearChain(u, w)
    torch.testing.assert_close(d.log_partition.item(), -120 + math.log(2), rtol=1e-6, atol=0)
    want = torch.tensor([[0.5, 1.0], [0.0, 0.5]])
    torch.testing.assert_close(grad(d.log_partition, w)[0], want)
    torch.testing.assert_close(d.pair_marginals.sum(0), want)


def test_long_chain_in_float32_keeps_its_digits():
    generator = torch.Generator().manual_seed(0)
    u, w = torch.randn(1, 150, 3, generator=generator) * 3, torch.randn(3, 3, generator=generator)
    d, exact = LinearChain(u, w), LinearChain(u.double(), w.double())
    torch.testing.assert_close(d.marginals.double(), exact.marginals, rtol=0, atol=2e-6)
    torch.testing.assert_close(d.entropy().double(), exact.entropy(), rtol=1e-5, atol=0)
    torch.testing.assert_close(d.log_partition.double(), exact.log_partition, rtol=1e-6, atol=0)


@queries
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_queries_work_in_every_grad_mode(query, mode):
    unary, pairwise, mask = (x.clone() for x in make("zeros, holes"))
    before = [x.clone() for x in (unary, pairwise, mask)]
    with mode():
        got = QUERIES[query](LinearChain(unary, pairwise, mask=mask))
    assert torch.equal(got, QUERIES[query](chain("zeros, holes")))
    assert all(torch.equal(x, y) for x, y in zip(before, (unary, pairwise, mask), strict=True))
    assert not unary.requires_grad
    assert not pairwise.requires_grad


def test_ends_of_rows_without_elements_may_hold_anything():
    start, lengths = torch.tensor([[NAN] * 3, [0.0] * 3]), torch.tensor([0, 4])
    d = LinearChain(torch.zeros(2, 4, 3), torch.zeros(3, 3), lengths, start=start)
    torch.testing.assert_close(d.log_partition.exp(), torch.tensor([1.0, 81.0]), rtol=1e-5, atol=0)
    assert d.top_k(np.int64(2))[1].shape == (2, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_dtype(dtype):
    d = LinearChain(torch.zeros(2, 4, 3, dtype=dtype), torch.zeros(3, 3, dtype=dtype))
    assert d.log_partition.dtype == d.marginals.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(d.log_partition.double().exp(), torch.full((2,), 81.0).double(), rtol=1e-5, atol=0)


U, W, ALL = torch.zeros(2, 4, 3), torch.zeros(3, 3), torch.ones(2, 4, dtype=torch.bool)
BAD_W, BAD_U = W.index_fill(0, torch.tensor([1]), NAN), U.index_fill(1, torch.tensor([2]), math.inf)
ERRORS = {
    "no states": (lambda: LinearChain(U[..., :0], W[:0, :0]), ShapeError, "S >= 1"),
    "vector": (lambda: LinearChain(U[0, 0], W), ShapeError, r"\(3,\) and pairwise \(3, 3\)"),
    "other states": (lambda: LinearChain(U, W[:2, :2]), ShapeError, r"\(2, 4, 3\) and pairwise \(2, 2\)"),
    "not square": (lambda: LinearChain(U, W[:2]), ShapeError, r"\(S, S\) or"),
    "T entries": (lambda: LinearChain(U, W.expand(4, 3, 3)), ShapeError, r"\(\.\.\., T-1, S, S\)"),
    "batches": (lambda: LinearChain(U, W.expand(5, 3, 3, 3)), ShapeError, "broadcast"),
    "integers": (lambda: LinearChain(U.long(), W), GraftError, "floating-point"),
    "both": (lambda: LinearChain(U, W, torch.tensor([4, 4]), ALL), GraftError, "not both"),
    "lengths shape": (
        lambda: LinearChain(U, W, torch.tensor([1, 2, 3])),
        ShapeError,
        r"lengths \(3,\).*\(2,\)",
    ),
    "lengths high": (lambda: LinearChain(U, W, torch.tensor([5, 0])), GraftError, r"0\.\.4, not 0\.\.5"),
    "lengths low": (lambda: LinearChain(U, W, torch.tensor([-1, 0])), GraftError, r"0\.\.4"),
    "lengths float": (lambda: LinearChain(U, W, torch.tensor([1.0, 0.0])), GraftError, "integers"),
    "mask shape": (lambda: LinearChain(U, W, mask=ALL[:, :3]), ShapeError, r"mask \(2, 3\).*\(2, 4\)"),
    "mask type": (lambda: LinearChain(U, W, mask=ALL.long()), GraftError, "bool"),
    "unary inf": (lambda: LinearChain(BAD_U, W), GraftError, r"unary is NaN or \+inf.*\[0, 2, 0\]"),
    "pairwise nan": (lambda: LinearChain(U, BAD_W), GraftError, "pairwise is NaN"),
    "entry nan": (lambda: LinearChain(U, BAD_W.expand(2, 3, 3, 3)), GraftError, r"\[0, 0, 1, 0\]"),
    **{f"k, {k!r}": (lambda k=k: LinearChain(U, W).top_k(k), GraftError, "positive") for k in (0, True, 2.0)},
    **{f"draws, {n!r}": (lambda n=n: LinearChain(U, W).sample(n), GraftError, "draws") for n in (-1, 2.0, (2, -1))},
    "start nan": (lambda: LinearChain(U, W, start=U[:, 0] * NAN), GraftError, "start is NaN"),
    "state high": (lambda: LinearChain(U, W).score(ALL.long() * 3), GraftError, r"0\.\.2 .*not 3\.\.3"),
    "state low": (lambda: LinearChain(U, W).log_prob(ALL.long() * -100), GraftError, r"0\.\.2"),
    "states shape": (lambda: LinearChain(U, W).score(torch.zeros(3).long()), ShapeError, r"\(3,\).*\(2, 4\)"),
    "states batch": (lambda: LinearChain(U, W).score(torch.zeros(3, 4).long()), ShapeError, r"\(3, 4\)"),
    "states float": (lambda: LinearChain(U, W).score(torch.zeros(2, 4)), GraftError, "integers"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    call, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message):
        call()


def test_top_k_is_sorted_in_float32_where_sequences_nearly_tie():
    u = 1e3 + torch.rand(50, 12, 3, generator=torch.Generator().manual_seed(0)) * 1e-3
    states, scores = LinearChain(u, torch.zeros(3, 3)).top_k(40)
    assert (scores.diff(dim=0) <= 0).all()
    assert all(len(set(map(tuple, row))) == 40 for row in states.transpose(0, 1).tolist())


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
@pytest.mark.parametrize("existence", [None, "lengths", "mask"])
def test_tags_of_a_scheme_leave_the_legal_sequences(scheme, existence):
    tags = tags_of(["NP"], scheme)
    may, length = allowed(tags, scheme), 4
    start, pairs, end = (torch.zeros(x.shape).masked_fill(~x, NEG_INF) for x in (may.first, may.pairs, may.last))
    there = torch.tensor([True, True, existence is None, existence != "lengths"])
    kept = {"lengths": torch.tensor(2)} if existence == "lengths" else {} if existence is None else {"mask": there}
    d = LinearChain(torch.zeros(length, len(tags)), pairs, start=start, end=end, **kept)
    legal = 0
    for names in itertools.product(tags, repeat=int(there.sum())):
        with suppress(DataError):
            decode(names, scheme)
            legal += 1
    assert legal > 1
    torch.testing.assert_close(d.log_partition.exp(), torch.tensor(float(legal)))
    states, scores = d.top_k(legal + 3)
    assert (scores > NEG_INF).sum() == legal
    for row in states[:legal]:
        decode([tags[i] for i in row[there].tolist()], scheme)


@pytest.mark.parametrize("name", ["holes", "lengths, shared", "zeros, holes", "two batch dims", "no element"])
def test_start_and_end_scores_stand_at_the_ends_that_exist(name):
    unary, pairwise, mask = make(name)
    generator = torch.Generator().manual_seed(0)
    shape = (*unary.shape[:-2], unary.shape[-1])
    start, end = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    time = torch.arange(unary.shape[-2])
    first = mask & (mask.cumsum(-1) == 1)
    last = mask & (mask.flip(-1).cumsum(-1).flip(-1) == 1)
    assert time.numel() == 0 or first.any()
    moved = unary + torch.where(first[..., None], start[..., None, :], 0.0)
    moved = moved + torch.where(last[..., None], end[..., None, :], 0.0)
    got, want = LinearChain(unary, pairwise, mask=mask, start=start, end=end), LinearChain(moved, pairwise, mask=mask)
    torch.testing.assert_close(got.log_partition, want.log_partition)
    torch.testing.assert_close(got.marginals, want.marginals)


@pytest.mark.parametrize(
    ("ends", "error"),
    [
        ({"start": torch.zeros(3)}, ShapeError),
        ({"end": torch.zeros(2, 2)}, ShapeError),
        ({"end": torch.tensor([0.0, NAN])}, GraftError),
        ({"start": torch.zeros(2, dtype=torch.long)}, GraftError),
    ],
    ids=["states", "batch", "nan", "integers"],
)
def test_bad_ends_are_named(ends, error):
    with pytest.raises(error, match=next(iter(ends))):
        LinearChain(torch.zeros(3, 4, 2), torch.zeros(2, 2), **ends)

"""Laws of the compiled chain kernels: they equal log-space sums in double precision, whatever the potentials."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import pytest
import torch
from tests.reference.chain import Enumerated
from torch.autograd import grad

from graft.ops import chain, chain_kernels
from graft.ops.chain_gradient import expected_counts, log_z, probabilities
from graft.structured.linear_chain import LinearChain

np = pytest.importorskip("numpy")
pytest.importorskip("numba")
from graft.ops.cpu import compile as compiling  # noqa: E402
from graft.ops.cpu import vectors  # noqa: E402
from graft.ops.cpu.choose import Swept  # noqa: E402
from graft.ops.cpu.product import product  # noqa: E402

NEG_INF = float("-inf")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])


@dataclass(frozen=True)
class Case:
    """How to make potentials: `size` (b, T, S), `own` tables per row, `vary` over time, spreads, shares of `-inf`."""

    size: tuple[int, int, int] = (7, 11, 5)
    own: bool = False
    vary: bool = False
    unary: float = 2.0
    pairwise: float = 1.0
    zeros: float = 0.0
    shift: float = 0.0
    mixed: bool = False
    way: str | None = None


TABLE = {
    "plain": Case(way="linear space, float32"),
    "one state": Case(size=(3, 6, 1)),
    "one step": Case(size=(3, 1, 4)),
    "one row, long": Case(size=(1, 600, 3)),
    "a register": Case(size=(9, 20, 16)),
    "a register and one": Case(size=(17, 10, 17)),
    "many states": Case(size=(3, 6, 130)),
    "tables by row": Case(own=True),
    "tables by step": Case(vary=True, way="linear space, float32"),
    "tables by row and step": Case(own=True, vary=True, size=(5, 9, 18)),
    "emissions far apart": Case(unary=300.0, way="linear space, float32"),
    "transitions far apart": Case(pairwise=8.0, way="linear space, float64"),
    "transitions very far apart": Case(pairwise=200.0, way="log space"),
    "wide, by step": Case(vary=True, pairwise=20.0, unary=20.0),
    "huge": Case(unary=1e4, pairwise=1e4, way="log space"),
    "shifted up": Case(shift=1e4),
    "shifted down": Case(shift=-1e4),
    "zeros": Case(zeros=0.3, way="linear space, float32"),
    "zeros, by step": Case(zeros=0.3, vary=True, own=True),
    "zeros, far apart": Case(zeros=0.4, unary=10.0, pairwise=10.0),
    "zeros, very far apart": Case(zeros=0.4, unary=1e4, pairwise=300.0, size=(12, 9, 4)),
    "mostly zeros": Case(zeros=0.8, size=(20, 6, 4)),
    "mixed": Case(mixed=True, size=(12, 14, 4)),
    "mixed, by step": Case(mixed=True, size=(12, 14, 4), own=True, vary=True),
    "mixed, zeros": Case(mixed=True, zeros=0.3, size=(12, 14, 4)),
}
cases = pytest.mark.parametrize("name", TABLE)
short_cases = pytest.mark.parametrize("name", [name for name, case in TABLE.items() if case.size[1] < 100])


def make(name: str, dtype: torch.dtype, seed: int = 0):
    """unary, pairwise, lengths; every spread is drawn anew for each line in the mixed cases."""
    case, generator = TABLE[name], torch.Generator().manual_seed(seed)
    size, steps, states = case.size

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def some(shape, scale):
        x = normal(*shape) * scale + case.shift
        if case.mixed:
            x = x * 10 ** (torch.rand(*shape[:-1], 1, generator=generator, dtype=torch.float64) * 4 - 1)
        return x.masked_fill(torch.rand(shape, generator=generator) < case.zeros, NEG_INF)

    u = some((size, steps, states), case.unary)
    w = some((size if case.own else 1, max(steps - 1, 1) if case.vary else 1, states, states), case.pairwise)
    lengths = torch.randint(0, steps + 1, (size,), generator=generator)
    lengths[0] = steps
    return u.to(dtype), w.to(dtype), lengths


def reference(u, w, lengths, weight):
    """log Z and weighted gradients, in log space and double precision."""
    u, w = u.double(), w.double()
    every = w[:, :0] if u.shape[1] == 1 else w.expand(-1, u.shape[1] - 1, -1, -1)
    value = chain.log_partition(chain.forward(u, every, lengths), lengths)
    single, pairs = probabilities(u, every, lengths)
    by_pair = weight[:, None, None, None] * pairs
    by_pair = by_pair.sum_to_size(w.shape) if by_pair.shape[1] else torch.zeros_like(w)
    return value, weight[:, None, None] * single, by_pair


def close(got, want, relative, absolute=None):
    assert got.shape == want.shape
    finite = want.isfinite()
    assert torch.equal(got.double()[~finite], want[~finite])
    bound = relative if absolute is None else absolute
    bound = relative * want.abs() + bound if absolute is None else bound
    error = (got.double() - want).abs().where(finite, 0.0)
    assert (error <= bound).all(), float(error.max())


@DTYPES
@cases
@pytest.mark.parametrize("seed", [0, 1])
def test_kernels_equal_log_space(name, dtype, seed):
    u, w, lengths = make(name, dtype, seed)
    weight = torch.randn(len(u), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    value, by_unary, by_pairwise = reference(u, w, lengths, weight)
    u, w = u.requires_grad_(), w.requires_grad_()
    got = log_z(u, w, lengths)
    single = dtype == torch.float32
    close(got, value, 1e-6 if single else 1e-12)
    found = grad(torch.where(got > NEG_INF, got, 0.0), (u, w), weight.to(dtype))
    # counts are sums over rows and steps
    close(found[0], by_unary, 0.0, 2e-5 if single else 1e-9)
    close(found[1], by_pairwise, 0.0, 2e-5 * (1 + lengths.sum().item() / 20) if single else 1e-9)


@DTYPES
@cases
def test_best_paths_have_the_best_scores(name, dtype):
    u, w, lengths = make(name, dtype, 2)
    every = w[:, :0] if u.shape[1] == 1 else w.expand(-1, u.shape[1] - 1, -1, -1)
    _, want = chain.viterbi(u.double(), every.double(), lengths)
    states, score = chain_kernels.best_paths(u, w, lengths)
    close(score, want, 1e-6 if dtype == torch.float32 else 1e-12)
    possible = want > NEG_INF
    d = LinearChain(
        u[possible].double(), every[possible if len(every) > 1 else slice(None)].double(), lengths[possible]
    )
    close(d.score(states[possible]), want[possible], 1e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("name", [name for name, case in TABLE.items() if case.way])
def test_the_narrowest_arithmetic_that_holds_is_chosen(name):
    u, w, lengths = make(name, torch.float32)
    assert {part.way for part in Swept(u, w, lengths).parts} == {TABLE[name].way}


@DTYPES
@pytest.mark.parametrize("vary", [False, True], ids=["table", "by step"])
@pytest.mark.parametrize("zeros", [0.0, 0.5], ids=["dense", "zeros"])
def test_near_the_thresholds(dtype, vary, zeros):
    """Spreads from well below to well above where the arithmetic changes; every one is right."""
    generator, size = torch.Generator().manual_seed(5), (3, 12, 3)
    for spread in [*range(5, 100, 6), *range(150, 700, 45)]:
        u = torch.rand(*size, generator=generator, dtype=dtype) * spread
        w = (torch.rand(1, 11 if vary else 1, 3, 3, generator=generator) < 0.5).to(dtype) * -spread
        w[torch.rand(w.shape, generator=generator) < zeros] = NEG_INF
        lengths, weight = torch.tensor([12, 12, 7]), torch.ones(3, dtype=torch.float64)
        value, by_unary, by_pairwise = reference(u, w, lengths, weight)
        found = Swept(u, w, lengths)
        single = dtype == torch.float32
        close(torch.from_numpy(found.log_z), value, 1e-6 if single else 1e-12)
        for got, want in zip(found.gradients(weight), (by_unary, by_pairwise), strict=True):
            close(got, want, 0.0, 1e-4 if single else 1e-9)


@pytest.mark.parametrize("detour", [1, 2, 3])
@DTYPES
def test_a_detour_that_looks_lost_and_pays_later(dtype, detour):
    """A state entered and left by `detour` faint steps each, worth more in the end than all that is not faint.

    Messages of linear space forget it, in both directions; nothing in them tells.
    """
    states, steps = 2 * detour + 1, 40
    w = torch.full((states, states), NEG_INF, dtype=dtype)
    for i in range(states):
        w[i, (i + 1) % states] = -60.0 if dtype == torch.float32 else -400.0
    w[0, 0] = w[detour, detour] = 0.0
    u = torch.zeros(1, steps, states, dtype=dtype)
    u[0, 10:30, detour] = 40.0 if dtype == torch.float32 else 300.0
    lengths, one = torch.tensor([steps]), torch.ones(1, dtype=torch.float64)
    value, by_unary, _ = reference(u, w[None, None], lengths, one)
    assert by_unary[0, 20, detour] > 0.5
    found = Swept(u, w[None, None], lengths)
    close(torch.from_numpy(found.log_z), value, 1e-6)
    close(found.gradients(one)[0], by_unary, 0.0, 1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
def test_far_apart_two_by_two(dtype):
    w = torch.tensor([[0.0, -120.0], [-120.0, 0.0]], dtype=dtype, requires_grad=True)
    u = (torch.randn(4, 30, 2, generator=torch.Generator().manual_seed(0), dtype=dtype) * 20).requires_grad_()
    value, by_unary, by_pair = reference(
        u.detach(), w.detach()[None, None], torch.full((4,), 30), torch.ones(4).double()
    )
    got = LinearChain(u, w).log_partition
    close(got, value, 1e-6 if dtype == torch.float32 else 1e-12)
    found = grad(got.sum(), (u, w))
    close(found[0], by_unary, 0.0, 1e-6 if dtype == torch.float32 else 1e-9)
    close(found[1], by_pair[0, 0], 0.0, 1e-4 if dtype == torch.float32 else 1e-9)


def test_a_second_way_back_and_derivatives_of_derivatives():
    u, w, lengths = make("zeros", torch.float64)
    u, w = u.requires_grad_(), w.requires_grad_()
    value = log_z(u, w, lengths)
    total = torch.where(value > NEG_INF, value, 0.0).sum()
    once = grad(total, (u, w), retain_graph=True)
    twice = grad(total, (u, w), retain_graph=True)
    thrice = grad(total, (u, w), create_graph=True)
    for a, b, c in zip(once, twice, thrice, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c)
    assert grad(sum(x.square().sum() for x in thrice), u)[0].isfinite().all()


def test_without_a_compiler_torch_serves(monkeypatch):
    u, w, lengths = make("mixed", torch.float32)
    want = log_z(u, w, lengths)
    assert chain_kernels.chosen(u, w) == "compiled"
    monkeypatch.setattr(chain_kernels, "compiler", lambda: False)
    assert chain_kernels.chosen(u, w) == "torch"
    torch.testing.assert_close(log_z(u, w, lengths), want, rtol=1e-5, atol=1e-5)


def test_threads_share_rows_and_do_not_meet():
    """Sweeps from several threads at once, each shared among threads: all give what one gives."""
    before = torch.get_num_threads()
    generator = torch.Generator().manual_seed(0)
    u, w = torch.randn(64, 60, 40, generator=generator), torch.randn(1, 1, 40, 40, generator=generator)
    lengths, weight = torch.full((64,), 60), torch.ones(64)
    torch.set_num_threads(1)
    want = Swept(u, w, lengths)
    gradients, found = want.gradients(weight), []

    def work():
        for _ in range(4):
            swept = Swept(u, w, lengths)
            found.append((swept.log_z, *swept.gradients(weight)))

    try:
        torch.set_num_threads(2)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        torch.set_num_threads(before)
    assert len(found) == 12
    for value, single, pairs in found:
        assert (value == want.log_z).all()
        assert torch.equal(single, gradients[0])
        torch.testing.assert_close(pairs, gradients[1], rtol=1e-5, atol=1e-5)


def test_expected_counts_are_sums_of_pair_marginals():
    u, w, lengths = make("plain", torch.float64)
    lengths = lengths.clamp_min(1)
    d = LinearChain(u, w[0, 0], lengths)
    torch.testing.assert_close(d.expected_counts, d.pair_marginals.sum(-3), rtol=0, atol=1e-12)
    counts, score = expected_counts(u, w, lengths)
    torch.testing.assert_close(score, d.log_partition)
    torch.testing.assert_close(counts.sum((-2, -1)), (lengths - 1).double())


@pytest.mark.parametrize("name", ["plain", "zeros"])
def test_divergence_is_the_sum_over_sequences(name):
    generator = torch.Generator().manual_seed(3)
    u, v = torch.randn(2, 3, 4, 3, generator=generator, dtype=torch.float64)
    w, x = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    if name == "zeros":
        w[0, 1] = u[1, 2, 0] = NEG_INF
    mask = torch.tensor([[True] * 4, [True, False, True, True], [False] * 4])
    got = LinearChain(u, w, mask=mask).kl(LinearChain(v, x, mask=mask))
    for row in range(3):
        p, q = (Enumerated(a[row].tolist(), [b.tolist()] * 3, mask[row].tolist()) for a, b in ((u, w), (v, x)))
        want = sum(
            p.prob(y) * (s - p.log_partition - q.scores[y] + q.log_partition)
            for y, s in p.scores.items()
            if s > NEG_INF
        )
        assert abs(got[row].item() - want) < 1e-10
    forbids = LinearChain(v.masked_fill(v == v[0, 0, 0], NEG_INF), x, mask=mask)
    assert LinearChain(u, w, mask=mask).kl(forbids)[0] == math.inf


@DTYPES
@short_cases
def test_lists_hold_the_best_scores_in_order(name, dtype):
    u, w, lengths = make(name, dtype, 3)
    every = chain_kernels.every_step(u, w)
    _, want = chain.k_best(u.double(), every.double(), lengths, 4)
    states, scores = chain_kernels.best_lists(u, w, lengths, 4)
    exact = 1e-5 if dtype == torch.float32 else 1e-12
    close(scores, want, exact)
    there = torch.arange(u.shape[1]) < lengths[:, None]
    assert (states.masked_select(~there.expand_as(states)) == 0).all()
    kept = scores > NEG_INF
    again = score(u.double(), every.double(), lengths, states)
    close(again[kept], want[kept], exact)
    same = (states[:, None] == states).all(-1) & kept[:, None] & kept
    assert (same.sum((0, 1)) == kept.sum(0)).all(), "a sequence is listed twice"


def score(u, w, lengths, states):
    """Of sequences (k, b, T), without what is beyond lengths."""
    there = torch.arange(u.shape[1]) < lengths[:, None]
    rows, time = torch.arange(len(u))[:, None], torch.arange(u.shape[1])
    nodes = u[rows, time, states].where(there, 0.0).sum(-1)
    own = w.expand(len(u), -1, -1, -1)
    edges = own[rows, time[:-1], states[..., :-1], states[..., 1:]]
    return nodes + edges.where(there[:, 1:], 0.0).sum(-1)


@DTYPES
@short_cases
def test_pairs_equal_log_space(name, dtype):
    u, w, lengths = make(name, dtype, 4)
    value, _, _ = reference(u, w, lengths, torch.ones(len(u)).double())
    _, want = probabilities(u.double(), chain_kernels.every_step(u, w).double(), lengths)
    pairs, log_z = chain_kernels.pair_marginals(u, w, lengths)
    close(log_z, value, 1e-6 if dtype == torch.float32 else 1e-12)
    close(pairs, want, 0.0, 2e-5 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("name", [name for name, case in TABLE.items() if case.size[1] < 20 and case.size[2] < 20])
def test_draws_follow_the_marginals_of_elements_and_pairs(name):
    """Fails a right sampler with probability below 1e-3: fewer than 2e5 cells, each at 2 exp(-20) by Bernstein."""
    u, w, lengths = make(name, torch.float32, 5)
    count, states = 2000, u.shape[2]
    single, pairs = probabilities(u.double(), chain_kernels.every_step(u, w).double(), lengths)
    drawn, log_z = chain_kernels.draws(u, w, lengths, count, torch.Generator().manual_seed(0))
    possible = (log_z > NEG_INF) & (lengths > 0)
    there = torch.arange(u.shape[1]) < lengths[:, None]
    assert (drawn.masked_select(~there.expand_as(drawn)) == 0).all()
    hot = torch.nn.functional.one_hot(drawn, states).double()
    for seen, p, rows in (
        (hot.mean(0), single, there),
        (torch.einsum("nbti,nbtj->btij", hot[:, :, :-1], hot[:, :, 1:]) / count, pairs, there[:, 1:]),
    ):
        seen, p = seen[possible], p[possible]
        rows = rows[possible].reshape(*rows[possible].shape, *[1] * (p.dim() - 2))
        bound = (40 / count * p * (1 - p).clamp_min(0)).sqrt() + 14 / count
        assert ((seen - p).abs() <= bound).where(rows, True).all()
        assert (seen[(p == 0) & rows] == 0).all()


def test_draws_do_not_depend_on_threads():
    before, generator = torch.get_num_threads(), torch.Generator()
    u, w = torch.randn(40, 60, 12, generator=generator.manual_seed(0)), torch.randn(1, 1, 12, 12)
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(chain_kernels.draws(u, w, torch.full((40,), 60), 30, generator.manual_seed(1))[0])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@DTYPES
@short_cases
def test_entropies_equal_sums_of_conditional_ones(name, dtype, monkeypatch):
    """The quick way, where it is taken, and the one that sums conditional entropies give the same."""
    u, w, lengths = make(name, dtype, 6)
    value, _, _ = reference(u, w, lengths, torch.ones(len(u)).double())
    kept = value > NEG_INF
    u, w, lengths = u[kept], (w[kept] if len(w) > 1 else w), lengths[kept]
    v = u + torch.randn(u.shape, generator=torch.Generator().manual_seed(0)).to(dtype)

    def ask(u, v, w):
        p = LinearChain(u, w, lengths)
        return p.entropy(), p.kl(LinearChain(v, w, lengths))

    got = ask(u, v, w)
    monkeypatch.setattr(chain_kernels, "compiler", lambda: False)
    for found, want in zip(got, ask(u.double(), v.double(), w.double()), strict=True):
        assert (found >= 0).all()
        close(found, want, 1e-6 if dtype == torch.float32 else 1e-9, 1e-4 if dtype == torch.float32 else 1e-8)


def test_one_table_for_all_steps_may_differ_by_row():
    u, w, _ = make("tables by row", torch.float64)
    table, steps = LinearChain(u, w), LinearChain(u, w.expand(-1, u.shape[1] - 1, -1, -1))
    torch.testing.assert_close(table.log_partition, steps.log_partition)
    assert torch.equal(table.mode(), steps.mode())
    torch.testing.assert_close(table.expected_counts, steps.pair_marginals.sum(-3))


@DTYPES
def test_exponential_is_right_to_the_last_digits(dtype):
    lowest = -87.0 if dtype == torch.float32 else -708.0
    x = torch.cat([torch.linspace(lowest, 0, 4096, dtype=dtype), -torch.logspace(-9, 0, 1024, dtype=dtype)])
    below = torch.tensor([NEG_INF, 2 * lowest, -1e30, 0.0] * 8, dtype=dtype)
    got = []
    for values in (x, below):
        array = values.numpy().copy()
        EXPONENTIAL(array)
        got.append(array)
    want = np.exp(x.numpy().astype(np.longdouble))
    assert (abs(got[0] - want) / want).max() <= torch.finfo(dtype).eps
    assert got[1].tolist() == [0.0, 0.0, 0.0, 1.0] * 8


@compiling.compiled
def EXPONENTIAL(x):
    for at in range(0, x.size, vectors.lanes(x)):
        vectors.store(x, at, vectors.exp(vectors.load(x, at)))


@DTYPES
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 15])
@pytest.mark.parametrize("columns", [16, 32, 48])
def test_products_of_blocks(dtype, rows, columns):
    generator = torch.Generator().manual_seed(rows)
    a, b = (torch.rand(n, m, generator=generator, dtype=dtype) for n, m in ((rows, 24), (24, columns)))
    c = torch.rand(rows, columns, generator=generator, dtype=dtype)
    want = c + a @ b
    flat = [x.numpy().reshape(-1) for x in (c, a, b)]
    product(flat[0], 0, columns, flat[1], 0, 24, 1, flat[2], 0, columns, rows, columns, 24, True)
    torch.testing.assert_close(c, want)
    product(flat[0], 0, columns, flat[1], 0, 24, 1, flat[2], 0, columns, rows, columns, 24, False)
    torch.testing.assert_close(c, a @ b)

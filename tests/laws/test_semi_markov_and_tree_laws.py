"""Laws of all distributions over segmentations and trees against enumeration; a new entry is tested by being listed."""

from __future__ import annotations

import math

import pytest
import torch
from tests.reference.structure_cases import CASES, FAMILIES, build, make, of_row, rows
from torch.autograd import grad, gradcheck, gradgradcheck

from graft.structured.semi_markov import SemiMarkov

NEG_INF, NAN = float("-inf"), float("nan")
cases = pytest.mark.parametrize("name", CASES)
SOME = [
    *("everything", "last segment", "lengths, segments", "holes, everything", "zeros, holes", "two batch dims"),
    *("hidden, zeros", "trees, zeros and holes", "trees, holes", "trees, two batch dims"),
    *("spanning trees, holes", "spanning trees, one root, zeros", "spanning trees, one root, lengths"),
]
SPANNING = ["spanning trees, small", "spanning trees, one root, small"]
some = pytest.mark.parametrize("name", SOME)


def close(got: torch.Tensor, want: list, shape: tuple[int, ...]) -> None:
    want = torch.tensor(want, dtype=torch.float64).reshape(shape)
    assert got.shape == want.shape
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def dense(counts: dict, shape: tuple[int, ...]) -> list:
    found = torch.zeros(shape, dtype=torch.float64)
    for index, value in counts.items():
        found[index] = value
    return found.tolist()


def names(name: str) -> dict[str, tuple[int, ...]]:
    """The tables of expectations of a case, with their shapes; an empty row does not know its labels."""
    case = CASES[name]
    if rows(name) and case.length:
        return rows(name)[0].shapes
    return {"marginals": (case.length, case.length if case.family == "spanning tree" else case.states)}


def packed(name: str, keys: list[tuple], shape: tuple[int, ...]):
    """Structures as the distribution takes them."""
    parts = [torch.tensor(part, dtype=torch.long).reshape(shape) for part in zip(*keys, strict=True)]
    return FAMILIES[CASES[name].family].pack(tuple(parts))


def keys(name: str, structure) -> list[list[tuple]]:
    """Structures of a batch, row by row, with whatever leads."""
    parts = FAMILIES[CASES[name].family].unpack(structure)
    lead = math.prod(parts[0].shape[: -1 - len(CASES[name].batch)])
    flat = [part.reshape(lead, len(rows(name)), CASES[name].length).transpose(0, 1).tolist() for part in parts]
    return [[tuple(map(tuple, y)) for y in zip(*row, strict=True)] for row in zip(*flat, strict=True)]


@cases
def test_log_partition_and_entropy(name):
    d = build(name)
    close(d.log_partition, [row.log_partition for row in rows(name)], CASES[name].batch)
    close(d.entropy(), [row.entropy() for row in rows(name)], CASES[name].batch)


@cases
def test_expectations(name):
    d = build(name)
    for table, shape in names(name).items():
        want = [dense(row.expected(table), shape) for row in rows(name)]
        close(getattr(d, table), want, (*CASES[name].batch, *shape))


@cases
def test_divergence(name):
    want = [p.kl(q) for p, q in zip(rows(name), rows(name, seed=1), strict=True)]
    close(build(name).kl(build(name, seed=1)), want, CASES[name].batch)
    assert (build(name).kl(build(name)) == 0).all()


@cases
def test_mode_is_the_best_structure(name):
    found = keys(name, build(name).mode())
    assert all(row.scores[y] > row.ranked()[0][0] - 1e-9 for (y,), row in zip(found, rows(name), strict=True))


@pytest.mark.parametrize("name", [name for name in CASES if hasattr(build(name), "top_k")])
@pytest.mark.parametrize("k", [2, 40])
def test_top_k_lists_the_best_structures_in_order(name, k):
    structures, scores = build(name).top_k(k)
    ranked = [row.ranked()[:k] for row in rows(name)]
    want = [[s for s, _ in best] + [NEG_INF] * (k - len(best)) for best in ranked]
    scores = scores.reshape(k, -1).T
    torch.testing.assert_close(scores, torch.tensor(want, dtype=torch.float64).reshape(-1, k))
    for row, got, best, given in zip(rows(name), keys(name, structures), ranked, scores.tolist(), strict=True):
        real = got[: len(best)]
        assert len(set(real)) == len(best)  # of equal ones any may come first, but each once
        assert all(abs(row.scores[y] - s) < 1e-9 for y, s in zip(real, given, strict=False))
        assert not any(any(part) for y in got[len(best) :] for part in y)


@cases
def test_log_prob_sums_to_one_over_all_structures(name):
    case, d = CASES[name], build(name)
    most = max((len(row.scores) for row in rows(name)), default=0)
    if most == 0:
        return
    # rows have different supports: the last structure of a row stands in for those it lacks
    listed = [list(row.scores) for row in rows(name)]
    padded = [each + each[-1:] * (most - len(each)) for each in listed]
    structures = packed(
        name, [y for k in range(most) for y in (each[k] for each in padded)], (most, *case.batch, case.length)
    )
    got = d.log_prob(structures)
    want = [
        [row.scores[y] - row.log_partition for row, y in zip(rows(name), ys, strict=True)]
        for ys in zip(*padded, strict=True)
    ]
    close(got, want, (most, *case.batch))
    for row, each in enumerate(listed):
        total = got.reshape(most, -1)[: len(each), row].exp().sum().item()
        assert abs(total - 1) < 1e-9


@cases
def test_samples_are_possible_and_repeatable(name):
    d = build(name)
    structure = d.sample((2, 3), generator=torch.Generator().manual_seed(0))
    again = d.sample((2, 3), generator=torch.Generator().manual_seed(0))
    assert keys(name, structure) == keys(name, again)
    assert (d.log_prob(structure) > NEG_INF).all()
    assert d.log_prob(structure).shape == (2, 3, *CASES[name].batch)


@some
def test_samples_follow_the_distribution(name):
    """Fails a correct sampler with probability below 1e-3: at most 1000 structures, each at 2 exp(-17) by Bernstein."""
    count = 1500
    found = keys(name, build(name).sample(count, generator=torch.Generator().manual_seed(1)))
    for row, drawn in zip(rows(name), found, strict=True):
        seen = dict.fromkeys(row.scores, 0)
        for y in drawn:
            seen[y] += 1
        for y, n in seen.items():
            p = row.prob(y)
            assert abs(n / count - p) <= math.sqrt(34 / count * p * (1 - p)) + 12 / count
            assert n == 0 or p > 0


QUERIES = {
    "log_partition": lambda d, y: d.log_partition,
    "marginals": lambda d, y: d.marginals,
    "entropy": lambda d, y: d.entropy(),
    "log_prob": lambda d, y: d.log_prob(y),
    "score": lambda d, y: d.score(y),
}
queries = pytest.mark.parametrize("query", QUERIES)


def floats(name: str) -> dict[str, torch.Tensor]:
    return {k: x for k, x in make(name)[0].items() if x.is_floating_point()}


@pytest.mark.parametrize("query", ["log_partition", "marginals", "entropy", "log_prob"])
@pytest.mark.parametrize("name", ["small, everything", "trees, small", *SPANNING])
def test_derivatives_to_second_order(name, query):
    """Of what is finite; forbidden entries stay so. Hidden models differ by their checked tables alone."""
    leaves, y = make(name)[0], build(name).mode()
    given = floats(name)
    free = [torch.where(x == NEG_INF, 0.0, x).requires_grad_() for x in given.values()]

    def f(*values):
        kept = {k: v.masked_fill(x == NEG_INF, NEG_INF) for (k, x), v in zip(given.items(), values, strict=True)}
        return QUERIES[query](build(name, leaves | kept), y)

    assert gradcheck(f, free, fast_mode=True)
    assert gradgradcheck(f, free, fast_mode=True)


@cases
def test_gradients_of_the_log_partition_are_expected_counts_in_both_ways(name):
    """By hand, and by autograd through the same in a graph of its own, which forbids the compiled sweep."""
    leaves = {k: x.clone().requires_grad_() for k, x in floats(name).items()}
    value = build(name, make(name)[0] | leaves).log_partition.sum()
    by_hand = grad(value, list(leaves.values()), retain_graph=True, materialize_grads=True)
    taped = grad(value, list(leaves.values()), create_graph=True, materialize_grads=True)
    for one, two in zip(by_hand, taped, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-12)
        assert one.isfinite().all()
    second = grad(
        sum(x.square().sum() for x in taped), list(leaves.values()), materialize_grads=True, allow_unused=True
    )
    assert all(x.isfinite().all() for x in second)


@queries
@some
def test_ragged_batch_is_a_loop_over_members(name, query):
    case, (leaves, exists) = CASES[name], make(name)
    y = build(name).mode()
    parts = FAMILIES[case.family].unpack(y)
    whole = QUERIES[query](build(name), y)
    whole = whole.reshape(len(rows(name)), *whole.shape[len(case.batch) :])
    flat = exists.reshape(-1, case.length)
    for row in range(len(flat)):
        own = {k: of_row(name, k, x, row) for k, x in leaves.items()}
        single = tuple(part.reshape(-1, case.length)[row] for part in parts)
        alone = FAMILIES[case.family].build(case, own, mask=flat[row])
        got = QUERIES[query](alone, FAMILIES[case.family].pack(single))
        torch.testing.assert_close(got.reshape(whole[row].shape), whole[row], rtol=1e-12, atol=1e-12)


@queries
@pytest.mark.parametrize("rubbish", [NAN, math.inf], ids=str)
@pytest.mark.parametrize(
    "name", ["lengths", "holes", "left padding", "hidden, holes", "trees, lengths", "trees, holes"]
)
def test_padding_is_harmless(name, query, rubbish):
    leaves, exists = make(name)
    y = build(name).mode()
    leaf = next(leaf for leaf in ("emissions", "unary", "arcs") if leaf in leaves)
    spoilt = leaves[leaf].masked_fill(~exists[..., None], rubbish).requires_grad_()
    got = QUERIES[query](build(name, leaves | {leaf: spoilt}), y)
    torch.testing.assert_close(got, QUERIES[query](build(name), y))
    (found,) = grad(got.square().sum(), spoilt)
    assert found.isfinite().all()
    assert (found.masked_select(~exists[..., None]) == 0).all()


@queries
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@some
def test_queries_work_in_every_grad_mode(name, query, mode):
    y = build(name).mode()
    with mode():
        leaves = {k: x.clone() for k, x in make(name)[0].items()}
        got = QUERIES[query](build(name, leaves), y)
    torch.testing.assert_close(got, QUERIES[query](build(name), y))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ["everything", "trees, holes"])
def test_lower_precision_is_computed_in_double(name, dtype):
    leaves = {k: x.to(dtype) if x.is_floating_point() else x for k, x in make(name)[0].items()}
    exact = {k: x.double() if x.is_floating_point() else x for k, x in leaves.items()}
    got, want = build(name, leaves), build(name, exact)
    for query in ("log_partition", "marginals"):
        assert getattr(got, query).dtype == torch.float32
        torch.testing.assert_close(getattr(got, query), getattr(want, query).float())


def test_every_family_is_in_the_table():
    assert {case.family for case in CASES.values()} == set(FAMILIES)
    assert issubclass(type(build("hidden")), SemiMarkov)

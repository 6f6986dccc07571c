"""Laws of the sums of products behind general graphs: all ways equal enumeration, whatever the range."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch.autograd import grad, gradcheck, gradgradcheck

from graft.inference.ordering import best_order
from graft.ops.contraction import contract, layout
from graft.ops.contraction.linear import linear_space
from graft.ops.contraction.logs import log_space
from graft.ops.contraction.tree import tree

NEG_INF = float("-inf")


@dataclass(frozen=True)
class Case:
    """How to make random sums: `shared` is the share of tables that all rows have in common."""

    keys: int = 5
    tables: int = 6
    most: int = 3
    states: tuple[int, ...] = (2, 3)
    rows: int = 1
    shared: float = 0.0
    zeros: float = 0.0
    range: float = 2.0
    dtype: torch.dtype = torch.float64


TABLE = {
    "plain": Case(),
    "rows": Case(rows=4),
    "rows, some shared": Case(rows=4, shared=0.6),
    "all shared": Case(rows=3, shared=1.0),
    "no row": Case(rows=0),
    "zeros": Case(zeros=0.3),
    "zeros, rows": Case(zeros=0.4, rows=6, shared=0.4),
    "one state": Case(states=(1, 2, 3)),
    "one key": Case(keys=1, tables=3, most=1),
    "no table": Case(tables=0, keys=2),
    "many parts": Case(keys=7, tables=3, most=2),
    "dense": Case(keys=5, tables=12, most=4),
    "wide": Case(keys=4, tables=5, states=(3, 5), most=4),
    "far apart": Case(range=300.0, rows=3, shared=0.5),
    "farther": Case(range=1e4, rows=3),
    "farther, zeros": Case(range=1e4, rows=3, zeros=0.3),
    "single precision": Case(rows=3, shared=0.5, dtype=torch.float32),
    "single precision, far apart": Case(rows=3, range=1e3, dtype=torch.float32),
}
MANY = 12


@cache
def made(name: str, seed: int):
    """Tables, scopes, states of a random sum; every key has a table."""
    case, generator = TABLE[name], torch.Generator().manual_seed(1000 * seed + len(name))

    def pick(n: int) -> int:
        return int(torch.randint(n, (1,), generator=generator))

    keys = [f"k{i}" for i in range(case.keys)]
    states = {key: case.states[pick(len(case.states))] for key in keys}
    scopes = []
    for _ in range(case.tables):
        order = torch.randperm(case.keys, generator=generator).tolist()
        scopes.append(tuple(keys[i] for i in order[: pick(case.most + 1)]))
    read = {key for scope in scopes for key in scope}
    scopes += [(key,) for key in keys if key not in read]
    tables = []
    for scope in scopes:
        rows = 1 if float(torch.rand(1, generator=generator)) < case.shared else case.rows
        shape = (*(states[key] for key in scope), rows)
        table = case.range * torch.randn(shape, generator=generator, dtype=torch.float64)
        dead = torch.rand(shape, generator=generator) < case.zeros
        tables.append(table.masked_fill(dead, NEG_INF).to(case.dtype))
    return tables, scopes, states


def plan(scopes, states):
    return tree(scopes, states, best_order(scopes, states).keys)


def enumerated(tables, scopes, states, rows):
    """The log-weights of all assignments, (assignments, rows), and the assignments."""
    keys = list(states)
    found = []
    for chosen in itertools.product(*(range(states[key]) for key in keys)):
        at = dict(zip(keys, chosen, strict=True))
        total = torch.zeros(rows, dtype=torch.float64)
        for table, scope in zip(tables, scopes, strict=True):
            total = total + table.double()[tuple(at[key] for key in scope)]
        found.append(total)
    return torch.stack(found), list(itertools.product(*(range(states[key]) for key in keys)))


def lse(x):
    high = x.amax(0)
    high = torch.where(torch.isfinite(high), high, 0.0)
    return (x - high).exp().sum(0).log() + high


def tolerance(name, wanted):
    single = TABLE[name].dtype == torch.float32
    scale = 1 + wanted.abs().where(wanted.isfinite(), torch.zeros(())).max() if wanted.numel() else 1
    return float((3e-7 if single else 1e-12) * scale)


everything = pytest.mark.parametrize("name", TABLE)


@everything
def test_sums_equal_enumeration_by_every_way(name):
    rows = TABLE[name].rows
    for seed in range(MANY):
        tables, scopes, states = made(name, seed)
        t = plan(scopes, states)
        wanted = lse(enumerated(tables, scopes, states, rows)[0])
        bound = tolerance(name, wanted)
        value = contract.log_sum(tables, t, rows)
        assert value.dtype == TABLE[name].dtype
        assert torch.allclose(value.double(), wanted, rtol=0, atol=bound), (name, seed)
        assert torch.allclose(log_space(tables, t).double().expand(rows), wanted, rtol=0, atol=bound), (name, seed)
        found, proven = linear_space(tables, t)
        found, proven = found.expand(rows), proven.expand(rows)
        assert torch.allclose(found[proven], wanted[proven], rtol=0, atol=tolerance(name, wanted)), (name, seed)
        if TABLE[name].range < 10 and not TABLE[name].zeros:
            assert bool(proven.all()), "ordinary tables are summed in linear space"


@everything
def test_marginals_equal_enumeration(name):
    rows = TABLE[name].rows
    for seed in range(MANY):
        tables, scopes, states = made(name, seed)
        weights, assignments = enumerated(tables, scopes, states, rows)
        value, found = contract.marginals(tables, plan(scopes, states), rows, list(states))
        possible = value > NEG_INF
        p = (weights - lse(weights)).exp()
        for place, (key, mine) in enumerate(zip(states, found, strict=True)):
            wanted = torch.stack([p[[a[place] == s for a in assignments]].sum(0) for s in range(states[key])])
            close = torch.allclose(
                mine.double()[:, possible], wanted[:, possible], rtol=0, atol=tolerance(name, wanted)
            )
            assert close, (name, seed, key)


@everything
def test_gradients_are_those_of_log_space(name):
    rows = TABLE[name].rows
    for seed in range(MANY):
        tables, scopes, states = made(name, seed)
        t, weight = plan(scopes, states), torch.linspace(-1.0, 2.0, rows, dtype=TABLE[name].dtype)
        if not tables:
            continue
        mine = [table.clone().requires_grad_() for table in tables]
        theirs = [table.double().clone().requires_grad_() for table in tables]
        value, plain = contract.log_sum(mine, t, rows), log_space(theirs, t).expand(rows)
        found = grad((torch.where(value > NEG_INF, value, 0.0) * weight).sum(), mine)
        wanted = grad((torch.where(plain > NEG_INF, plain, 0.0) * weight).sum(), theirs, allow_unused=True)
        for a, b in zip(found, wanted, strict=True):
            b = torch.zeros_like(a) if b is None else b
            assert torch.allclose(a.double(), b.double(), rtol=0, atol=3 * tolerance(name, b)), (name, seed)


@pytest.mark.parametrize("name", ["plain", "rows, some shared", "zeros, rows", "farther", "many parts"])
def test_derivatives_of_derivatives(name):
    tables, scopes, states = made(name, 1)
    t, rows = plan(scopes, states), TABLE[name].rows
    finite = [table.clamp(min=-1e6).clamp(-3, 3).requires_grad_() for table in tables]
    assert gradcheck(lambda *x: contract.log_sum(x, t, rows), finite)
    assert gradgradcheck(lambda *x: contract.log_sum(x, t, rows), finite)
    keys = list(states)[:2]
    assert gradcheck(lambda *x: tuple(contract.marginals(x, t, rows, keys)[1]), finite)


@pytest.mark.parametrize("name", ["wide", "dense", "rows, some shared", "zeros, rows", "single precision", "farther"])
def test_large_pairs_by_matrix_products(name, monkeypatch):
    monkeypatch.setattr(layout, "LARGE", 4)
    monkeypatch.setattr(contract, "_layouts", type(contract._layouts)())
    test_sums_equal_enumeration_by_every_way(name)
    test_marginals_equal_enumeration(name)
    test_gradients_are_those_of_log_space(name)


@pytest.mark.parametrize("name", ["plain", "zeros, rows", "rows, some shared", "farther, zeros"])
def test_without_a_compiler(name, monkeypatch):
    monkeypatch.setattr(contract, "compiler", lambda: False)
    test_sums_equal_enumeration_by_every_way(name)
    test_marginals_equal_enumeration(name)
    test_gradients_are_those_of_log_space(name)


def test_a_detour_that_linear_space_forgets():
    """Both tables hold what matters at an entry that underflows beside their greatest one."""
    a, b = torch.tensor([[0.0], [-800.0]]), torch.tensor([[-900.0], [0.0]])
    t = tree([("x",), ("x",)], {"x": 2}, ["x"])
    assert float(contract.log_sum([a, b], t, 1)) == pytest.approx(-800.0)
    assert not bool(linear_space([a.double(), b.double()], t)[1])
    assert contract.marginals([a, b], t, 1, ["x"])[1][0][:, 0].tolist() == pytest.approx([0.0, 1.0])


def test_no_state_is_lost_beside_great_ones():
    """Messages in a chain of keys whose weights cross over: each table alone looks harmless."""
    step = torch.tensor([[0.0, -400.0], [-400.0, 0.0]], dtype=torch.float64)[..., None]
    first = torch.tensor([0.0, -600.0], dtype=torch.float64)[:, None]
    last = torch.tensor([-700.0, 0.0], dtype=torch.float64)[:, None]
    scopes = [("a",), ("a", "b"), ("b", "c"), ("c",)]
    t = tree(scopes, {"a": 2, "b": 2, "c": 2}, ["a", "b", "c"])
    tables = [first, step, step, last]
    value, (found,) = contract.marginals(tables, t, 1, ["b"])
    weights, _ = enumerated(tables, scopes, {"a": 2, "b": 2, "c": 2}, 1)
    assert float(value) == pytest.approx(float(lse(weights)), abs=1e-9)
    p = (weights - lse(weights)).exp()[:, 0].reshape(2, 2, 2).sum((0, 2))
    assert torch.allclose(found[:, 0], p, atol=1e-12)


def test_where_products_are_hardly_numbers():
    """The best product of a step lies between the smallest normal number and zero: its reciprocal overflows."""
    t = tree([("a",), ("a", "b")], {"a": 2, "b": 2}, ["a", "b"])
    for d in range(690, 760):
        tables = [torch.tensor([0.0, -d])[:, None], torch.tensor([[-d, -d], [0.0, 0.0]])[..., None]]
        value, found = contract.marginals(tables, t, 1, ["a"])
        assert float(value) == pytest.approx(-d + math.log(4), rel=1e-6), d
        assert found[0][:, 0].tolist() == pytest.approx([0.5, 0.5])
        assert float(contract.log_sum(tables, t, 1)) == pytest.approx(-d + math.log(4), rel=1e-6), d


def test_rows_do_not_disturb_each_other():
    tables, scopes, states = made("zeros, rows", 3)
    t, rows = plan(scopes, states), TABLE["zeros, rows"].rows
    value, found = contract.marginals(tables, t, rows, list(states))
    for row in range(rows):
        own = [table[..., row : row + 1] if table.shape[-1] > 1 else table for table in tables]
        one, single = contract.marginals(own, t, 1, list(states))
        assert torch.allclose(value[row], one[0], rtol=0, atol=1e-12)
        if one[0] > NEG_INF:
            for a, b in zip(found, single, strict=True):
                assert torch.allclose(a[:, row], b[:, 0], rtol=0, atol=1e-12)


def test_keys_go_as_soon_as_nothing_reads_them():
    t = tree([("a", "b"), ("b", "c"), ("c", "d")], dict.fromkeys("abcd", 2), ["d", "c", "b", "a"])
    assert all(len(scope) <= 2 for scope in t.scopes) and t.multiplications <= 4 + 8 + 8 + 4
    assert [t.scopes[root] for root in t.roots] == [()]

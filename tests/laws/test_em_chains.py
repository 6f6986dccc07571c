"""The compiled E-step of chains and mixtures equals the general one, on models and data that break others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from graft import Missing, Model
from graft.errors import ImpossibleEvidence
from graft.factors import Categorical, Gaussian, Mixture
from graft.factors.maximise_prior import GaussianPrior, PseudoCounts
from graft.objectives import EM
from graft.objectives.em import Expected
from graft.ops.chain_kernels import compiler

pytestmark = pytest.mark.skipif(not compiler(), reason="kernels need numba")
RAGGED = torch.tensor([9, 1, 0, 4, 9, 2, 0, 1, 3, 8, 7, 9, 9, 5, 6, 1, 2, 9, 4, 3])


def data(rows: int, steps: int, width: int, far: float = 3.0) -> torch.Tensor:
    return torch.randn(rows, steps, width) + far * torch.randint(0, 3, (rows, steps, 1))


def chain(emission: nn.Module, states: int, zeros: bool = False) -> Model:
    move = torch.rand(states, states) + 0.1
    start = torch.rand(states) + 0.1
    if zeros:
        move, start = move.triu(), torch.where(torch.arange(states) == 0, start, 0.0)
    move, start = move / move.sum(1, keepdim=True), start / start.sum()
    return Model({"s[0]": Categorical(probs=start), "s[t] | s[t-1]": Categorical(probs=move), "y[t] | s[t]": emission})


def gaussian(states: int, width: int, kind: str = "diag", **settings) -> Gaussian:
    return Gaussian(dim=width, given=states, covariance=kind, loc=2 * torch.randn(states, width), **settings)


@dataclass(frozen=True)
class Case:
    """A model and its data; whether the first E-step is one of the compiled ones, and in lanes."""

    model: Callable[[], Model]
    data: Callable[[], dict]
    lanes: bool = True


def ragged(width: int = 2, **more) -> Callable[[], dict]:
    return lambda: {"y": data(20, 9, width), "lengths": RAGGED, **more}


TABLE = {
    **{
        f"{kind}, {states} states": Case(
            lambda kind=kind, states=states: chain(gaussian(states, 2, kind), states), ragged()
        )
        for kind in ("diag", "full", "spherical", "tied")
        for states in (1, 3, 9)
    },
    "few rows": Case(lambda: chain(gaussian(3, 2), 3), lambda: {"y": data(2, 30, 2)}, lanes=False),
    "one element each": Case(lambda: chain(gaussian(3, 2), 3), lambda: {"y": data(40, 1, 2)}),
    "no rows with elements": Case(
        lambda: chain(gaussian(3, 2), 3), lambda: {"y": data(8, 3, 2), "lengths": torch.zeros(8, dtype=torch.int64)}
    ),
    "forbidden moves": Case(lambda: chain(gaussian(4, 1), 4, zeros=True), ragged(1)),
    "forbidden moves, far emissions": Case(
        lambda: chain(gaussian(4, 1, scale=torch.tensor(0.02)), 4, zeros=True), ragged(1), lanes=False
    ),
    "far emissions": Case(lambda: chain(gaussian(4, 3, scale=torch.tensor(0.02)), 4), ragged(3)),
    "moves hardly ever": Case(
        lambda: Model(
            {
                "s[0]": Categorical(2),
                "s[t] | s[t-1]": Categorical(logits=torch.tensor([[0.0, -400.0], [-300.0, 0.0]])),
                "y[t] | s[t]": gaussian(2, 2),
            }
        ),
        ragged(),
        lanes=False,
    ),
    "a state nobody visits": Case(
        lambda: chain(Gaussian(dim=1, given=3, loc=torch.tensor([[0.0], [3.0], [1e3]])), 3), ragged(1)
    ),
    "data far from 0": Case(lambda: chain(gaussian(3, 2), 3), lambda: {"y": data(20, 9, 2) + 1e3}),
    "missing cells": Case(
        lambda: chain(gaussian(3, 3), 3),
        lambda: {"y": Missing(data(20, 9, 3), torch.rand(20, 9, 3) < 0.3), "lengths": RAGGED},
    ),
    "a mask": Case(lambda: chain(gaussian(3, 2), 3), lambda: {"y": data(20, 9, 2), "mask": torch.rand(20, 9) < 0.7}),
    "a plate of chains": Case(
        lambda: Model(
            {"s[n,0]": Categorical(3), "s[n,t] | s[n,t-1]": Categorical(3, given=3), "y[n,t] | s[n,t]": gaussian(3, 2)}
        ),
        lambda: {"y": data(18, 7, 2).reshape(2, 9, 7, 2)},
    ),
    "symbols": Case(
        lambda: chain(Categorical(logits=torch.randn(3, 5)), 3),
        lambda: {"y": torch.randint(0, 5, (20, 9)), "lengths": RAGGED},
    ),
    "symbols, few rows": Case(
        lambda: chain(Categorical(logits=torch.randn(3, 5)), 3),
        lambda: {"y": torch.randint(0, 5, (2, 30))},
        lanes=False,
    ),
    "symbols that some states forbid": Case(
        lambda: chain(Categorical(probs=torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.2, 0.3, 0.5]])), 3),
        lambda: {"y": torch.randint(0, 3, (20, 9))},
    ),
    "mixtures": Case(lambda: chain(Mixture(3, dim=2, given=5), 5), ragged()),
    "full mixtures": Case(lambda: chain(Mixture(2, dim=2, given=3, covariance="full"), 3), ragged()),
    "mixtures, few rows": Case(
        lambda: chain(Mixture(2, dim=2, given=3), 3), lambda: {"y": data(2, 30, 2)}, lanes=False
    ),
    "a mixture without time": Case(
        lambda: Model({"c": Categorical(3), "x | c": gaussian(3, 2)}), lambda: {"x": data(50, 1, 2)[:, 0]}
    ),
    "a mixture on a plate": Case(
        lambda: Model({"c[n]": Categorical(3), "x[n] | c[n]": gaussian(3, 2, "full")}),
        lambda: {"x": data(20, 9, 2), "lengths": RAGGED},
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def both(em: EM, batch: dict) -> tuple[Expected, Expected, bool]:
    """The E-step of a batch, compiled (where it keeps its digits) and general; and whether the first kept them."""
    prepared, found = em.prepared(batch), []
    assert prepared.chain is not None
    kept = prepared.chain.expect() is not None
    for one in (prepared, replace(prepared, chain=None)):
        total = Expected()
        em._add(total, one)
        found.append(total)
    return found[0], found[1], kept


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", TABLE)
def test_compiled_equals_general(name, seed):
    """Along three iterations; failure rate: 0 of 256 draws (8 seeds of every case)."""
    torch.manual_seed(1000 * seed + sum(map(ord, name)))
    em, batch = EM(TABLE[name].model()), TABLE[name].data()
    taken = 0
    for _ in range(3):
        quick, general, kept = both(em, batch)
        taken += kept
        assert quick.rows == general.rows
        assert quick.log_likelihood == pytest.approx(general.log_likelihood, rel=1e-11, abs=1e-11)
        for place, want in general.statistics.items():
            got = quick.statistics[place]
            assert got.keys() == want.keys()
            scale = float(next(iter(want.values())).abs().sum()) + 1.0
            for key in want:
                torch.testing.assert_close(got[key], want[key], rtol=1e-8, atol=1e-9 * scale)
        em.maximise(quick)
    assert taken > 0
    assert not any(bool(p.isnan().any()) for p in em.model.parameters())


PRIORS = {
    "none": (PseudoCounts(), GaussianPrior(floor=1e-3)),
    "strong": (PseudoCounts(0.5), GaussianPrior(loc=0.5, weight=2.0, scatter=0.3, degrees=4.0, floor=1e-3)),
    "added": (PseudoCounts(1.0), GaussianPrior(floor=0.0, added=0.1)),
    "high floor": (PseudoCounts(), GaussianPrior(floor=2.0)),
}
SMALL = (
    "diag, 3 states",
    "spherical, 3 states",
    "missing cells",
    "forbidden moves",
    "a state nobody visits",
    "symbols",
)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("name", SMALL)
def test_compiled_m_step_equals_plain(name, prior, single):
    torch.manual_seed(0)
    model, (counts, normal) = TABLE[name].model(), PRIORS[prior]
    model = model.float() if single else model
    kinds = {str(node): normal if isinstance(node.module, Gaussian) else counts for node in model.graph.nodes}
    em = EM(model, priors=kinds)
    found = em.expect(TABLE[name].data())
    assert all(own.compiled for own in em._maximisers.values())
    before, after = {n: p.detach().clone() for n, p in model.named_parameters()}, []
    for compiled in (True, False):
        model.load_state_dict(before)
        for own in em._maximisers.values():
            own.compiled = compiled
        em.maximise(found)
        after.append({n: p.detach().clone() for n, p in model.named_parameters()})
        assert np.isfinite(em.log_prior())
    for key, want in after[1].items():
        torch.testing.assert_close(after[0][key], want, rtol=1e-6 if single else 1e-12, atol=1e-6 if single else 1e-12)


def test_m_steps_follow_parameters_that_move():
    torch.manual_seed(0)
    model, batch = TABLE["diag, 3 states"].model().float(), TABLE["diag, 3 states"].data()
    em = EM(model)
    first = em.step(batch)
    versions = [p._version for p in model.parameters()]
    second = em.step(batch)
    assert all(p._version > before for p, before in zip(model.parameters(), versions, strict=True))
    model.double()
    third = em.step(batch)
    fourth = em.step(batch)
    assert first < second < third < fourth


@pytest.mark.parametrize("name", TABLE)
def test_rows_side_by_side_where_they_fit(name):
    torch.manual_seed(0)
    em = EM(TABLE[name].model())
    step = em.prepared(TABLE[name].data()).chain
    assert step is not None and step.expect() is not None
    assert step.chain.narrow is not TABLE[name].lanes


def test_single_precision_is_summed_in_double():
    torch.manual_seed(0)
    model, batch = chain(gaussian(3, 2), 3), ragged()()
    want = EM(model).expect(batch).log_likelihood
    got = EM(model.float()).expect({"y": batch["y"].float(), "lengths": RAGGED}).log_likelihood
    assert got == pytest.approx(want, rel=1e-6)


OTHERS = {
    "an input": Model({"s[0]": Categorical(2), "s[t] | s[t-1]": Categorical(2, given=2),
                       "y[t] | s[t], u[t]": Gaussian(dim=1, given=(2, 2))}),
    "two emissions": Model({"s[0]": Categorical(2), "s[t] | s[t-1]": Categorical(2, given=2),
                            "y[t] | s[t]": Gaussian(dim=1, given=2), "z[t] | s[t]": Gaussian(dim=1, given=2)}),
    "a first emission": Model({"s[0]": Categorical(2), "s[t] | s[t-1]": Categorical(2, given=2),
                               "y[0] | s[0]": Gaussian(dim=1, given=2), "y[t] | s[t]": Gaussian(dim=1, given=2)}),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_such_chain_goes_the_general_way(name):
    torch.manual_seed(0)
    batch = {"y": torch.randn(8, 5, 1).to(torch.get_default_dtype())}
    batch |= {"u": torch.randint(0, 2, (8, 5))} if name == "an input" else {}
    batch |= {"z": torch.randn(8, 5, 1)} if name == "two emissions" else {}
    em = EM(OTHERS[name].double())
    assert em.prepared(batch).chain is None and np.isfinite(em.step(batch))


def test_impossible_rows_are_named_and_nothing_moves():
    table = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    start, move = Categorical(probs=torch.tensor([1.0, 0.0])), Categorical(probs=torch.eye(2))
    model = Model({"s[0]": start, "s[t] | s[t-1]": move, "y[t] | s[t]": Categorical(probs=table)})
    before = [p.clone() for p in model.parameters()]
    y = torch.zeros(10, 3, dtype=torch.int64)
    y[4, 1] = 1
    with pytest.raises(ImpossibleEvidence, match="4"):
        EM(model).step({"y": y})
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


def test_a_state_on_one_point_keeps_its_floor():
    """The variance of constant data is lost in rounding; what comes out is the floor, as in the general way."""
    em = EM(chain(gaussian(2, 2), 2), priors={"y[t] | s[t]": GaussianPrior(floor=1e-4)})
    em.fit({"y": torch.full((10, 4, 2), 7.0)}, iterations=5)
    emission = em.model.graph.nodes[2].module
    np.testing.assert_allclose(emission.scales().detach().square(), 1e-4, rtol=1e-6)

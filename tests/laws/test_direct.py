"""Laws of the way from parameters straight to the contraction: it says what the tables of every factor say."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import pytest
import torch
from torch.distributions import Categorical as Marginal

from graft import Model
from graft.errors import GraftError, ImpossibleEvidence
from graft.factors import Categorical, Table
from graft.inference.direct import direct
from graft.inference.evidence import Partial, Soft
from graft.ops.contraction import contract, layout
from graft.ops.cpu import contraction


@dataclass(frozen=True)
class Case:
    """A random network and what is known of it."""

    variables: int = 7
    states: tuple[int, ...] = (2, 3)
    parents: int = 2
    potentials: int = 0
    zeros: float = 0.0
    spread: float = 2.0
    known: int = 2
    weighed: int = 0
    batch: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float64


TABLE = {
    "plain": Case(),
    "nothing known": Case(known=0),
    "much known": Case(variables=9, known=6),
    "rows": Case(batch=(3,)),
    "rows and rows": Case(batch=(2, 3), known=3),
    "many rows": Case(batch=(45,), known=3),
    "many rows, nothing known": Case(batch=(20,), known=0, weighed=1),
    "wide": Case(variables=6, states=(4, 7), parents=3),
    "wide, rows": Case(variables=6, states=(4, 7), parents=3, batch=(5,)),
    "one state": Case(states=(1, 2)),
    "potentials": Case(potentials=4),
    "potentials, many rows": Case(potentials=4, batch=(21,), zeros=0.1),
    "weights": Case(weighed=2),
    "weights, rows": Case(weighed=2, batch=(2, 4)),
    "zeros": Case(zeros=0.25, known=1),
    "zeros, many rows": Case(zeros=0.2, known=1, batch=(33,)),
    "far apart": Case(spread=100.0, potentials=2),
    "far apart, many rows": Case(spread=60.0, potentials=2, batch=(18,)),
    "single": Case(dtype=torch.float32),
    "single, many rows": Case(dtype=torch.float32, batch=(30,), potentials=2, weighed=1),
    "parts": Case(variables=6, parents=0, known=1),
}
everything = pytest.mark.parametrize("name", TABLE)


def made(name: str, seed: int):
    """A model and evidence that it can have drawn."""
    case, own = TABLE[name], random.Random(f"{name} {seed}")
    generator = torch.Generator().manual_seed(own.randrange(2**31))
    names = [f"v{i}" for i in range(case.variables)]
    states = {name: own.choice(case.states) for name in names}

    def logits(shape):
        values = case.spread * torch.randn(shape, generator=generator, dtype=torch.float64)
        drop = torch.rand(shape, generator=generator) < case.zeros
        drop[..., 0] = False
        return values.masked_fill(drop, -math.inf).to(case.dtype)

    factors = {}
    for place, name in enumerate(names):
        parents = own.sample(names[:place], min(place, own.randint(0, case.parents)))
        text = f"{name} | {', '.join(parents)}" if parents else name
        factors[text] = Categorical(logits=logits((*(states[p] for p in parents), states[name])))
    for _ in range(case.potentials):
        scope = own.sample(names, 2)
        factors[", ".join(scope)] = Table(values=logits(tuple(states[n] for n in scope)))
    model, chosen = Model(factors), own.sample(names, case.known + case.weighed)
    if case.potentials:
        drawn = {n: torch.randint(states[n], case.batch, generator=generator) for n in chosen}
    else:
        drawn = model.sample(case.batch, seed=seed)
    evidence = {n: drawn[n] for n in chosen[: case.known]}
    for n in chosen[case.known :]:
        weights = torch.randn(*case.batch, states[n], generator=generator).to(case.dtype)
        evidence[n] = Soft(weights) if own.random() < 0.5 else Partial(weights > weights.amin(-1, keepdim=True) - 0.5)
    return model, evidence


def answers(model, evidence, short: bool):
    """Log Z and marginals without gradients, by one way or by the other."""
    with torch.no_grad():
        posterior = model.given(evidence)
        if not short:
            for query in (posterior._query, posterior.marginals._everyone):
                _ = None if query is None else query.tables
        return posterior.log_partition, {key: posterior.marginals[key].probs for key in posterior.marginals}


def asked(model, evidence):
    """The query that marginals come from."""
    posterior = model.given(evidence)
    return posterior.marginals._everyone or posterior._query


def agree(name, model, evidence):
    tolerance = 1e-10 if TABLE[name].dtype == torch.float64 else 2e-5
    try:
        value, wanted = answers(model, evidence, False)
    except ImpossibleEvidence:
        with pytest.raises(ImpossibleEvidence):
            answers(model, evidence, True)
        return
    found, marginals = answers(model, evidence, True)
    assert found.dtype == value.dtype and found.shape == value.shape
    assert torch.allclose(found, value, rtol=tolerance, atol=tolerance)
    assert marginals.keys() == wanted.keys()
    for key, probs in wanted.items():
        assert marginals[key].shape == probs.shape and marginals[key].dtype == probs.dtype
        assert torch.allclose(marginals[key], probs, rtol=0, atol=tolerance), key


@everything
def test_both_ways_say_the_same(name):
    for seed in range(4):
        agree(name, *made(name, seed))


@pytest.mark.parametrize("name", ["plain", "wide", "wide, rows", "many rows", "zeros, many rows", "potentials"])
@pytest.mark.parametrize("where", ["packed", "one by one"])
def test_every_kernel_says_the_same(name, where, monkeypatch):
    monkeypatch.setattr(contract, "_layouts", type(contract._layouts)())
    if where == "packed":
        monkeypatch.setattr(layout, "LARGE", 2)
        monkeypatch.setattr(layout, "EACH", 1)
    else:
        monkeypatch.setattr(contraction, "FEW", 10**6)
    for seed in range(3):
        agree(name, *made(name, seed))


@pytest.mark.parametrize("name", ["plain", "many rows", "potentials", "weights, rows", "single, many rows", "parts"])
def test_the_short_way_is_taken(name):
    model, evidence = made(name, 0)
    query = asked(model, evidence)
    with torch.no_grad():
        assert direct(query.problem, query.plan, True) is not None
    assert direct(query.problem, query.plan, False) is None, "gradients are wanted"
    model.requires_grad_(False)
    assert direct(query.problem, query.plan, False) is not None


def chain(logits=None):
    logits = torch.zeros(2) if logits is None else logits
    return Model({"a": Categorical(logits=logits), "b | a": Categorical(logits=torch.zeros(2, 3))})


def marginal(model, **evidence):
    with torch.no_grad():
        return model.given(**evidence).marginals["a"].probs


@pytest.mark.parametrize("rows", [(), (25,)])
def test_every_change_of_a_parameter_is_seen(rows):
    model, b = chain(), torch.full(rows, 1)
    table, seen = model.factors[1].table, [marginal(model, b=b)]
    with torch.no_grad():
        table[0, 1] += 1.0
    seen.append(marginal(model, b=b))
    table.data[0, 1] += 1.0
    seen.append(marginal(model, b=b))
    table.detach().numpy()[0, 1] += 1.0
    seen.append(marginal(model, b=b))
    model.factors[1].table = torch.nn.Parameter(torch.tensor([[0.0, 9.0, 0.0], [0.0, 0.0, 0.0]]))
    seen.append(marginal(model, b=b))
    model.factors[1].table.data = model.factors[1].table.data.double().T.contiguous().T
    seen.append(marginal(model, b=b))
    means = [round(float(x[..., 0].mean()), 6) for x in seen]
    assert means == sorted(means) and len(set(means)) == 5
    for x in seen:
        assert torch.allclose(x.sum(-1), torch.ones((), dtype=x.dtype))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("rows", [(), (40,)])
def test_what_is_no_number_is_refused(bad, rows):
    model = chain()
    model.factors[1].table.data[1, 2] = bad
    with pytest.raises(GraftError, match="NaN"):
        marginal(model, b=torch.full(rows, 2))


def test_a_row_without_a_state_is_impossible():
    model = chain()
    model.factors[0].table.data[:] = -math.inf
    with pytest.raises(ImpossibleEvidence):
        marginal(model, b=torch.tensor(2))


@pytest.mark.parametrize("rows", [1, 30])
def test_rows_of_probability_zero(rows):
    model = chain(torch.tensor([0.0, -math.inf]))
    model.factors[1].table.data[0, 2] = -math.inf
    b = torch.arange(rows) % 2
    b[0] = 2
    with torch.no_grad():
        value = model.given(b=b).log_partition
    assert value[0] == -math.inf and bool(torch.isfinite(value[1:]).all())
    with pytest.raises(ImpossibleEvidence, match=r"\(0,\)"):
        marginal(model, b=b)


@pytest.mark.parametrize("rows", [(), (30,)])
def test_what_linear_space_loses_goes_through_log_space(rows):
    """A sum of two roads of 1e-400 each: no double holds them."""
    factors = {"a": Table(values=torch.zeros(2, dtype=torch.float64))}
    for i in range(4):
        values = torch.tensor([[0.0, -230.0], [-230.0, -230.0 * (i == 3)]], dtype=torch.float64)
        factors[f"{'abcd'[i]}, {'bcde'[i]}"] = Table(values=values)
    model, e = Model(factors), torch.ones(rows, dtype=torch.long)
    with torch.no_grad():
        posterior = model.given(e=e)
        value = posterior.log_partition
    with torch.enable_grad():
        wanted = model.given(e=e).log_partition.detach()
    assert torch.allclose(value, wanted, rtol=1e-12, atol=0)


def test_a_marginal_is_what_its_constructor_makes():
    """What is made without its constructor has the same attributes, whatever the release of torch."""
    found = chain().requires_grad_(False).given(b=torch.tensor([0, 1])).marginals["a"]
    wanted = Marginal(probs=found.probs, validate_args=False)
    wanted._validate_args = True
    assert vars(found).keys() - {"labels"} == vars(wanted).keys()
    for key, value in vars(wanted).items():
        mine = vars(found)[key]
        assert torch.equal(mine, value) if isinstance(value, torch.Tensor) else mine == value
    assert found.expand((3, 2)).batch_shape == (3, 2) and found.entropy().shape == (2,)
    with pytest.raises(ValueError, match="support"):
        found.log_prob(torch.tensor(2))


def test_both_modes_without_gradients_agree():
    model, evidence = made("rows", 1)
    value, wanted = answers(model, evidence, True)
    with torch.inference_mode():
        posterior = model.given({key: one.clone() for key, one in evidence.items()})
        found = {key: posterior.marginals[key].probs for key in posterior.marginals}
        again = posterior.log_partition
    assert torch.equal(value, again) and all(torch.equal(found[key], wanted[key]) for key in wanted)
    for key in wanted:
        kept = posterior.marginals[key].probs
        assert kept.requires_grad, "what was made without gradients is not kept for who wants them"

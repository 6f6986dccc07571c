"""Decisions have the least expected loss of all assignments, and tell it, against enumeration."""

from __future__ import annotations

import math

import pytest
import torch
from tests.reference.bulk import close, given, possible, posterior
from tests.reference.case import Case
from tests.reference.decided import expected, losses_for, place_of
from tests.reference.ground import Key
from torch import nn

import graft
from graft.errors import GraftError, ImpossibleEvidence, IntractableError
from graft.factors import Categorical, Gaussian, Table
from graft.objectives.losses import Cost, Hamming, ZeroOne

CASES = 2


def elements(one: Case, row) -> list[Key]:
    return [key for key in one.keys(row) if key[0] in one.unknown]


def decidable(family: str) -> list[Case]:
    return [one for one in possible(family, CASES) if one.unknown]


def random_decision(one: Case, seed: int) -> dict[str, torch.Tensor]:
    """Any states, and rubbish where nothing exists."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for name in one.unknown:
        shape = one.existing(name).shape
        value = one.decoded(name, torch.randint(one.states[name], shape, generator=generator))
        found[name] = one.padded(value, name, math.nan if value.is_floating_point() else -100)
    return found


def cleared(one: Case, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: one.padded(value, name, 0.0).to(value.dtype) for name, value in values.items()}


def test_no_assignment_has_less_risk(family):
    for seed, one in enumerate(decidable(family)):
        losses = losses_for(one, seed, margin=False)
        found = posterior(one).decide(losses, one.unknown)
        for name in one.unknown:
            assert not bool(found[name][~one.existing(name)].any()), (one, name)
        other = random_decision(one, seed)
        risk = posterior(one).risk(losses, other)
        for row in one.rows:
            keys = elements(one, row)
            wanted = expected(one, row, losses, keys)
            close(wanted[place_of(one, row, found, keys)], wanted.min(), (one, row))
            close(found.risk[row], wanted.min(), (one, row))
            close(risk[row], wanted[place_of(one, row, cleared(one, other), keys)], (one, row))
        assert found.kind == "exact"


def test_hamming_takes_the_greatest_marginals(family):
    for one in decidable(family):
        found = posterior(one).decide()
        assert found.keys() == set(one.unknown), one
        for row in one.rows:
            for key in elements(one, row):
                table = one.joints[row].table([key])
                state = one.assignment(row, found)[key]
                if not one.bits.get(key[0]):
                    close(table[state], table.max(), (one, row, key))


def test_zero_one_takes_the_most_probable(family):
    for seed, one in enumerate(decidable(family)):
        found, other = posterior(one).decide("zero-one"), random_decision(one, seed)
        risk = posterior(one).risk(ZeroOne(), other)
        for row in one.rows:
            keys = elements(one, row)
            wanted = 1 - one.joints[row].table(keys).reshape(-1)
            close(wanted[place_of(one, row, found, keys)], wanted.min(), (one, row))
            close(found.risk[row], wanted.min(), (one, row))
            close(risk[row], wanted[place_of(one, row, cleared(one, other), keys)], (one, row))


def test_one_of_several_variables_alone(family):
    for one in decidable(family):
        whole = posterior(one).decide()
        for name in one.unknown:
            alone = given(one).decide(names=[name])
            assert alone.keys() == {name}
            assert torch.equal(alone[name], whole[name]), (one, name)


def test_among_the_most_probable(family):
    """Every one of them has a probability, and none has less risk."""
    for seed, one in enumerate(decidable(family)):
        losses, k = losses_for(one, seed, margin=False), (1, 3, 50)[seed % 3]
        found = posterior(one).decide(losses, one.unknown, among=k)
        for row in one.rows:
            keys = elements(one, row)
            probs, risk = one.joints[row].table(keys).reshape(-1), expected(one, row, losses, keys)
            listed = probs.argsort(descending=True)[:k]
            listed = listed[probs[listed] > 0]
            place = place_of(one, row, found, keys)
            assert probs[place] > 0, (one, row)
            close(risk[place], risk[listed].min(), (one, row))
            close(found.risk[row], risk[listed].min(), (one, row))


def all_or_count(truth, decision):
    """A loss that does not add up over elements: the square of the number of variables with a wrong element."""
    rank = truth["rank"]
    wrong = []
    for name, value in truth.items():
        if name != "rank":
            off = value != decision[name]
            wrong.append(off.flatten(rank).any(-1) if off.dim() > rank else off)
    return torch.stack(wrong).double().sum(0).square()


def test_any_loss_over_a_list(family):
    for seed, one in enumerate(decidable(family)):
        k, rank = (2, 5, 300)[seed % 3], 1 + len(one.space.batch)

        def loss(truth, decision, rank=rank):
            return all_or_count({**truth, "rank": rank}, decision)

        found = posterior(one).decide(loss, one.unknown, among=k)
        whole = True
        for row in one.rows:
            keys = elements(one, row)
            probs = one.joints[row].table(keys).reshape(-1)
            listed = probs.argsort(descending=True)[:k]
            listed = listed[probs[listed] > 0]
            whole &= len(listed) == int((probs > 0).sum())
            wanted = risk_over_list(one, row, keys, probs, listed)
            close(found.risk[row], wanted.min(), (one, row))
            where = (listed == place_of(one, row, found, keys)).nonzero()
            close(wanted[int(where)], wanted.min(), (one, row))
        assert found.kind == "lower bound" or whole, one
        assert found.kind == "exact" or k < 300 or not whole, one


def risk_over_list(one: Case, row, keys: list[Key], probs: torch.Tensor, listed: torch.Tensor) -> torch.Tensor:
    shape = [one.states[key[0]] for key in keys]
    states = torch.stack(torch.unravel_index(listed, shape), -1) if shape else torch.zeros(len(listed), 0)
    costs = torch.zeros(len(listed), len(listed), dtype=torch.float64)
    for name in one.unknown:
        mine = [i for i, key in enumerate(keys) if key[0] == name]
        costs += (states[:, None, mine] != states[None, :, mine]).any(-1)
    return probs[listed] @ costs.square()


def test_a_hamming_decision_may_be_impossible_and_one_among_the_best_is_not():
    """Each of two variables is most probably 0, but never both."""
    table = torch.tensor([[0.0, 0.3, 0.1], [0.3, 0.0, 0.0], [0.1, 0.0, 0.2]], dtype=torch.float64)
    posterior = graft.Model({"a, b": Table(values=table.log())}).given()
    found = posterior.decide()
    assert (found["a"].item(), found["b"].item()) == (0, 0)
    assert posterior.log_prob(found) == -math.inf
    close(found.risk, torch.tensor(1.2, dtype=torch.float64), "0.6 at each")
    found = posterior.decide(among=3)
    assert posterior.log_prob(found) > -math.inf
    close(found.risk, torch.tensor(1.3, dtype=torch.float64), "0.6 at one, 0.7 at the other")


def test_ties_go_to_the_lowest_state():
    flat = graft.Model({"y[t]": Table(values=torch.zeros(7))}).given(sizes={"t": 2})
    assert flat.decide()["y"].tolist() == [0, 0]
    assert flat.decide(Cost(torch.ones(7, 7)))["y"].tolist() == [0, 0]


def test_the_risk_is_differentiable():
    logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    model = graft.Model({"y | x": graft.factors.Scores(nn.Identity(), states=3)})
    risk = model.given(x=logits).risk("hamming", {"y": torch.tensor(1)})
    (found,) = torch.autograd.grad(risk, logits)
    (wanted,) = torch.autograd.grad(1 - logits.softmax(0)[1], logits)
    close(found, wanted, "1 - p")


def hmm(given=None):
    model = graft.Model(
        {"s[0]": Categorical(3), "s[t] | s[t-1]": Categorical(3, given=3), "y[t] | s[t]": Gaussian(dim=2, given=3)}
    )
    return model.given(y=torch.zeros(2, 4, 2), **(given or {}))


ERRORS = {
    "no loss": (lambda: hmm().decide("l1"), GraftError, "no loss is called 'l1'"),
    "a function without a list": (lambda: hmm().decide(lambda a, b: a), GraftError, "say among=k"),
    "unknown name": (lambda: hmm().decide(names=["z"]), GraftError, "'z' is no variable"),
    "names as a string": (lambda: hmm().decide(names="s"), GraftError, "a list of names"),
    "a given name": (lambda: hmm().decide(names=["y"]), GraftError, "y is evidence"),
    "nothing unknown": (
        lambda: hmm({"s": torch.zeros(2, 4, dtype=torch.long)}).decide(),
        GraftError,
        "nothing to decide",
    ),
    "another number of states": (lambda: hmm().decide(Cost(torch.zeros(2, 2))), GraftError, "cost of s is of 2 states"),
    "a cost that is not square": (lambda: Cost(torch.zeros(2, 3)), GraftError, "square matrix"),
    "whole numbers": (lambda: Cost(torch.zeros(2, 2, dtype=torch.long)), GraftError, "real numbers"),
    "an infinite cost": (lambda: Cost(torch.full((2, 2), math.inf)), GraftError, "finite"),
    "no loss for a name": (lambda: hmm().decide({"z": Hamming()}, ["s"]), GraftError, "no loss is told for s"),
    "zero-one among": (lambda: hmm().decide("zero-one", among=3), GraftError, "leave out among"),
    "no k": (lambda: hmm().decide(among=0), GraftError, "positive whole number"),
    "a loss of another shape": (
        lambda: hmm().decide(lambda a, b: torch.zeros(3), among=2),
        GraftError,
        r"returns shape \(2, 2\), not \(3,\)",
    ),
    "marginal MAP": (
        lambda: graft.Model({"a, b": Table(2, 2)}).given().decide("zero-one", ["a"]),
        IntractableError,
        "most probable a with b summed out",
    ),
    "impossible evidence": (
        lambda: graft.Model({"a": Table(values=torch.full((2,), -math.inf))}).given().decide(),
        ImpossibleEvidence,
        "probability zero",
    ),
    "impossible evidence, listed": (
        lambda: graft.Model({"a": Table(values=torch.full((2,), -math.inf))}).given().decide(among=2),
        ImpossibleEvidence,
        "probability zero",
    ),
    "risk of a wrong shape": (
        lambda: hmm().risk("hamming", {"s": torch.zeros(2, 3, dtype=torch.long)}),
        GraftError,
        r"decision of s has shape \(2, 4\).* not \(2, 3\)",
    ),
    "risk of no state": (
        lambda: hmm().risk("hamming", {"s": -torch.ones(2, 4, dtype=torch.long)}),
        GraftError,
        "holds -1",
    ),
    "risk of a state out of range": (
        lambda: hmm().risk("hamming", {"s": torch.full((2, 4), 3)}),
        GraftError,
        "out of range",
    ),
    "risk of nothing": (lambda: hmm().risk("hamming", {}), GraftError, "at least one variable"),
    "risk of no loss over elements": (
        lambda: hmm().risk({"s": ZeroOne()}, {"s": torch.zeros(2, 4, dtype=torch.long)}),
        GraftError,
        "add up over elements",
    ),
}


@pytest.mark.parametrize("case", ERRORS, ids=str)
def test_errors(case):
    make, kind, message = ERRORS[case]
    with pytest.raises(kind, match=message):
        make()

"""Truths for random models, and what decisions cost, by listing all assignments of one row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from tests.reference.case import Case, Row
from tests.reference.enumerate import Joint
from tests.reference.ground import Key
from tests.reference.maker import binary
from torch import Tensor

from graft.inference.evidence import Missing, Partial
from graft.objectives.losses import Cost, ElementLoss, Hamming


def losses_for(one: Case, seed: int, margin: bool) -> dict[str, ElementLoss]:
    """A loss for every discrete variable; with `margin`, costs that are 0 for the truth."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, ElementLoss] = {}
    for place, name in enumerate(one.states):
        states = 2 if one.bits.get(name) else one.states[name]
        costs = 2 * torch.rand(states, states, generator=generator, dtype=torch.float64)
        costs = costs * (1 - torch.eye(states)) if margin else costs - 0.5
        found[name] = Hamming() if (seed + place) % 2 else Cost(costs)
    return found


def costs_of(one: Case, loss: ElementLoss, name: str) -> Tensor:
    """(states, states) of one element; those of a vector by hand, unit by unit."""
    units = one.bits.get(name)
    small = 2 if units else one.states[name]
    table = loss.costs if isinstance(loss, Cost) else 1 - torch.eye(small, dtype=torch.float64)
    if not units:
        return table
    bits = binary(units).long()
    rows = [[sum(table[a, b] for a, b in zip(one_, two, strict=True)) for two in bits] for one_ in bits]
    return torch.tensor([[float(x) for x in row] for row in rows], dtype=torch.float64)


def digits(states: list[int]) -> Tensor:
    """(assignments, elements): the states of every assignment of some elements."""
    if not states:
        return torch.zeros(1, 0, dtype=torch.long)
    return torch.cartesian_prod(*(torch.arange(n) for n in states)).reshape(-1, len(states))


def expected(one: Case, row: Row, losses: dict[str, ElementLoss], keys: list[Key]) -> Tensor:
    """The expected loss of every assignment of some elements: the whole sum over pairs of assignments."""
    probs = one.joints[row].table(keys).reshape(-1)
    every = digits([one.states[key[0]] for key in keys])
    cost = torch.zeros(len(every), len(every), dtype=torch.float64)
    for place, key in enumerate(keys):
        cost += costs_of(one, losses[key[0]], key[0])[every[:, place]][:, every[:, place]]
    return probs @ cost


def place_of(one: Case, row: Row, values: dict[str, Tensor], keys: list[Key]) -> int:
    """Which of these assignments some values are."""
    states = one.assignment(row, values)
    index = 0
    for key in keys:
        index = index * one.states[key[0]] + states[key]
    return index


@dataclass
class Truth:
    """A truth that the model allows, with less and less told of it.

    Attributes:
        values: for graft, rubbish where nothing exists.
        allowed: by name, (batch, axes, states): the states that agree with it.
    """

    values: dict[str, Any]
    allowed: dict[str, Tensor]


def unannotated(one: Case, targets: list[str], row: Row) -> Joint:
    """The joint of one row with evidence on everything but the targets; it has gradients."""
    kept = [(keys, table) for keys, table in one.unaries(row) if keys[0][0] not in targets]
    return Joint(one.keys(row), [*one.factors(row), *kept])


def truth_for(one: Case, targets: list[str], seed: int, full: bool = False) -> Truth | None:
    """A possible assignment of the targets, parts of it hidden; None if some row has none."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {n: (*one.space.batch, *(one.space.sizes[x] for x in one.space.axes[n])) for n in targets}
    states = {n: torch.zeros(shape, dtype=torch.long) for n, shape in shapes.items()}
    for row in one.rows:
        with torch.no_grad():
            log = unannotated(one, targets, row).log
        alive = (log > -math.inf).nonzero()
        if not len(alive):
            return None
        pick = alive[int(torch.randint(len(alive), (), generator=generator))] if log.dim() else []
        for key, state in zip(one.keys(row), pick, strict=True):
            if key[0] in targets:
                states[key[0]][(*row, *one.space.where(row, key))] = state
    found = Truth({}, {})
    for name in targets:
        kind = 0 if full else int(torch.randint(3, (), generator=generator))
        _tell(one, name, states[name], kind, generator, found)
    return found


def _tell(one: Case, name: str, states: Tensor, kind: int, generator: torch.Generator, found: Truth) -> None:
    """All of a truth, some of its elements, or a set for each."""
    value, units = one.decoded(name, states), one.bits.get(name)
    rubbish = math.nan if value.is_floating_point() else -100
    right = states.unsqueeze(-1) == torch.arange(one.states[name])
    hidden = torch.rand(value.shape, generator=generator) < 0.5
    if kind == 0:
        found.values[name], found.allowed[name] = one.padded(value, name, rubbish), right
    elif units:
        mine = binary(units).float()
        found.values[name] = Missing(one.padded(value, name, rubbish), hidden)
        found.allowed[name] = ((value.unsqueeze(-2) == mine) | hidden.unsqueeze(-2)).all(-1)
    elif kind == 1:
        known = torch.where(hidden, -torch.ones_like(value), value)
        found.values[name] = one.padded(known, name, rubbish)
        found.allowed[name] = right | hidden.unsqueeze(-1)
    else:
        allowed = right | (torch.rand(right.shape, generator=generator) < 0.4)
        found.values[name], found.allowed[name] = Partial(allowed & one.existing(name).unsqueeze(-1)), allowed


def weighed(joint: Joint, factors: list[tuple[list[Key], Tensor]]) -> Tensor:
    """The log-joint with more tables; gradients reach both."""
    return sum((joint.spread(keys, table) for keys, table in factors), joint.log)


def agreeing(one: Case, truth: Truth, row: Row) -> list[tuple[list[Key], Tensor]]:
    """Log-tables that allow what agrees with a truth."""
    return [
        ([key], torch.where(allowed[(*row, *one.space.where(row, key))], 0.0, -math.inf).double())
        for name, allowed in truth.allowed.items()
        for key in one.elements(row, name)
    ]


def margins(one: Case, truth: Truth, row: Row, losses: dict[str, ElementLoss]) -> list[tuple[list[Key], Tensor]]:
    """Tables of what every state of every element costs: the least over the states that agree."""
    return [
        ([key], costs_of(one, losses[name], name)[allowed[(*row, *one.space.where(row, key))]].amin(0))
        for name, allowed in truth.allowed.items()
        for key in one.elements(row, name)
    ]

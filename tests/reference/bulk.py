"""Many random cases for one law: families to parametrize over, and what their answers are compared by."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice

import torch
from tests.reference.case import Case, Row
from tests.reference.ground import Key
from tests.reference.maker import binary
from tests.reference.random_models import case
from torch import Tensor
from torch.distributions import Categorical

from graft.posterior import Posterior

#: Cases per family: 35 families of 8 are 280; `make test-all` takes 15, which are 525.
SEEDS = int(os.environ.get("GRAFT_MODELS", "6"))
#: Of laws that ask each case many times; `make test-all` takes as many as of the others.
FEW = SEEDS if SEEDS > 6 else 2


def cases(family: str, seeds: int = SEEDS) -> Iterator[Case]:
    return (case(family, seed) for seed in range(seeds))


def possible(family: str, seeds: int = SEEDS) -> Iterator[Case]:
    """As many whose evidence has a probability in every row."""
    return islice((one for one in cases(family, 20 * seeds) if not one.dead), seeds)


def drawable(family: str, seeds: int = SEEDS) -> Iterator[Case]:
    """Those without missing cells of continuous leaves, which are not drawn where a density couples them."""
    return islice((one for one in possible(family, 20 * seeds) if not one.maker.missing), seeds)


def given(one: Case) -> Posterior:
    """The posterior, asked for anew."""
    return one.model.given(one.values, **one.options)


def posterior(one: Case) -> Posterior:
    """The posterior, kept from law to law."""
    if one.posterior is None:
        one.posterior = given(one)
    return one.posterior


def close(found: Tensor, wanted: Tensor, what: object, tolerance: float = 1e-9) -> None:
    """|a - b| <= tolerance max(1, |b|), infinities equal, shapes equal, no NaN."""
    assert found.shape == wanted.shape, (what, found.shape, wanted.shape)
    found, wanted = found.detach().double(), wanted.detach().double()
    good = (found == wanted) | ((found - wanted).abs() <= tolerance * wanted.abs().clamp_min(1))
    assert bool(good.all()), (what, found, wanted)


def probabilities(one: Case, name: str, dist: torch.distributions.Distribution) -> Tensor:
    """(batch, axes, states), or of a vector the probability that each unit is on."""
    assert isinstance(dist, Categorical) != bool(one.bits.get(name))
    return dist.probs if isinstance(dist, Categorical) else dist.mean  # type: ignore[attr-defined]


def shape_of(one: Case, name: str) -> tuple[int, ...]:
    return (*one.space.batch, *(one.space.sizes[x] for x in one.space.axes[name]))


def expected_marginal(one: Case, name: str, answer) -> Tensor:
    """What graft shows of a variable, from `answer(row, key)`: the table of one element."""
    units, states = one.bits.get(name), one.states[name]
    table = torch.full((*shape_of(one, name), states), 0.0 if units else 1.0 / states, dtype=torch.float64)
    for row in one.rows:
        for key in one.elements(row, name):
            table[(*row, *one.space.where(row, key))] = answer(row, key)
    return table @ binary(units) if units else table


def filled(one: Case, letters: tuple[str, ...], states: list[int], answer) -> Tensor:
    """(batch, letters, states): `answer(row, place)` where it is not None, else 0."""
    sizes = [one.space.sizes[x] for x in letters]
    table = torch.zeros((*one.space.batch, *sizes, *states), dtype=torch.float64)
    for row in one.rows:
        for place in one.space.places(row, list(letters)):
            found = answer(row, place)
            if found is not None:
                table[(*row, *(one.space.original(row, x, place) for x in letters))] = found
    return table


def drawn(one: Case, row: Row, key: Key, generator: torch.Generator) -> int:
    return int(torch.randint(0, one.states[key[0]], (), generator=generator))

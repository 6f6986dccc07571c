"""Evidence, existence and engines: what must give the same answer by another road."""

from __future__ import annotations

import pytest
import torch
from tests.reference.bulk import SEEDS, cases, close, expected_marginal, given, possible, posterior, probabilities
from tests.reference.case import Case
from tests.reference.enumerate import Joint
from tests.reference.ground import ground
from torch import Tensor

import graft
from graft.errors import ImpossibleEvidence
from graft.inference.evidence import Missing, Partial, Soft
from graft.posterior import Posterior


def test_chains_equal_general_elimination(family):
    for one in possible(family):
        chain = posterior(one)
        general = Posterior(chain._situation, chain._anew, chains=False)
        close(chain.log_partition, general.log_partition, one)
        for name in one.unknown:
            found = (probabilities(one, name, p.marginals[name]) for p in (chain, general))
            close(*found, (one, name))


def test_a_ragged_batch_is_the_loop_over_its_members(family):
    for one in cases(family):
        found = given(one).log_partition
        for row in one.rows:
            close(alone(one, row).log_partition, found[row], (one, row))


def alone(one: Case, row: tuple[int, ...]) -> Posterior:
    """One row by itself, cut to the elements that exist wherever that leaves a rectangle."""
    letters = [x for x in one.space.exists if not one.space.left.get(x)]
    kept = {x: one.space.originals(row, x, {}) for x in letters}
    values = {name: cut(one, name, value, row, kept) for name, value in one.values.items()}
    sizes = {**one.space.sizes, **{x: len(places) for x, places in kept.items()}}
    masks = {x: inner(one, x, row, kept) for x in one.space.exists if x not in letters}
    return one.model.given(values, mask=masks or None, sizes=sizes)


def inner(one: Case, letter: str, row: tuple[int, ...], kept: dict[str, list[int]]) -> Tensor:
    mask = one.space.exists[letter][row]
    for dim, other in enumerate(one.space.left[letter]):
        if other in kept:
            mask = mask.index_select(dim, torch.tensor(kept[other], dtype=torch.long))
    return mask


def cut(one: Case, name: str, value: object, row: tuple[int, ...], kept: dict[str, list[int]]) -> object:
    """One row of a value or of evidence, removed elements taken out."""

    def part(tensor: Tensor) -> Tensor:
        tensor = tensor[row]
        for dim, letter in enumerate(one.space.axes[name]):
            if letter in kept:
                tensor = tensor.index_select(dim, torch.tensor(kept[letter], dtype=torch.long))
        return tensor

    if isinstance(value, Partial):
        return Partial(part(value.allowed))
    if isinstance(value, Soft):
        return Soft(part(value.log_weights))
    return Missing(part(value.value), part(value.where)) if isinstance(value, Missing) else part(value)


FORWARD = ("hmm", "local_latent", "chain_in_plate", "coupled", "second_order", "no_state", "global_in_chain", "scored")


@pytest.mark.parametrize("name", FORWARD)
def test_filtering_and_predicting_leave_later_evidence_out(name):
    """8 families of 27 are 216 models (504 in `make test-all`), each asked for one of the two."""
    for number, one in enumerate(possible(name, 4 * SEEDS + 3)):
        present = number % 2 == 0
        found = posterior(one).filtered if present else posterior(one).predicted
        for variable in one.unknown:
            if "t" not in one.space.axes[variable]:
                continue
            wanted = expected_marginal(one, variable, lambda row, key: past(one, row, key, present).table([key]))
            close(probabilities(one, variable, found[variable]), wanted, (one, variable))


def past(one: Case, row: tuple[int, ...], key, present: bool) -> Joint:
    """The joint of a row without what is observed after an element (or at it)."""
    axis = one.space.axes[key[0]].index("t")
    last = key[1][axis] if present else key[1][axis] - 1

    def early(name: str, place: tuple[int, ...]) -> bool:
        axes = one.space.axes[name]
        return "t" not in axes or place[axes.index("t")] <= last

    tables = []
    for piece, keys, table in ground(one.space, one.pieces, row):
        head = piece.left[0][0]
        moments = [k[1][one.space.axes[k[0]].index("t")] for k in keys if "t" in one.space.axes[k[0]]]
        if head in one.states or not moments or max(moments) <= last:
            tables.append((keys, table))
    weights = [(keys, table) for keys, table in one.unaries(row) if early(*keys[0])]
    return Joint(one.keys(row), [*tables, *weights])


def test_impossible_rows_are_named(family):
    for one in cases(family):
        if not one.dead:
            continue
        found = given(one)
        assert [tuple(r) for r in (found.log_partition == -torch.inf).nonzero().tolist()] == one.dead
        calls = [found.mode, found.sample, found.entropy]
        calls += [lambda name=name: found.marginals[name] for name in one.unknown]
        for call in calls:
            with pytest.raises(ImpossibleEvidence) as error:
                call()
            assert error.value.rows == one.dead, one


def test_single_precision_is_accurate_to_single_precision(family):
    for one in possible(family, 5):
        model = copy_of(one).float()
        found = model.given({n: single(v) for n, v in one.values.items()}, **one.options)
        assert found.log_partition.dtype == torch.float32, one
        close(found.log_partition, one.log_partition, one, 2e-5)
        for name in one.unknown:
            close(probabilities(one, name, found.marginals[name]), expected(one, name), one, 5e-5)


def expected(one: Case, name: str) -> Tensor:
    return expected_marginal(one, name, lambda row, key: one.joints[row].table([key]))


def copy_of(one: Case) -> graft.Model:
    import copy

    return copy.deepcopy(one.model)


def single(value: object) -> object:
    if isinstance(value, Soft):
        return Soft(value.log_weights.float())
    if isinstance(value, Missing):
        return Missing(value.value.float(), value.where)
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value

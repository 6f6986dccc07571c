"""The best assignments and samples, against enumeration."""

from __future__ import annotations

import math

import torch
from tests.reference.bulk import cases, close, drawable, given, possible, posterior
from tests.reference.case import Case


def check_values(one: Case, values: dict, lead: tuple[int, ...] = ()) -> None:
    """Names, shapes, supports, and 0 at removed elements."""
    for name in one.unknown:
        exists = one.existing(name)
        event = (one.bits[name],) if one.bits.get(name) else ()
        assert values[name].shape == (*lead, *exists.shape, *event), (one, name)
        states = one.encoded(name, values[name])
        assert bool(((states >= 0) & (states < one.states[name])).all()), (one, name)
        assert not bool(states[..., ~exists].any()), (one, name)


def test_the_mode_scores_highest(family):
    for one in possible(family):
        values = posterior(one).mode()
        check_values(one, values)
        found = one.by_row(lambda row: one.joints[row].score(one.assignment(row, values)))
        close(found, one.by_row(lambda row: one.joints[row].log.max()), one)


def test_top_k_is_sorted_distinct_and_complete(family):
    for number, one in enumerate(cases(family)):
        k = (1, 3, 20)[number % 3]
        values, scores = given(one).top_k(k)
        check_values(one, values, (k,))
        close(scores.movedim(0, -1), one.by_row(lambda row: one.joints[row].best(k), (k,)), one)
        for row in one.rows:
            check_ranks(one, values, scores, row)


def check_ranks(one: Case, values: dict, scores: torch.Tensor, row: tuple[int, ...]) -> None:
    seen = set()
    for rank in range(len(scores)):
        score = scores[(rank, *row)]
        if score == -math.inf:
            continue
        mine = {name: value[rank] for name, value in values.items() if name in one.unknown}
        assignment = one.assignment(row, mine)
        close(score, one.joints[row].score(assignment), (one, row, rank))
        seen.add(tuple(assignment.items()))
    assert len(seen) == int((scores[(slice(None), *row)] > -math.inf).sum()), (one, row)


def test_samples_have_the_frequencies_of_the_marginals(family):
    """6 sigma in each cell: about 1e-8 to fail by chance over some 2e4 cells times 2e-9 each, were seeds not fixed."""
    draws = 400
    for number, one in enumerate(drawable(family)):
        values = posterior(one).sample((draws,), seed=number)
        check_values(one, values, (draws,))
        for row in one.rows:
            for name in one.unknown:
                for key in one.elements(row, name):
                    check_cell(one, values, row, key, draws)


def check_cell(one: Case, values: dict, row, key, draws: int) -> None:
    place = (slice(None), *row, *one.space.where(row, key))
    count = one.encoded(key[0], values[key[0]])[place].bincount(minlength=one.states[key[0]])
    wanted = one.joints[row].table([key])
    spread = (wanted * (1 - wanted).clamp_min(0) / draws).sqrt()
    assert bool(((count / draws - wanted).abs() <= 6 * spread + 1e-6).all()), (one, row, key, count, wanted)


def test_samples_are_possible_and_their_pairs_are_right(family):
    """The whole assignment of every draw has a probability; that of the commonest one is met to 6 sigma."""
    draws = 300
    for number, one in enumerate(drawable(family)):
        values = posterior(one).sample((draws,), seed=100 + number)
        for row in one.rows:
            joint = one.joints[row]
            index = torch.zeros(draws, dtype=torch.long)
            for key in joint.keys:
                index = index * joint.states[key] + states_of(one, values, row, key, draws)
            probs = joint.probs.flatten()
            assert bool((probs[index] > 0).all()), (one, row)
            best = int(probs.argmax())
            share = float((index == best).double().mean())
            top = float(probs[best])
            assert abs(share - top) <= 6 * math.sqrt(top * (1 - top) / draws) + 1e-9, (one, row)


def states_of(one: Case, values: dict, row, key, draws: int) -> torch.Tensor:
    name = key[0]
    if name not in one.unknown:
        return torch.full((draws,), one.fixed(row, key))
    return one.encoded(name, values[name])[(slice(None), *row, *one.space.where(row, key))]


def test_seeds_repeat_and_leave_the_global_state_alone(family):
    for one in drawable(family, 2):
        before = torch.random.get_rng_state()
        first, again = (given(one).sample((3,), seed=5) for _ in range(2))
        assert torch.equal(before, torch.random.get_rng_state())
        assert all(torch.equal(first[name], again[name]) for name in first)

"""Exact sums equal enumeration: 35 families of random models, many of each, with and without hard zeros."""

from __future__ import annotations

import math

import torch
from tests.reference.bulk import cases, close, expected_marginal, filled, given, possible, posterior, probabilities
from tests.reference.case import Case
from tests.reference.ground import terms_of
from torch.autograd import grad

from graft.inference.evidence import Missing


def test_log_partition_is_the_sum_over_all_assignments(family):
    for one in cases(family):
        close(given(one).log_partition, one.log_partition, one)


def test_marginals_are_those_of_enumeration(family):
    for one in possible(family):
        for name in one.unknown:
            wanted = expected_marginal(one, name, lambda row, key: one.joints[row].table([key]))
            close(probabilities(one, name, posterior(one).marginals[name]), wanted, (one, name))


def test_marginals_are_derivatives_of_the_plain_reference(family):
    for one in possible(family):
        tables = {}
        for row in one.rows:
            keys = list(one.keys(row))
            zeros = [torch.zeros(one.states[k[0]], dtype=torch.float64, requires_grad=True) for k in keys]
            joint = one.joints[row].plus(list(zip([[k] for k in keys], zeros, strict=True)))
            found = grad(joint.log_partition, zeros) if keys else ()
            tables.update({(row, key): g for key, g in zip(keys, found, strict=True)})
        for name in one.unknown:
            wanted = expected_marginal(one, name, lambda row, key: tables[row, key])
            close(probabilities(one, name, posterior(one).marginals[name]), wanted, (one, name))


def scopes(one: Case) -> list[tuple[str, list]]:
    """The pairs of unknowns that stand in some formula together, elements left out."""
    found = {}
    for piece in one.pieces:
        terms = [t for t in terms_of(piece.text.replace("|", ",").replace("=", ",")) if t[0] in one.unknown]
        plain = [t for t in terms if not any(isinstance(i, int) for i in t[1]) and one.bits.get(t[0]) is None]
        plain = [t for t in plain if len(t[1]) == len(one.space.axes[t[0]])]
        for a in plain:
            for b in plain:
                if a != b:
                    found[f"{written(a)}, {written(b)}"] = [a, b]
    return list(found.items())[:4]


def written(term) -> str:
    name, index = term
    inner = ",".join(f"{x}{o:+d}" if o else x for x, o in index)
    return f"{name}[{inner}]" if index else name


def pair_table(one: Case, pair: list) -> torch.Tensor:
    letters = tuple(dict.fromkeys(i[0] for _, index in pair for i in index))

    def answer(row, place):
        keys = [one.space.key(row, name, index, place) for name, index in pair]
        return None if None in keys else one.joints[row].table(keys)

    table = filled(one, letters, [one.states[name] for name, _ in pair], answer)
    for axis, letter in enumerate(letters):
        offsets = [i[1] for _, index in pair for i in index if i[0] == letter]
        size, dim = one.space.sizes[letter], len(one.space.batch) + axis
        low = min(max(0, -min(offsets)), size)
        table = table.narrow(dim, low, max(size - max(0, *offsets), low) - low)
    return table


def test_pair_tables_are_those_of_enumeration(family):
    for one in possible(family):
        for text, pair in scopes(one):
            close(posterior(one).marginals[text], pair_table(one, pair), (one, text))


def test_entropy_is_that_of_enumeration(family):
    for one in possible(family):
        close(posterior(one).entropy(), one.by_row(lambda row: one.joints[row].entropy()), one)


def test_expectations_weigh_values_by_the_pair_table(family):
    for one in possible(family):
        for text, pair in scopes(one)[:1]:
            found = posterior(one).expectation(lambda a, b: (a + 2.0 * b) ** 2, text)
            values = [torch.arange(one.states[name], dtype=torch.float64) for name, _ in pair]
            squares = (values[0][:, None] + 2 * values[1]) ** 2
            close(found, (pair_table(one, pair) * squares).sum((-1, -2)), (one, text))


def test_log_prob_is_a_ratio_of_two_sums(family):
    for number, one in enumerate(cases(family)):
        generator = torch.Generator().manual_seed(number)
        names = [name for name in one.unknown if torch.rand((), generator=generator) < 0.6]
        asked, more = {}, {}
        for name in names:
            states = torch.randint(0, one.states[name], one.existing(name).shape, generator=generator)
            if isinstance(one.values.get(name), Missing):  # its known cells are to be repeated
                states = one.weights[name].argmax(-1)
            asked[name] = one.decoded(name, states)
            eye = torch.eye(one.states[name], dtype=torch.float64).log()
            more[name] = eye[states]
        found = posterior(one).log_prob(asked)
        both = one.by_row(lambda row: one.joint(row, more=more).log_partition.detach())
        ratio = torch.where(both > -math.inf, both - one.log_partition, -math.inf)
        close(found, ratio, (one, names))


def test_the_models_log_prob_divides_by_the_sum_without_evidence(family):
    for one in cases(family):
        found = one.model.log_prob(one.values, **one.options)
        whole = one.by_row(lambda row: one.unweighed(row).log_partition.detach())
        if one.directed():
            whole = torch.zeros_like(whole)
        ratio = torch.where(one.log_partition > -math.inf, one.log_partition - whole, -math.inf)
        close(found, ratio, one)

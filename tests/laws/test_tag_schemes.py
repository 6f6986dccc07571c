"""Laws of tag schemes: spans and legal sequences are one to one, and `allowed` knows which sequences are legal."""

from __future__ import annotations

import itertools
import random

import pytest

from graft.data.tag_schemes import SpanScores, allowed, decode, encode, span_scores, tags_of
from graft.errors import DataError

SCHEMES = ["BIO", "BIOES"]
every_scheme = pytest.mark.parametrize("scheme", SCHEMES)


def all_span_sets(length, labels, start=0):
    """Every set of labelled spans that do not overlap, within `start` to `length`."""
    if start >= length:
        yield ()
        return
    yield from all_span_sets(length, labels, start + 1)
    for end in range(start + 1, length + 1):
        for label, rest in itertools.product(labels, all_span_sets(length, labels, end)):
            yield ((start, end, label), *rest)


def random_spans(rng, length, labels):
    cuts = sorted(rng.sample(range(length + 1), rng.randint(0, min(length, 9))))
    pairs = [pair for pair in itertools.pairwise(cuts) if rng.random() < 0.6]
    return tuple((a, b, rng.choice(labels)) for a, b in pairs)


def acceptor(tags, scheme):
    """Whether a sequence of states is allowed, as a function."""
    rules = allowed(tags, scheme)
    first, last, pairs = rules.first.tolist(), rules.last.tolist(), rules.pairs.tolist()

    def accepts(states):
        return first[states[0]] and last[states[-1]] and all(pairs[a][b] for a, b in itertools.pairwise(states))

    return accepts


def is_legal(tags, scheme):
    try:
        decode(tags, scheme)
    except DataError:
        return False
    return True


# scheme, labels, longest sequence: the numbers of sequences are 3^5, 5^5, 5^5 and 9^4
SIZES = [("BIO", "x", 5), ("BIO", "xy", 5), ("BIOES", "x", 5), ("BIOES", "xy", 4)]


@pytest.mark.parametrize(("scheme", "labels", "longest"), SIZES, ids=str)
def test_legal_are_exactly_the_sequences_of_spans_for_decode_and_for_allowed(scheme, labels, longest):
    tags = tags_of(list(labels), scheme)
    accepts = acceptor(tags, scheme)
    for length in range(1, longest + 1):
        of_spans = {encode(spans, length, scheme): spans for spans in all_span_sets(length, labels)}
        for states in itertools.product(range(len(tags)), repeat=length):
            sequence = tuple(tags[s] for s in states)
            assert accepts(states) == is_legal(sequence, scheme) == (sequence in of_spans), sequence
        for sequence, spans in of_spans.items():
            assert decode(sequence, scheme) == decode(sequence, scheme, lenient=True) == spans


@every_scheme
def test_a_tag_set_in_any_order_and_with_gaps_has_the_same_rules(scheme):
    rng = random.Random(0)
    for _ in range(40):
        some = tags_of(["NP", "NP-TMP", "O"], scheme)  # labels with a dash, and one that looks like a tag
        tags = rng.sample(some, rng.randint(1, 5))
        accepts = acceptor(tags, scheme)
        for length in range(1, 4):
            for states in itertools.product(range(len(tags)), repeat=length):
                assert accepts(states) == is_legal([tags[s] for s in states], scheme)


@every_scheme
def test_spans_come_back(scheme):
    rng = random.Random(1)
    for _ in range(200):
        length = rng.randint(0, 40)
        spans = random_spans(rng, length, ["NP", "VP", "B-NP"])
        tags = encode(rng.sample(spans, len(spans)), length, scheme)
        assert len(tags) == length and set(tags) <= set(tags_of(["NP", "VP", "B-NP"], scheme))
        assert decode(tags, scheme) == spans


def conlleval(tags):
    """The spans as the rules of the script `conlleval` have it: where a chunk begins, where one ends."""
    spans, start, letter, label = [], None, "O", ""
    for place, tag in enumerate([*tags, "O"]):
        new, _, kind = tag.partition("-")
        ends = letter + new in {"BB", "BO", "IB", "IO", "BS", "IS"} or letter in "ES"
        ends |= letter != "O" and label != kind
        begins = new in "BS" or letter + new in {"EE", "EI", "OE", "OI", "SE", "SI"}
        begins |= new != "O" and label != kind
        if ends and start is not None:
            spans.append((start, place, label))
            start = None
        start = place if begins else start
        letter, label = new, kind
    return tuple(spans)


@pytest.mark.parametrize(("scheme", "labels", "longest"), SIZES, ids=str)
def test_lenient_reading_is_that_of_conlleval(scheme, labels, longest):
    for length in range(longest + 1):
        for tags in itertools.product(tags_of(list(labels), scheme), repeat=length):
            assert decode(tags, scheme, lenient=True) == conlleval(tags), tags


def test_the_tags_of_labels_stand_in_order():
    assert tags_of(["NP", "VP"], "BIOES") == tuple("O B-NP I-NP E-NP S-NP B-VP I-VP E-VP S-VP".split())
    assert len(tags_of(["SUBJ", "OBJ", "OBL", "MOD", "OTHER"])) == 11


ILLEGAL = {
    "starts inside": ("BIO", "I-x", "tag 0 is 'I-x' at the start: .* none is open"),
    "inside after O": ("BIO", "B-x O I-x", "tag 2 is 'I-x' after 'O'"),
    "other label": ("BIO", "B-x I-y", "tag 1 is 'I-y' after 'B-x': it goes on with a span of 'y'"),
    "not ended": ("BIOES", "O B-x", "the sequence ends after 'B-x': a span of 'x' is open"),
    "broken off": ("BIOES", "B-x O", "tag 1 is 'O' after 'B-x': a span of 'x' is open and must be ended with E"),
    "ended twice": ("BIOES", "B-x E-x E-x", "tag 2 is 'E-x' after 'E-x'"),
    "end of another scheme": ("BIO", "O E-x", "tag 1 is 'E-x'; expected O, or one of B, I with"),
    "no label": ("BIO", "O B", "tag 1 is 'B'; expected"),
    "empty label": ("BIO", "B-", "tag 0 is 'B-'"),
    "two letters": ("BIO", "BI-x", "tag 0 is 'BI-x'"),
    "no letter": ("BIO", "-x", "tag 0 is '-x'"),
    "outside with label": ("BIO", "O-x", "tag 0 is 'O-x'"),
    "small": ("BIO", "o", "tag 0 is 'o'"),
    "scheme": ("IOB", "B-x", "unknown scheme 'IOB'; expected one of BIO, BIOES"),
}


@pytest.mark.parametrize(("scheme", "tags", "message"), ILLEGAL.values(), ids=ILLEGAL)
def test_an_illegal_sequence_is_named_with_its_place(scheme, tags, message):
    with pytest.raises(DataError, match=message):
        decode(tags.split(), scheme)


WRONG_CALLS = {
    "overlap": (lambda: encode([(1, 3, "x"), (0, 2, "x")], 4), r"\(0, 2, 'x'\) and \(1, 3, 'x'\) overlap"),
    "inside another": (lambda: encode([(0, 4, "x"), (1, 2, "y")], 4), "overlap"),
    "twice": (lambda: encode([(0, 1, "x"), (0, 1, "x")], 4), "overlap"),
    "empty": (lambda: encode([(1, 1, "x")], 4), r"\(1, 1, 'x'\) must have 0 <= first < last <= 4"),
    "backwards": (lambda: encode([(2, 1, "x")], 4), "must have"),
    "before": (lambda: encode([(-1, 1, "x")], 4), "must have"),
    "beyond": (lambda: encode([(3, 5, "x")], 4), "must have"),
    "no label": (lambda: encode([(0, 1, "")], 4), "and a label"),
    "length": (lambda: encode([], -1), "got length -1"),
    "encode scheme": (lambda: encode([], 3, "IO"), "unknown scheme 'IO'"),
    "label twice": (lambda: tags_of(["x", "x"], "BIO"), "distinct"),
    "empty label": (lambda: tags_of(["x", ""], "BIO"), "none empty"),
    "one string": (lambda: tags_of("NP", "BIO"), "must be a sequence"),
    "tags scheme": (lambda: tags_of(["x"], "IO"), "unknown scheme 'IO'"),
    "no tags": (lambda: allowed([]), "at least one"),
    "tag twice": (lambda: allowed(["O", "O"]), "distinct"),
    "no tag": (lambda: allowed(["O", "NOUN"]), "tag 1 is 'NOUN'; expected O, or"),
    "allowed scheme": (lambda: allowed(["O"], "IO"), "unknown scheme"),
    "decode scheme": (lambda: decode([], "IO"), "unknown scheme"),
    "gold twice": (lambda: span_scores([(0, 1, "x")] * 2, []), "a gold span is there twice"),
    "found twice": (lambda: span_scores([], [(0, 1, "x")] * 2), "a found span is there twice"),
    "more right": (lambda: SpanScores(right=2, gold=1, found=3), "no more than either"),
    "negative": (lambda: SpanScores(right=-1, gold=1, found=3), "no more than either"),
    "nothing found": (lambda: SpanScores(gold=1).precision, "precision is not defined: no span was found"),
    "nothing gold": (lambda: SpanScores(found=1).recall, "recall is not defined: there is no gold span"),
    "nothing at all": (lambda: SpanScores().f1, "F1 is not defined"),
}


@pytest.mark.parametrize(("call", "message"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_wrong_calls_are_refused(call, message):
    with pytest.raises(DataError, match=message):
        call()


def test_scores_are_the_harmonic_mean_and_add_up():
    rng, parts = random.Random(2), []
    for _ in range(50):
        gold, found = (random_spans(rng, 8, ["x", "y"]) for _ in range(2))
        part = span_scores(gold, found)
        assert part.right == sum(span in gold for span in found)
        assert (part.gold, part.found) == (len(gold), len(found))
        parts.append(part)
    total = sum(parts, SpanScores())
    assert total.right == sum(p.right for p in parts) > 0
    assert total.f1 == pytest.approx(2 / (1 / total.precision + 1 / total.recall))
    assert total.precision == total.right / total.found and total.recall == total.right / total.gold


def test_what_is_found_exactly_scores_one_and_what_is_missed_scores_nought():
    gold = [(0, 2, "x"), (3, 4, "y")]
    assert span_scores(gold, gold).f1 == 1
    for near in ([(0, 2, "y")], [(0, 1, "x")], [(1, 2, "x")], []):
        assert span_scores(gold, near).f1 == 0

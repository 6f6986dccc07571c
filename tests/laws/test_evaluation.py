"""Laws of the figures of merit: edit distances against brute force, intervals, comparisons of arms."""

from __future__ import annotations

import csv
import math
import random
from functools import cache

import pytest
from rich.console import Console
from scipy import stats

from graft.errors import GraftError
from graft.evaluation.arms import Comparison, Kind
from graft.evaluation.edit_distance import EditCounts, align, count, score
from graft.evaluation.intervals import summarise

# ---- edit distance


def random_pairs(number=600):
    rng = random.Random(0)
    for _ in range(number):
        alphabet = range(rng.randint(1, 4))
        yield tuple(tuple(rng.choices(alphabet, k=rng.randint(0, 5))) for _ in range(2))


@cache
def every_alignment(reference, hypothesis):
    """All alignments there are, as counts (substitutions, deletions, insertions)."""
    if not reference and not hypothesis:
        return frozenset([(0, 0, 0)])
    found = set()
    if reference and hypothesis:
        differs = reference[0] != hypothesis[0]
        found |= {(s + differs, d, i) for s, d, i in every_alignment(reference[1:], hypothesis[1:])}
    if reference:
        found |= {(s, d + 1, i) for s, d, i in every_alignment(reference[1:], hypothesis)}
    if hypothesis:
        found |= {(s, d, i + 1) for s, d, i in every_alignment(reference, hypothesis[1:])}
    return frozenset(found)


def test_counts_are_the_best_of_all_alignments():
    for reference, hypothesis in random_pairs():
        counts = count(align(reference, hypothesis))
        best = min(every_alignment(reference, hypothesis), key=lambda c: (sum(c), c[0]))
        assert (counts.substitutions, counts.deletions, counts.insertions) == best


def test_an_alignment_holds_both_strings_in_order():
    for reference, hypothesis in random_pairs():
        pairs = align(reference, hypothesis)
        assert tuple(r for r, _ in pairs if r is not None) == reference
        assert tuple(h for _, h in pairs if h is not None) == hypothesis
        assert (None, None) not in pairs


def test_turning_the_strings_round_swaps_deletions_and_insertions():
    for reference, hypothesis in random_pairs():
        one, two = count(align(reference, hypothesis)), count(align(hypothesis, reference))
        assert (one.substitutions, one.deletions, one.insertions) == (
            two.substitutions,
            two.insertions,
            two.deletions,
        )


def test_the_distance_is_a_metric():
    strings = [pair[0] for pair in random_pairs(60)]
    for a, b, c in zip(strings, strings[1:], strings[2:], strict=False):
        ab, bc, ac = (count(align(x, y)).errors for x, y in ((a, b), (b, c), (a, c)))
        assert ac <= ab + bc
        assert (ab == 0) == (a == b)


def test_a_corpus_is_the_sum_of_its_sequences():
    pairs = list(random_pairs(100))
    total = score(*zip(*pairs, strict=True))
    single = sum((score([r], [h]) for r, h in pairs), start=EditCounts())
    assert total == single
    assert (total.sequences, total.labels) == (100, sum(len(r) for r, _ in pairs))
    assert total.exact == sum(r == h for r, h in pairs)


FIGURES = [  # reference, hypothesis, recognised, accuracy, exact
    ("abcd", "abcd", 100, 100, 100),
    ("abcd", "", 0, 0, 0),
    ("abcd", "abcdabcdabcd", 100, -100, 0),
    ("abcd", "abxd", 75, 75, 0),
    ("aab", "ab", 100 * 2 / 3, 100 * 2 / 3, 0),
    ("ab", "bc", 50, 0, 0),
]


@pytest.mark.parametrize(("reference", "hypothesis", "recognised", "accuracy", "exact"), FIGURES)
def test_figures(reference, hypothesis, recognised, accuracy, exact):
    counts = score([reference], [hypothesis])
    assert counts.recognised == pytest.approx(recognised)
    assert counts.accuracy == pytest.approx(accuracy)
    assert counts.exact_rate == exact


NOTHING = {
    "no strings": lambda: score([], []),
    "unequal": lambda: score(["a"], ["a", "b"]),
    "no labels": lambda: score([""], ["a"]).accuracy,
    "nothing counted": lambda: EditCounts().exact_rate,
}


@pytest.mark.parametrize("call", NOTHING.values(), ids=NOTHING)
def test_nothing_to_compare_is_an_error(call):
    with pytest.raises(GraftError, match=r"empty data|at least one"):
        call()


# ---- intervals


def test_the_interval_is_that_of_a_t_test():
    values = dict(enumerate([71.0, 74.5, 70.2, 73.3, 75.1]))
    expected = stats.ttest_1samp(list(values.values()), 0).confidence_interval(0.9)
    assert summarise(values, confidence=0.9).interval == pytest.approx(tuple(expected))


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = random.Random(0)
    covered = 0
    for _ in range(1000):
        low, high = summarise({k: rng.gauss(5, 2) for k in range(4)}, confidence=0.9).interval
        covered += low <= 5 <= high
    # 5 standard errors: wrong by chance for one seed in 1.7 million
    assert abs(covered / 1000 - 0.9) < 5 * math.sqrt(0.9 * 0.1 / 1000)


def test_one_run_has_no_interval_and_no_deviation():
    summary = summarise({7: 3.0})
    assert (summary.mean, summary.deviation, summary.interval, summary.runs) == (3.0, None, None, 1)
    assert "no interval: 1 run" in str(summary)


def test_absent_runs_are_named_and_left_out():
    summary = summarise({0: 1.0, 1: math.nan, 2: 3.0, 3: None})
    assert (summary.mean, summary.runs, summary.absent) == (2.0, 2, {1: "NaN", 3: "missing"})
    assert "seed 1 NaN, seed 3 missing" in str(summary)


def test_no_runs_at_all():
    assert str(summarise({0: None})) == "no runs [seed 0 missing]"


def test_an_infinite_run_is_not_hidden():
    summary = summarise({0: 1.0, 1: -math.inf})
    assert summary.mean == -math.inf
    assert summary.interval is None
    assert "-inf (no interval: infinite)" in str(summary)


def test_equal_runs_have_an_interval_of_no_width():
    assert summarise({0: 2.0, 1: 2.0}).interval == (2.0, 2.0)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_is_a_probability(confidence):
    with pytest.raises(GraftError, match="confidence"):
        summarise({0: 1.0}, confidence=confidence)


# ---- arms


@pytest.fixture
def runs():
    comparison = Comparison(["net", "separate", "joint"], seeds=[0, 1, 2])
    accuracy = {"net": [70.0, 72.0, 74.0], "separate": [75.0, math.nan, 79.0], "joint": [80.0, 83.0]}
    for arm, values in accuracy.items():
        for seed, value in enumerate(values):
            comparison.add(arm, seed, "accuracy", value)
            comparison.add(arm, seed, "log p", -value, kind=Kind.LOWER)
    return comparison


def text(table):
    console = Console(width=200, file=None, record=True, quiet=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_differences_are_paired_by_seed(runs):
    difference = runs.difference("joint", "net", "accuracy")
    assert difference.mean == pytest.approx(10.5)
    assert difference.absent == {2: "missing"}
    assert runs.difference("separate", "net", "accuracy").absent == {1: "NaN"}


def test_pairing_removes_what_the_seed_does_to_both(runs):
    assert runs.difference("joint", "net", "accuracy").half_width < runs.summary("net", "accuracy").half_width * 2
    assert runs.difference("net", "net", "accuracy").interval == (0.0, 0.0)


@pytest.mark.parametrize("render", [lambda r, **o: text(r.table(**o)), lambda r, **o: r.markdown(**o)])
def test_tables_name_arms_kinds_and_absent_runs(runs, render):
    shown = render(runs)
    for part in (
        "separate",
        "accuracy (exact)",
        "log p (lower bound)",
        "seed 1 NaN",
        "seed 2 missing",
        "72 ± 5",
    ):
        assert part in shown
    compared = render(runs, against="net")
    assert "joint - net" in compared
    assert "difference: lower bound" in compared


def test_names_are_never_read_as_markup():
    runs = Comparison(["[bold]a|b"], seeds=[0])
    runs.add("[bold]a|b", 0, "[red]x", 1.0)
    assert "[bold]a|b" in text(runs.table())
    assert "[red]x" in text(runs.table())
    assert "[bold]a\\|b" in runs.markdown()


def test_one_seed_is_shown_as_such():
    runs = Comparison(["net"], seeds=[0])
    runs.add("net", 0, "accuracy", 50.0)
    assert "50 (no interval: 1 run)" in runs.markdown()
    assert "±" not in runs.markdown().splitlines()[2]


def test_csv_holds_every_figure_exactly(runs, tmp_path):
    with runs.write_csv(tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 3 * 2
    for row in rows:
        value = runs.value(row["arm"], int(row["seed"]), row["figure"])
        assert row["value"] == ("" if value is None else repr(value))
        assert row["kind"] == ("exact" if row["figure"] == "accuracy" else "lower bound")


REFUSED = {
    "kinds": (lambda r: r.add("joint", 2, "accuracy", 1.0, kind=Kind.ESTIMATE), "cannot also hold: estimate"),
    "sides": (lambda r: r.add("joint", 2, "log p", 1.0, kind=Kind.UPPER), "is lower bound"),
    "twice": (lambda r: r.add("net", 0, "accuracy", 1.0), "given twice"),
    "arm": (lambda r: r.add("nett", 0, "accuracy", 1.0), "unknown arm 'nett'; expected one of net"),
    "seed": (lambda r: r.add("net", 3, "accuracy", 1.0), "unknown seed 3; expected one of 0, 1, 2"),
    "figure": (lambda r: r.summary("net", "loss"), "unknown figure 'loss'; there are: accuracy, log p"),
    "against": (lambda r: r.table(against="nett"), "unknown arm 'nett'"),
    "no arms": (lambda r: Comparison([], seeds=[0]), "arms must be distinct, at least one"),
    "no seeds": (lambda r: Comparison(["a"], seeds=[]), "seeds must be distinct, at least one"),
    "two of a kind": (lambda r: Comparison(["a", "a"], seeds=[0]), "arms must be distinct"),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused(runs, call, message):
    with pytest.raises(GraftError, match=message):
        call(runs)

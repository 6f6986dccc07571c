"""Laws of the scikit-learn face and of the layer for users of pytorch-crf, against enumeration."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import cross_val_score
from tests.reference.chain import Enumerated, log_sum

from graft.data.tag_schemes import decode
from graft.errors import DataError, GraftError, ImpossibleEvidence
from graft.sklearn import CRF, CRFLayer
from graft.sklearn.batches import grouped

NEG_INF = float("-inf")
WORDS = [["time", "flies", "like"], [], ["fruit"], ["flies", "like", "fruit", "time"], ["like", "time"]]
LABELS = [["N", "V", "P"], [], ["N"], ["N", "V", "N", "P"], ["V", "N"]]
TAGS = [["O", "B-x", "I-x"], [], ["B-x"], ["B-x", "I-x", "O", "B-x"], ["O", "O"]]
DICTS = [[{"w": w, "long": len(w) > 4, "len": len(w) / 4, "suf": [w[-1], w[-2:]]} for w in one] for one in WORDS]
ARRAYS = [np.array([[len(w) - 4.5, w.count("i")] for w in one], dtype=float).reshape(-1, 2) for one in WORDS]
MATRIX = [[True, True, False], [True, False, True], [True, True, True]]


@dataclass(frozen=True)
class Case:
    """Data of one fit, and its settings."""

    X: list
    y: list
    settings: dict = field(default_factory=dict)


TABLE = {
    "tokens": Case(WORDS, LABELS),
    "dicts": Case(DICTS, LABELS, {"all_possible_transitions": True}),
    "everything": Case(DICTS, LABELS, {"all_possible_transitions": True, "all_possible_states": True, "ends": True}),
    "arrays": Case(ARRAYS, LABELS, {"ends": True}),
    "not annotated": Case(DICTS, [["N", None, "P"], [], ["N"], [None] * 4, ["V", -100]], {"ignore": -100}),
    "BIO": Case(WORDS, TAGS, {"constraints": "BIO", "all_possible_transitions": True}),
    "BIOES": Case(
        WORDS[:2] + WORDS[3:],
        [["O", "B-x", "E-x"], [], ["S-x", "B-x", "I-x", "E-x"], ["O", None]],
        {"constraints": "BIOES", "ends": True},
    ),
    "matrix": Case(WORDS, [["N", "P", "V"], [], ["N"], ["N", "N", "P", "V"], ["V", "P"]], {"constraints": MATRIX}),
    "told labels": Case(WORDS, LABELS, {"labels": ["V", "X", "P", "N"]}),
    "labels of all kinds": Case(WORDS, [[1, ("a", 2), "P"], [], [1], [1, 1, "P", "P"], [True, "P"]]),
    "one label": Case(WORDS, [["N"] * len(one) for one in WORDS]),
    "single precision": Case(WORDS, LABELS, {"dtype": "float32", "epsilon": 1e-3}),
}
cases = pytest.mark.parametrize("name", TABLE)


@cache
def fitted(name: str) -> CRF:
    case = TABLE[name]
    return CRF(**{"c2": 0.3, **case.settings}).fit(case.X, case.y)


@cache
def listed(name: str) -> list[Enumerated]:
    """Every sequence of labels of every X, from the features that the model says it has, in plain Python."""
    crf, case = fitted(name), TABLE[name]
    states, moves = crf.state_features_, crf.transition_features_
    tables = {
        text: node.module.values.tolist() for text, node in by_formula(crf).items() if hasattr(node.module, "values")
    }
    rows = []
    zeros = [0.0] * len(crf.classes_)
    for one in case.X:
        ends = {0: "y[0]", len(one) - 1: "y[-1]"} if len(one) > 1 else {}
        unary = []
        for t, item in enumerate(one):
            parts = [tables.get(text, zeros) for text in ("y[t]", *(["y[0]", "y[-1]"] if len(one) == 1 else []))]
            parts.append(tables.get(ends.get(t, ""), zeros))
            parts += [[v * states.get((a, label), 0.0) for label in crf.classes_] for a, v in named(item)]
            unary.append([sum(column) for column in zip(*parts, strict=True)])
        pairs = [[moves.get((a, b), 0.0) for b in crf.classes_] for a in crf.classes_]
        rows.append(Enumerated(unary, [pairs] * max(len(one) - 1, 0), [True] * len(one)))
    return rows


def by_formula(crf: CRF) -> dict:
    return {node.formula.text: node for node in crf.model_.graph.nodes}


def named(item) -> list[tuple]:
    """Attributes of an item of this file, written out."""
    if isinstance(item, dict):
        return [
            (f"w:{item['w']}", 1.0), ("long", float(item["long"])), ("len", item["len"]),
            *((f"suf:{s}", 1.0) for s in item["suf"]),
        ]  # fmt: skip
    return list(enumerate(item.tolist())) if isinstance(item, np.ndarray) else [(item, 1.0)]


def tolerance(name: str) -> float:
    return 1e-4 if "float32" in TABLE[name].settings.values() else 1e-9


@cases
def test_marginals(name):
    for got, dicts, row in zip(
        fitted(name).predict_proba(TABLE[name].X),
        fitted(name).predict_marginals(TABLE[name].X),
        listed(name),
        strict=True,
    ):
        want = np.array(row.marginals()).reshape(-1, len(fitted(name).classes_))
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance(name))
        assert [[one[label] for label in fitted(name).classes_] for one in dicts] == got.tolist()


@cases
def test_predictions_are_the_best_sequences_in_order(name):
    crf, k = fitted(name), 300
    best = crf.predict(TABLE[name].X)
    for got, one, row in zip(crf.predict_top_k(TABLE[name].X, k), best, listed(name), strict=True):
        want = row.ranked()[:k]
        assert len(got) == len(want)
        probs = [p for _, p in got]
        np.testing.assert_allclose(probs, [s - row.log_partition for s, _ in want], rtol=0, atol=10 * tolerance(name))
        assert probs == sorted(probs, reverse=True) and len({tuple(y) for y, _ in got}) == len(got)
        score = row.scores[tuple(crf.classes_.index(label) for label in one)]
        assert score >= want[0][0] - tolerance(name)


@cases
def test_log_prob(name):
    crf, case = fitted(name), TABLE[name]
    got = crf.log_prob(case.X, case.y)
    for number, (labels, row) in enumerate(zip(case.y, listed(name), strict=True)):
        known = [None if y in (None, -100) else crf.classes_.index(y) for y in labels]
        fits = [s for y, s in row.scores.items() if all(k in (None, a) for k, a in zip(known, y, strict=True))]
        assert got[number] == pytest.approx(log_sum(fits) - row.log_partition, abs=10 * tolerance(name))


@cases
def test_the_optimum_is_flat(name):
    """The penalised likelihood has no slope along learnt weights, by differences of log_prob (a law above)."""
    crf, case = fitted(name), TABLE[name]
    parameters = list(crf.model_.parameters())

    def loss():
        squares = sum(float((p.detach()[p.detach() > NEG_INF] ** 2).sum()) for p in parameters)
        return -crf.log_prob(case.X, case.y).sum() + crf.c2 * squares

    def slope(p, place, step=1e-3):
        flat = p.detach().view(-1)
        before = flat[place].item()
        found = []
        for sign in (1, -1):
            flat[place] = before + sign * step
            found.append(loss())
        flat[place] = before
        return (found[0] - found[1]) / (2 * step)

    learnt = [(p, i) for p in parameters for i, v in enumerate(p.detach().view(-1).tolist()) if v not in (0.0, NEG_INF)]
    size = max(1.0, math.sqrt(sum(p.detach().view(-1)[i].item() ** 2 for p, i in learnt)))
    bound = 2 * crf.epsilon * size + (3e-3 if name == "single precision" else 1e-6)
    for p, place in learnt[:: max(1, len(learnt) // 5)]:
        assert abs(slope(p, place)) < bound


def test_weights_are_learnt_of_what_occurs_unless_told():
    crf = fitted("tokens")
    seen = {pair for one in LABELS for pair in itertools.pairwise(one)}
    assert set(crf.transition_features_) == seen
    assert set(crf.state_features_) == {
        (word, label)
        for words, labels in zip(WORDS, LABELS, strict=True)
        for word, label in zip(words, labels, strict=True)
    }
    everything = fitted("everything")
    assert len(everything.transition_features_) == 9
    assert len(everything.state_features_) == 3 * len(everything.attributes_)


def test_constraints_hold_in_every_prediction():
    crf = fitted("BIO")
    for one in crf.predict_top_k(WORDS, 50):
        for tags, _ in one:
            decode(tags, "BIO")  # raises where a tag may not stand
    assert crf.transition_features_["O", "I-x"] == NEG_INF
    assert np.isneginf(crf.log_prob([["time", "flies"]], [["O", "I-x"]])).all()


def test_forbidden_labels_are_refused_before_fitting():
    with pytest.raises(ImpossibleEvidence, match=r"X\[1\]") as caught:
        CRF(constraints="BIO").fit([["a"], ["b", "c"]], [["B-x"], ["O", "I-x"]])
    assert caught.value.rows == [(1,)]
    only_pairs = CRF(constraints="BIOES", labels=["B-x", "E-x"]).fit([["a", "b"]], [["B-x", "E-x"]])
    assert only_pairs.predict([["a", "b"]]) == [["B-x", "E-x"]]
    with pytest.raises(ImpossibleEvidence, match=r"X\[2\]"):
        only_pairs.predict([["a", "b"], [], ["a"]])
    assert only_pairs.predict_top_k([["a"]], 3) == [[]]


def test_what_fitting_has_not_seen():
    crf = fitted("dicts")
    assert crf.predict([[{"w": "unseen"}], []])[1] == []
    same = crf.predict_proba([[{"w": "unseen", "other": 3.0}]])[0]
    np.testing.assert_array_equal(same, crf.predict_proba([[{}]])[0])
    assert crf.log_prob(DICTS[:1], [["N", "V", "?"]]).tolist() == [NEG_INF]
    assert crf.score(DICTS[2:3] * 2, [["?"], crf.predict(DICTS[2:3])[0]]) == 0.5


def test_score_counts_annotated_elements():
    crf = fitted("tokens")
    predicted = crf.predict(WORDS)
    assert crf.score(WORDS, predicted) == 1.0
    holes = [[None, *one[1:]] for one in predicted if one]
    assert crf.score([one for one in WORDS if one], holes) == 1.0
    with pytest.raises(GraftError, match="no label"):
        crf.score([["time"]], [[None]])


def test_fitting_is_repeatable_and_batches_hold_every_sequence_once():
    crf, again = fitted("dicts"), clone(fitted("dicts")).fit(DICTS, LABELS)
    assert again.state_features_ == crf.state_features_ and again.n_iter_ == crf.n_iter_
    parts = list(grouped(crf._fitted.reader.read(DICTS), 3, cells=60))
    assert len(parts) > 1 and sorted(row for part in parts for row in part.tolist()) == [0, 2, 3, 4]


def test_conventions_of_scikit_learn():
    crf = CRF(c2=0.5, ends=True)
    assert clone(crf).get_params() == crf.get_params() and crf.set_params(c2=0.1).c2 == 0.1
    assert not hasattr(crf, "classes_") and not hasattr(crf, "state_features_")
    for call in (lambda: crf.predict(WORDS), lambda: crf.score(WORDS, LABELS), lambda: crf.transition_features_):
        with pytest.raises(NotFittedError):
            call()
    scores = cross_val_score(CRF(), WORDS * 2, LABELS * 2, cv=2)
    assert scores.shape == (2,) and ((scores >= 0) & (scores <= 1)).all()


def test_a_fit_that_is_cut_short_says_so():
    with pytest.warns(ConvergenceWarning, match="after 1 iterations"):
        crf = CRF(max_iterations=1, c2=0.1).fit(WORDS, LABELS)
    assert crf.n_iter_ == 1


@pytest.mark.parametrize("name", ["dicts", "arrays", "BIO", "labels of all kinds", "matrix", "told labels"])
def test_files_keep_everything(name, tmp_path):
    crf, case = fitted(name), TABLE[name]
    crf.save(tmp_path / "crf")
    back = CRF.load(tmp_path / "crf")
    assert (back.get_params(), back.classes_, back.n_iter_) == (crf.get_params(), crf.classes_, crf.n_iter_)
    assert [type(label) for label in back.classes_] == [type(label) for label in crf.classes_]
    assert back.predict_marginals(case.X) == crf.predict_marginals(case.X)
    assert back.state_features_ == crf.state_features_


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="holds no saved CRF"):
        CRF.load(tmp_path)
    fitted("tokens").save(tmp_path)
    told = json.loads((tmp_path / "crf.json").read_text())
    for change in ({"version": 2}, {"classes": ["N"]}, {"inputs": {}}, {"settings": 3}):
        (tmp_path / "crf.json").write_text(json.dumps(told | change))
        with pytest.raises(DataError):
            CRF.load(tmp_path)


WRONG = {
    "strings": (["time"], [["N"]], {}, r"X\[0\] must be a sequence"),
    "no list": (3, [["N"]], {}, "must be a list of sequences"),
    "other number": (WORDS, LABELS[:2], {}, "5 sequences, y has 2"),
    "other length": ([["a", "b"]], [["N"]], {}, r"X\[0\] has 2 elements, y\[0\] has 1"),
    "nothing": ([[], []], [[], []], {}, "holds no element"),
    "no label": ([["a"]], [[None]], {}, "holds no label"),
    "nan label": ([["a"]], [[float("nan")]], {}, r"y\[0\]\[0\] is nan"),
    "unhashable label": ([["a"]], [[{}]], {}, "hashable"),
    "label not told": ([["a"]], [["N"]], {"labels": ["V"]}, "labels= does not list"),
    "value": ([[{"a": float("inf")}]], [["N"]], {}, "'a' has the value inf"),
    "value of no kind": ([[{"a": None}]], [["N"]], {}, "'a' has the value None"),
    "name": ([[{3: 1.0}]], [["N"]], {}, "names of attributes are strings"),
    "token": ([[None]], [["N"]], {}, "hashable token"),
    "nan in array": ([np.array([[1.0], [np.nan]])], [["N", "N"]], {}, r"X\[0\] is not finite at element 1"),
    "other dimensions": ([np.ones((1, 2)), np.ones((1, 3))], [["N"], ["N"]], {}, r"not \(time, 2\)"),
    "mixed kinds": ([np.ones((1, 2)), ["a"]], [["N"], ["N"]], {}, "no array"),
    "mixed kinds too": ([["a"], np.ones((1, 2))], [["N"], ["N"]], {}, r"X\[1\] is an array"),
    "c2": (WORDS, LABELS, {"c2": -1}, "c2 must be"),
    "ends": (WORDS, LABELS, {"ends": 1}, "ends must be"),
    "iterations": (WORDS, LABELS, {"max_iterations": 0}, "max_iterations must be"),
    "dtype": (WORDS, LABELS, {"dtype": "half"}, "dtype must be"),
    "no tags": (WORDS, LABELS, {"constraints": "BIO"}, "expected O"),
    "matrix of numbers": (WORDS, LABELS, {"constraints": np.ones((3, 3))}, "matrix of truth values"),
    "small matrix": (WORDS, LABELS, {"constraints": [[True]]}, "do not fit the 3 classes"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name):
    X, y, settings, message = WRONG[name]
    with pytest.raises(GraftError, match=message):
        CRF().set_params(**settings).fit(X, y)


MASKS = {
    "whole": [[1, 1, 1, 1], [1, 1, 1, 1]],
    "right": [[1, 1, 1, 0], [1, 0, 0, 0]],
    "left": [[0, 1, 1, 1], [0, 0, 0, 1]],
    "holes": [[1, 0, 1, 1], [0, 1, 0, 1]],
    "empty row": [[0, 0, 0, 0], [1, 1, 0, 1]],
}
masks = pytest.mark.parametrize("name", MASKS)
both = pytest.mark.parametrize("batch_first", [True, False])


def layer(name, batch_first, dtype=torch.float64):
    """A layer, emissions and tags with rubbish where the mask is off, the mask, and every sequence of each row."""
    generator = torch.Generator().manual_seed(2)
    crf = CRFLayer(3, batch_first=batch_first).to(dtype)
    for parameter in crf.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    mask = torch.tensor(MASKS[name]).bool()
    emissions = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64).to(dtype)
    tags = torch.randint(3, (2, 4), generator=generator).where(mask, -100)
    rows = []
    for e, on in zip(emissions.double(), mask, strict=True):
        unary, places = e.clone(), on.nonzero()[:, 0]
        if len(places):
            unary[places[0]] += crf.start_transitions.detach().double()
            unary[places[-1]] += crf.end_transitions.detach().double()
        pairs = [crf.transitions.double().tolist()] * 3
        rows.append(Enumerated(unary.tolist(), pairs, on.tolist()))
    emissions = emissions.masked_fill(~mask[..., None], math.nan)
    given = [emissions, tags, mask]
    return crf, *(given if batch_first else [x.transpose(0, 1) for x in given]), rows


@masks
@both
def test_layer_against_enumeration(name, batch_first):
    crf, emissions, tags, mask, rows = layer(name, batch_first)
    emissions = emissions.clone().requires_grad_()
    truth = tags if batch_first else tags.T
    want = [r.scores[tuple(y.clamp_min(0).tolist())] - r.log_partition for y, r in zip(truth, rows, strict=True)]
    each = crf(emissions, tags, mask, reduction="none")
    assert each.tolist() == pytest.approx(want, abs=1e-9)
    assert crf(emissions, tags, mask.to(torch.uint8)).item() == pytest.approx(sum(want), abs=1e-9)
    assert crf(emissions, tags, mask, reduction="mean").item() == pytest.approx(sum(want) / 2, abs=1e-9)
    token_mean = crf(emissions, tags, mask, reduction="token_mean")
    assert token_mean.item() == pytest.approx(sum(want) / int(mask.sum()), abs=1e-9)
    (gradient,) = torch.autograd.grad(each.sum(), emissions)
    assert gradient.isfinite().all() and (gradient[~mask] == 0).all()
    assert crf.log_partition(emissions, mask).tolist() == pytest.approx([r.log_partition for r in rows], abs=1e-9)
    marginals = crf.marginals(emissions, mask)
    marginals = marginals if batch_first else marginals.transpose(0, 1)
    torch.testing.assert_close(marginals, torch.tensor([r.marginals() for r in rows]).double())
    best = [[y[t] for t in r.places] for r in rows for y in [r.ranked()[0][1]]]
    assert crf.decode(emissions, mask) == best


@masks
@both
def test_layer_lists_the_best(name, batch_first):
    crf, emissions, _, mask, rows = layer(name, batch_first)
    tags, log_probs = crf.top_k(emissions, 5, mask)
    tags = tags if batch_first else tags.transpose(1, 2)
    for number, row in enumerate(rows):
        want = row.ranked()[:5]
        got = [tuple(one) for one in tags[:, number].tolist()][: len(want)]
        assert got == [y for _, y in want]
        assert log_probs[: len(want), number].tolist() == pytest.approx([s - row.log_partition for s, _ in want])
        assert (log_probs[len(want) :, number] == NEG_INF).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_layer_in_other_precisions(dtype):
    crf, emissions, tags, mask, rows = layer("holes", True, dtype)
    got = crf(emissions, tags, mask, reduction="none")
    want = [r.scores[tuple(y.clamp_min(0).tolist())] - r.log_partition for y, r in zip(tags, rows, strict=True)]
    assert got.dtype == torch.float32
    assert got.tolist() == pytest.approx(want, rel=1e-2)


def test_layer_takes_the_parameters_of_pytorch_crf():
    crf = CRFLayer(4)
    shapes = {"start_transitions": (4,), "end_transitions": (4,), "transitions": (4, 4)}
    assert {name: tuple(value.shape) for name, value in crf.state_dict().items()} == shapes
    assert all((value.abs() <= 0.1).all() for value in crf.state_dict().values())


LAYER_WRONG = {
    "no tags": (lambda: CRFLayer(0), "num_tags"),
    "tag count": (lambda: CRFLayer(3).decode(torch.zeros(2, 2, 4)), "emissions"),
    "tags": (lambda: CRFLayer(3)(torch.zeros(2, 4, 3), torch.zeros(4, 2).long()), "do not fit"),
    "mask": (lambda: CRFLayer(3).decode(torch.zeros(2, 4, 3), torch.ones(4, 2).bool()), "does not fit"),
    "mask of numbers": (lambda: CRFLayer(3).decode(torch.zeros(2, 4, 3), torch.full((2, 4), 0.5)), "0 and 1"),
    "ignored tag": (lambda: CRFLayer(3)(torch.zeros(2, 1, 3), torch.tensor([[0], [-100]])), r"mask=\(tags >= 0\)"),
    "reduction": (lambda: CRFLayer(3)(torch.zeros(2, 1, 3), torch.zeros(2, 1).long(), reduction="max"), "reduction"),
    "mean of nothing": (
        lambda: CRFLayer(3)(torch.zeros(2, 0, 3), torch.zeros(2, 0).long(), reduction="mean"),
        "nothing to take the mean of",
    ),
}


@pytest.mark.parametrize("name", LAYER_WRONG)
def test_layer_names_what_is_wrong(name):
    call, message = LAYER_WRONG[name]
    with pytest.raises(GraftError, match=message):
        call()

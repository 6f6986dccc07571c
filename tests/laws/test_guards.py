"""What is easily given by mistake is refused by a `GraftError` that says so, before anything is lost."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from graft.errors import DataError, GraftError, IntractableError
from graft.factors import Table
from graft.model import Model
from graft.objectives import Likelihood, MarginalLoss, MaxMargin
from graft.objectives.losses import Cost, Focal, Hamming, LogLoss
from graft.sklearn import CRF, CRFLayer

X, Y = [["time", "flies"], ["fruit"]], [["N", "V"], ["N"]]


def coin(values=(0.0, 0.0)) -> Model:
    return Model({"y": Table(values=torch.tensor(values))})


def chain() -> Model:
    return Model({"y[t-1], y[t]": Table(values=torch.zeros(2, 2))})


def recursive() -> dict:
    found: dict = {}
    found["a"] = found
    return found


LONG = {"y": torch.tensor([0])}
CALLS = {
    "names twice": (lambda: MaxMargin(coin(), "y", "y"), "told 'y' twice"),
    "names in a list": (lambda: MaxMargin(coin(), ["y"]), "takes names"),
    "cost of another": (lambda: MaxMargin(coin(), "y", cost={"y": Hamming(), "zz": Hamming()}), "'zz'"),
    "no model": (lambda: MaxMargin(3, "y"), "takes a Model first"),
    "no batch": (lambda: MaxMargin(coin(), "y").terms(None), "takes a batch"),
    "batch in a list": (lambda: MarginalLoss(coin(), "y", LogLoss()).terms([LONG]), "takes a batch"),
    "given a string": (lambda: Likelihood(coin(), "y"), "list of names"),
    "given a number": (lambda: Likelihood(coin(), 3), "list of names"),
    "likelihood of nothing": (lambda: Likelihood(coin()).terms(None), "takes a batch"),
    "a class": (lambda: MarginalLoss(coin(), "y", Hamming), "is a function"),
    "gamma": (lambda: Focal("a"), "gamma is"),
    "no gradient": (lambda: MarginalLoss(coin(), "y", lambda p, y, w: y * 1.0)(LONG), "no gradient"),
    "ragged cost": (lambda: Cost([[0.0], [1.0, 2.0]]), "square matrix"),
    "cost of another type": (
        lambda: coin().given().decide(Cost(torch.full((2, 2), 1e300, dtype=torch.float64))),
        "not finite as",
    ),
    "negative": (lambda: coin().given().decide(lambda a, b: -(a["y"] * 1.0) - 1, among=2), "at least 0"),
    "infinite": (lambda: coin().given().decide(lambda a, b: a["y"] + torch.inf, among=2), "at least 0"),
    "names": (lambda: coin().given().decide(names=3), "list of names"),
    "k": (lambda: coin().given().top_k(True), "k must be"),
    "among": (lambda: coin().given().decide(among=True), "among must be"),
    "a great list": (lambda: chain().given(sizes={"t": 1000}).top_k(10**9), "a list of 1000000000"),
    "layer k": (lambda: CRFLayer(2).top_k(torch.zeros(1, 1, 2), True), "k must be"),
    "layer tags": (lambda: CRFLayer("3"), "num_tags must be"),
    "numpy": (lambda: CRFLayer(2).decode(np.zeros((1, 1, 2))), "emissions must be"),
    "mask": (lambda: CRFLayer(2).decode(torch.zeros(1, 1, 2), [[True]]), "mask must be"),
    "sets": (lambda: CRF().fit([{"a", "b"}], [["N", "V"]]), "must be a sequence"),
    "sets of labels": (lambda: CRF().fit([["a", "b"]], [frozenset("NV")]), "must be a sequence"),
    "ignore two": (lambda: CRF(ignore=[-100, -1]).fit(X, Y), "ignore must be"),
    "ignore array": (lambda: CRF(ignore=np.array([1, 2])).fit(X, Y), "ignore must be"),
    "labels with None": (lambda: CRF(labels=["N", "V", None]).fit(X, Y), "stands for no label"),
    "labels with ignore": (lambda: CRF(labels=["N", "V", "-"], ignore="-").fit(X, Y), "stands for no label"),
    "labels": (lambda: CRF(labels=5).fit(X, Y), "list of labels"),
    "labels in a list": (lambda: CRF(labels=[["N"]]).fit(X, Y), "hashable"),
    "iterations": (lambda: CRF().set_params(max_iterations=5.0).fit(X, Y), "max_iterations must be"),
    "ragged constraints": (lambda: CRF(constraints=[[True], [True, False]]).fit(X, Y), "constraints are"),
    "array of strings": (lambda: CRF().fit([np.array([["a"], ["b"]])], [["N", "V"]]), "not of real numbers"),
    "token": (lambda: CRF().fit([[("a", [1])]], [["N"]]), "hashable token"),
    "great number": (lambda: CRF().fit([[{"a": 10**400}]], [["N"]]), "finite numbers"),
    "in itself": (lambda: CRF().fit([[recursive()]], [["N"]]), "nested too deeply"),
}


@pytest.mark.parametrize("name", CALLS)
def test_mistakes_are_named(name):
    call, message = CALLS[name]
    with pytest.raises(GraftError, match=re.escape(message)) as caught:
        call()
    assert (name == "a great list") == isinstance(caught.value, IntractableError)


@pytest.mark.parametrize("loss", [LogLoss(), Focal(2.0)], ids=["log", "focal"])
@pytest.mark.parametrize("gap", [80.0, 90.0, 95.0, 103.0, 110.0])
def test_a_loss_on_marginals_has_a_slope_or_is_refused(loss, gap):
    model = coin((0.0, gap))
    if gap > 87.3:  # e^-87.3 is the smallest normal number of float32
        with pytest.raises(GraftError, match=r"rows \(0,\)"):
            MarginalLoss(model, "y", loss)(LONG)
        return
    MarginalLoss(model, "y", loss)(LONG).backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("k", [1, 2, 3, 10**12])
def test_a_complete_list_is_exact(k):
    found = Model({"y": Table(values=torch.tensor([0.0, 1.0, -torch.inf]))}).given()
    decision = found.decide(lambda a, b: (a["y"] != b["y"]).float(), among=k)
    assert decision.kind == ("lower bound" if k == 1 else "exact")


def test_ties_of_costs_go_to_the_lowest_state():
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(200, 7, generator=generator).softmax(-1)
    column = torch.rand(7, 1, generator=generator)
    assert not bool(Cost(column.expand(7, 7)).decision(probs).any())


def test_costs_are_copied_and_taken_from_numpy():
    matrix = torch.eye(2)
    kept = Cost(matrix)
    matrix.fill_(5.0)
    assert torch.equal(kept.costs, torch.eye(2)) and len(Cost([[0, 1], [1, 0]]).costs) == 2


def test_fitting_takes_numbers_of_numpy_iterators_tensors_and_any_mode_and_draws_nothing():
    arrays = [torch.randn(3, 2, requires_grad=True), torch.randn(1, 2, dtype=torch.bfloat16)]
    settings = {
        "c2": np.float32(1),
        "num_memories": np.int64(5),
        "ends": np.bool_(True),
        "max_iterations": np.int64(50),
    }
    before = torch.get_rng_state()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            crf = CRF().set_params(**settings).fit(iter(arrays), iter([["N", "V", "N"], ["V"]]))
    assert torch.equal(before, torch.get_rng_state())
    assert 0 <= crf.score(iter(arrays), iter([["N", "V", "N"], ["V"]])) <= 1
    with pytest.raises(GraftError, match="k must be"):
        crf.predict_top_k(arrays, True)
    assert [len(one) for one in crf.predict_top_k(arrays, 10**30)] == [8, 2]


def test_saving_keeps_what_was_fitted_and_loses_nothing(tmp_path):
    crf = CRF().fit(X, Y)
    crf.set_params(ends=True, dtype="float32").save(tmp_path / "a")
    back = CRF.load(tmp_path / "a")
    assert back.ends is False and back.predict(X) == crf.predict(X)
    back.save(tmp_path / "a")
    with pytest.raises(GraftError, match="surrogate"):
        CRF().fit([["\ud800"]], [["N"]]).save(tmp_path / "a")
    assert CRF.load(tmp_path / "a").predict(X) == crf.predict(X)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for place in ("b", "file", "file/c"):
        with pytest.raises(GraftError):
            crf.save(tmp_path / place)
    assert (tmp_path / "b" / "mine").read_text() == (tmp_path / "file").read_text() == "precious"


CHANGES = {
    "classes twice": {"classes": ["N", "N"]},
    "no class": {"classes": ["N", None]},
    "iterations": {"iterations": -1},
    "penalty": {"settings": {"c2": -1}},
    "unknown setting": {"settings": {"zz": 1}},
    "names twice": {"inputs": {"kind": "attributes", "names": ["time", "time", "fruit"]}},
}


@pytest.mark.parametrize("name", CHANGES)
def test_files_are_checked(name, tmp_path):
    CRF().fit(X, Y).save(tmp_path / "a")
    file = tmp_path / "a" / "crf.json"
    told = json.loads(file.read_text())
    for key, value in CHANGES[name].items():
        told[key] = told[key] | value if isinstance(value, dict) else value
    file.write_text(json.dumps(told))
    with pytest.raises(DataError):
        CRF.load(tmp_path / "a")

"""What a file says is what the model is, and what is written says it again."""

import gzip
import io
import math
import random

import pytest
import torch
from tests.reference import formats as reference
from tests.reference.data_folder import ABSENT, real
from tests.reference.formats_texts import BIF, UAI
from torch import nn

import graft
from graft import formats
from graft.factors import Bernoulli, Bilinear, Categorical, Energy, Function, Gaussian, Scores, Table
from graft.formats import uai_reading
from graft.formats.names import order
from graft.formats.source import opened


def bif(text, **options):
    return formats.read(io.StringIO(text), format="bif", **options)


def uai(text, **options):
    return formats.read(io.StringIO(text), format="uai", **options)


def assignments(model, count=20):
    """Random full assignments, as numbers of states in the order of the model's file."""
    draw, sizes = random.Random(0), [model.graph.variables[name].support.states for name in order(model)]
    return [[draw.randrange(size) for size in sizes] for _ in range(count)]


def scores(model, rows):
    values = {name: torch.tensor([row[k] for row in rows]) for k, name in enumerate(order(model))}
    return model.score(values).detach()


def assert_bif(model, text):
    """A model gives what the text means; every state name is where the text has it."""
    states, tables = meaning = reference.bif(text)
    variables = model.graph.variables
    assert {name: list(variables[name].labels) for name in variables} == states
    assert {n.head.name: tuple(t.name for t in n.reads) for n in model.graph.nodes} == {
        child: parents for child, (parents, _) in tables.items()
    }
    names, rows = order(model), assignments(model)
    expected = [
        reference.bif_score(meaning, {n: states[n][s] for n, s in zip(names, row, strict=True)}) for row in rows
    ]
    torch.testing.assert_close(scores(model, rows), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def assert_uai(model, text):
    meaning, rows = reference.uai(text), assignments(model)
    assert [model.graph.variables[name].support.states for name in order(model)] == meaning[1]
    expected = [reference.uai_score(meaning, row) for row in rows]
    torch.testing.assert_close(scores(model, rows), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def assert_same(one, other):
    """The same factors to the bit."""
    assert [n.formula.text for n in one.graph.nodes] == [n.formula.text for n in other.graph.nodes]
    assert {n: v.labels for n, v in one.graph.variables.items()} == {
        n: v.labels for n, v in other.graph.variables.items()
    }
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", BIF)
def test_bif_read_and_written_says_the_same(name, dtype, tmp_path):
    model = bif(BIF[name], dtype=dtype)
    assert all(parameter.dtype == dtype for parameter in model.parameters())
    path = formats.write(model, tmp_path / "a.bif")
    assert_same(formats.read(path, dtype=dtype), model)
    if dtype == torch.float64:
        assert_bif(model, BIF[name])
        assert_bif(model, path.read_text("utf-8"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", UAI)
def test_uai_read_and_written_says_the_same(name, dtype, tmp_path):
    model = uai(UAI[name], dtype=dtype)
    path = tmp_path / "a.uai.gz"
    formats.write(model, path)
    assert_same(formats.read(path, dtype=dtype), model)
    if dtype == torch.float64:
        assert_uai(model, UAI[name])
        assert_uai(model, gzip.decompress(path.read_bytes()).decode())


@pytest.mark.parametrize("name", BIF)
def test_a_bif_network_survives_uai(name, tmp_path):
    model = bif(BIF[name])
    for kind in ("BAYES", "MARKOV"):
        other = formats.read(formats.write(model, tmp_path / f"{kind}.uai", kind=kind))
        rows = assignments(model)
        torch.testing.assert_close(scores(other, rows), scores(model, rows), rtol=1e-12, atol=1e-12)
        assert other.graph.directed == (kind == "BAYES")


def test_partition_counts_every_variable_and_constant():
    """Z = sum over x0..x3 of the product: a variable in no factor counts its states, a constant multiplies."""
    model = uai("MARKOV 4 2 3 2 5 2 2 0 2 0 4 1 2 3 4 1 2.5")
    assert model.given().log_partition.item() == pytest.approx(math.log(10 * 2.5 * 3 * 5), abs=1e-12)
    assert uai(UAI["impossible"]).given().log_partition.item() == -math.inf


def test_zeros_are_exact_also_where_float32_is_small():
    text = "variable a { type discrete [3] { x, y, z }; } probability ( a ) { table 1e-60, 0, 1; }"
    for dtype in (torch.float64, torch.float32):
        logs = bif(text, dtype=dtype).log_prob(a=torch.arange(3)).detach()
        assert logs[1] == -math.inf
        assert logs[0].item() == pytest.approx(-60 * math.log(10), rel=1e-6)


#: Published figures: nodes, edges, free parameters.
PUBLISHED = {
    "asia": (8, 8, 18),
    "cancer": (5, 4, 10),
    "earthquake": (5, 4, 10),
    "survey": (6, 6, 21),
    "sachs": (11, 17, 178),
    "child": (20, 25, 230),
    "alarm": (37, 46, 509),
    "insurance": (27, 52, 1008),
}


@pytest.mark.skipif(not real("bif").is_dir(), reason=ABSENT)
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_public_networks(name, tmp_path):
    path = real("bif") / f"{name}.bif.gz"
    model, text = formats.read(path), gzip.decompress(path.read_bytes()).decode()
    nodes = model.graph.nodes
    free = sum(n.module.table.numel() // n.module.states * (n.module.states - 1) for n in nodes)
    assert (len(nodes), sum(len(n.reads) for n in nodes), free) == PUBLISHED[name]
    assert_bif(model, text)
    written = formats.write(model, tmp_path / "again.bif.gz")
    assert_same(formats.read(written), model)


#: The others take seconds to become models, under the checks of shapes that tests run with.
QUICK = {"CSP_12.uai", "Grids_12.uai", "Promedus_24.uai"}
INSTANCES = [
    pytest.param(path.name, marks=[pytest.mark.slow] * (path.name not in QUICK))
    for path in sorted(real("uai").glob("*.uai"))
]


@pytest.mark.skipif(not INSTANCES, reason=ABSENT)
@pytest.mark.parametrize("name", INSTANCES)
def test_the_competition_instances(name, tmp_path):
    path = real("uai") / name
    model = formats.read(path)
    meaning = reference.uai(path.read_text())
    rows = assignments(model, 3)
    expected = torch.tensor([reference.uai_score(meaning, row) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(scores(model, rows), expected, rtol=1e-12, atol=1e-9)
    # parsed alone: a second model would take as long as all the rest
    again = uai_reading.parse(opened(formats.write(model, tmp_path / name)))
    for table, node in zip(again.tables, model.graph.nodes, strict=True):
        assert tuple(f"x{place}" for place in table.scope) == tuple(term.name for term in node.formula.left)
        assert torch.equal(table.values.log(), node.module.values)
    for suffix in ("PR", "MAR", "MAP"):
        beside = path.with_name(f"{name}.{suffix}")
        if beside.exists():
            result = formats.read_result(beside, model)
            told = result.marginals or result.mode
            assert (told is None) == (suffix == "PR") and (told is None or set(told) == set(order(model)))
    evidence = formats.read_evidence(path.with_name(f"{name}.evid"), model)
    assert len(evidence) == int(path.with_name(f"{name}.evid").read_text().split()[0])


def two():
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))


class Agreement(nn.Module):
    def forward(self, a, b):
        return 2.0 * (a * b).sum(-1)


#: Models that were never files, each with the kind it is written as.
WRITTEN = {
    "learnable tables": (lambda: {"a": Categorical(2), "b | a": Categorical(3, given=2)}, "BAYES"),
    "a network": (lambda: {"a": Categorical(2), "c": Categorical(3), "b | a, c": Categorical(two(), 3)}, "BAYES"),
    "a scalar Bernoulli": (lambda: {"a": Bernoulli(probs=0.25), "b | a": Categorical(3, given=2)}, "BAYES"),
    "Bernoulli parents": (
        lambda: {"a": Bernoulli(), "b": Categorical(3), "c | b, a": Bernoulli(given=(3, 2))},
        "BAYES",
    ),
    "units": (lambda: {"h": Categorical(3), "v | h": Bernoulli(dim=2, given=3)}, "BAYES"),
    "potentials": (lambda: {"a, b": Table(2, 3), "b, c": Table(3, 2), "c": Table(2)}, "MARKOV"),
    "bilinear": (lambda: {"v, h": Bilinear(2, 3)}, "MARKOV"),
    "mixed": (lambda: {"a": Categorical(2), "b | a": Categorical(2, given=2), "b, c": Table(2, 4)}, "MARKOV"),
    "scores of a random": (lambda: {"a": Categorical(5), "b | a": Scores(two())}, "MARKOV"),
    "an opaque energy": (
        lambda: {"a": Table(2), "b": Table(2), "a, b": Energy(Agreement())},
        "MARKOV",
    ),
}
SUPPORT = {
    "bilinear": {"v": graft.Binary(2), "h": graft.Binary(3)},
    "scores of a random": {"b": graft.Finite(3)},
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_the_model(name, tmp_path):
    torch.manual_seed(0)
    make, kind = WRITTEN[name]
    model = graft.Model(make(), support=SUPPORT.get(name, {})).eval()
    model.train(name == "a network")
    other = formats.read(formats.write(model, tmp_path / "a.uai"))
    assert model.training == (name == "a network")
    assert (tmp_path / "a.uai").read_text().startswith(kind)
    model.eval()
    names, rows = order(model), torch.tensor(assignments(model))
    values = {n: model.graph.variables[n].support.decode(rows[:, k]) for k, n in enumerate(names)}
    found = other.score({f"x{k}": rows[:, k] for k in range(len(names))})
    torch.testing.assert_close(found, model.score(values).double(), rtol=1e-5, atol=1e-5)
    if kind == "BAYES":
        again = formats.read(formats.write(model, tmp_path / "a.bif"))
        torch.testing.assert_close(again.score(dict(zip(names, rows.T, strict=True))), found, rtol=1e-12, atol=1e-12)


S, SS = Categorical(2), Categorical(2, given=2)

#: Models that no file can hold: the file's name, options, and words of the error.
REFUSED = {
    "a time axis": ({"s[0]": S, "s[t] | s[t-1]": SS}, "a.uai", {}, r"s\[t\] has axes"),
    "an input": ({"y | x": Categorical(nn.Linear(3, 2), 2)}, "a.bif", {}, "x is an input"),
    "a function": (
        {"a": S, "b = a": Function(lambda a: a), "c | b": Categorical(nn.Linear(2, 2), 2)},
        "a.bif",
        {},
        "b is",
    ),
    "not discrete": ({"a": Gaussian(dim=1)}, "a.uai", {}, "a is not discrete"),
    "a potential as BIF": ({"a, b": Table(2, 2)}, "a.bif", {}, "a, b is a potential"),
    "a potential as BAYES": ({"a, b": Table(2, 2)}, "a.uai", {"kind": "BAYES"}, "a, b is a potential"),
    "MARKOV as BIF": ({"a": S}, "a.bif", {"kind": "MARKOV"}, "a BIF file holds a directed network"),
    "too large": ({"a": Table(values=torch.tensor([0.0, 1000.0]))}, "a.uai", {}, "too large or too small"),
    "too small": ({"a": Table(values=torch.tensor([0.0, -1000.0]))}, "a.uai", {}, "too large or too small"),
    "too improbable": ({"a": Categorical(logits=torch.tensor([0.0, -1000.0]))}, "a.bif", {}, "too large or too small"),
    "too many": ({"v": Bernoulli(dim=40)}, "a.uai", {}, "a table of 1,099,511,627,776 entries"),
    "quotes": ({'`a"b`': S}, "a.bif", {}, "BIF cannot say the name"),
    "no such ending": ({"a": S}, "a.net", {}, "should end in .bif or .uai"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_said_is_refused_and_no_file_touched(name, tmp_path):
    factors, file, options, words = REFUSED[name]
    (tmp_path / file).write_text("before")
    with pytest.raises(graft.GraftError, match=words):
        formats.write(graft.Model(factors), tmp_path / file, **options)
    assert (tmp_path / file).read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(graft.GraftError, match="could not be written: No such file"):
        formats.write(graft.Model({"a": S}), tmp_path / "none" / "a.bif")
    with pytest.raises(graft.DataError, match="could not be read: No such file"):
        formats.read(tmp_path / "a.bif")


def test_labels_name_states_and_queries_agree(tmp_path):
    model = formats.read(formats.write(bif(BIF["sprinkler"]), tmp_path / "a.bif"))
    assert model.graph.variables["wet"].labels == ("dry", "damp", "soaked")
    joint = model.log_prob(rain=torch.tensor([1]), wet=torch.tensor([2])).exp().item()
    assert joint == pytest.approx(0.2 * (0.99 * 0.3 + 0.01 * 0.9), abs=1e-15)
    assert math.exp(model.log_prob({"wet": torch.tensor(1)}).item()) == pytest.approx(
        0.8 * 0.4 * 0.6 + 0.2 * (0.99 * 0.5 + 0.01 * 0.1), abs=1e-15
    )

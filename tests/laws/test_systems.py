"""Laws over every system of the table: how it reads, what shapes it has, how it samples."""

from __future__ import annotations

import pytest
import torch
from tests.reference.systems import EXPECTED, SHAPES, Expected

from graft.graph.factor_graph import FactorGraph
from graft.graph.nodes import Variable
from graft.graph.recurrence import Loop, Schedule
from graft.model import Model
from graft.zoo.formulas import SYSTEMS
from graft.zoo.system import System

NAMES = list(SYSTEMS)
GUIDED = [name for name, system in SYSTEMS.items() if system.guide]
GRAPHS = {name: system.model().graph for name, system in SYSTEMS.items()}
DIRECTED = [name for name in NAMES if GRAPHS[name].directed]
TIMED = [name for name in DIRECTED if GRAPHS[name].time]
BATCHES = [(), (2,), (2, 3)]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def joined(name: str) -> FactorGraph:
    guide = SYSTEMS[name].guide
    assert guide is not None
    return guide().joined(SYSTEMS[name].model())


def parents(graph: FactorGraph) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for node in graph.nodes:
        if node.kind != "potential":
            found.setdefault(node.head.name, set()).update(term.name for term in node.reads)
    return found


def cliques(graph: FactorGraph) -> list[str]:
    found = []
    for node in graph.nodes:
        if node.kind == "potential":
            left = " ".join(sorted(term.name for term in node.formula.left))
            found.append(left + "".join(f" | {term.name}" for term in node.reads))
    return found


def written(text: str) -> dict[str, set[str]]:
    pairs = (entry.split(":") for entry in text.split("; ") if ":" in entry)
    return {name.strip(): set(names.split()) for name, names in pairs}


def loops(schedule: Schedule) -> str:
    found = []
    for step in schedule:
        if isinstance(step, Loop):
            inside = loops(step.body)
            members = " ".join(sorted(step.members)) + (f": {inside}" if inside else "")
            found.append(f"{step.letter}{'+' if step.direction > 0 else '-'}({members})")
    return " ".join(found)


def described(variable: Variable) -> str:
    axes = f"[{','.join(variable.axes)}]" if variable.axes else ""
    event = "?" if variable.support is None else ",".join(map(str, variable.support.event_shape))
    return f"{variable.name}{axes} {event}".strip()


def event_of(expected: Expected, name: str) -> tuple[int, ...]:
    for entry in expected.variables.split("; "):
        head, _, event = entry.partition(" ")
        if head.split("[")[0] == name:
            return tuple(int(n) for n in event.split(",") if n)
    raise KeyError(name)


def test_every_row_is_expected():
    assert set(EXPECTED) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
class TestGraph:
    def test_variables_have_their_axes_and_events(self, name):
        found = {described(v) for v in GRAPHS[name].variables.values()}
        assert found == set(EXPECTED[name].variables.split("; "))

    def test_parents(self, name):
        assert parents(GRAPHS[name]) == written(EXPECTED[name].parents)

    def test_cliques(self, name):
        assert "; ".join(cliques(GRAPHS[name])) == EXPECTED[name].cliques

    def test_recurrences(self, name):
        assert loops(GRAPHS[name].schedule) == EXPECTED[name].loops

    def test_latex_mentions_every_variable(self, name):
        pytest.importorskip("graft.graph.latex")
        text = SYSTEMS[name].model().latex()
        assert text.count("{") == text.count("}")
        assert all(variable.rstrip("0123456789") in text for variable in GRAPHS[name].variables)

    def test_describes_itself(self, name):
        system = SYSTEMS[name]
        assert system.name == name
        assert system.title
        assert system.row.endswith(".")


@pytest.mark.parametrize("name", GUIDED)
class TestGuide:
    def test_parents(self, name):
        assert parents(joined(name)) == written(EXPECTED[name].guide)

    def test_cliques(self, name):
        text = EXPECTED[name].guide
        assert "; ".join(cliques(joined(name))) == ("" if ":" in text else text)

    def test_recurrences(self, name):
        assert loops(joined(name).schedule) == EXPECTED[name].guide_loops

    def test_axes_and_supports_are_those_of_the_model(self, name):
        model, guide = GRAPHS[name], joined(name)
        for variable in set(model.variables) & set(guide.variables):
            assert model.variables[variable].axes == guide.variables[variable].axes
            assert model.variables[variable].support == guide.variables[variable].support


def lengths_of(graph: FactorGraph, system: System, batch: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Random lengths of every time axis, 0 and the whole axis among them."""
    inputs = system.inputs(batch)
    found, sizes = {}, dict(system.sizes)
    for value, variable in ((v, graph.variables[n]) for n, v in inputs.items()):
        sizes |= dict(zip(variable.axes, value.shape[len(batch) :], strict=False))
    for letter in sorted(graph.time, key=lambda x: len(graph.left_of(x))):
        shape = (*batch, *(sizes[x] for x in graph.left_of(letter)))
        lengths = torch.randint(0, sizes[letter] + 1, shape)
        if lengths.dim():
            flat = lengths.view(-1)
            flat[0], flat[-1] = 0, sizes[letter]
        found[letter] = lengths
    return found


def batched(system: System, model: Model, batch: tuple[int, ...]) -> dict[str, object]:
    """Arguments that give a call its batch shape: inputs, full lengths, or a root drawn beforehand."""
    inputs, graph = system.inputs(batch), model.graph
    if inputs or not batch:
        return inputs
    if graph.time:
        letter = min(graph.time, key=lambda x: len(graph.left_of(x)))
        return {"lengths": {letter: torch.full(batch, system.sizes[letter])}}
    root = next(n for n in graph.random if all(not node.reads for node in graph.variables[n].nodes))
    return {root: model.sample(batch, sizes=system.sizes)[root]}


def expected_shape(name: str, variable: str, sizes: dict[str, int]) -> tuple[int, ...]:
    axes = GRAPHS[name].variables[variable].axes
    return (*(sizes[x] for x in axes), *event_of(EXPECTED[name], variable))


SIZES = {name: {"t": 5, **SYSTEMS[name].sizes} for name in NAMES}


@pytest.mark.parametrize("shape", [(), (2,)], ids=str)
@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("name", DIRECTED)
def test_samples_have_their_shapes(name, batch, shape):
    system, model = SYSTEMS[name], SYSTEMS[name].model()
    given = batched(system, model, batch)
    drawn = model.sample(shape, sizes=system.sizes, **given)
    scored = model.graph.scored
    assert set(drawn) >= {*model.graph.random, *model.graph.computed} - set(given) - set(scored)
    for variable, value in drawn.items():
        assert value.shape == shape + batch + expected_shape(name, variable, SIZES[name]), variable
        assert torch.isfinite(value).all()
        support = model.graph.variables[variable].support
        assert support is not None
        assert support.check(value).all()


@pytest.mark.parametrize("batch", BATCHES, ids=str)
@pytest.mark.parametrize("name", TIMED)
def test_samples_are_zero_beyond_lengths(name, batch):
    system, model = SYSTEMS[name], SYSTEMS[name].model()
    lengths = lengths_of(model.graph, system, batch)
    drawn = model.sample((2,), sizes=system.sizes, lengths=lengths, **system.inputs(batch))
    for variable, value in drawn.items():
        axes = model.graph.variables[variable].axes
        assert value.shape == (2, *batch, *expected_shape(name, variable, SIZES[name]))
        for letter in axes:
            if letter in lengths:
                gone = beyond(lengths[letter], letter, axes, model.graph, SIZES[name], len(batch))
                assert not value[:, gone].any(), variable


def beyond(lengths, letter, axes, graph, sizes, rank):
    """(batch, axes): elements of one axis that do not exist."""
    left = graph.left_of(letter)
    gone = torch.arange(sizes[letter]) >= lengths.unsqueeze(-1)
    for place, axis in enumerate(axes):
        if axis not in (*left, letter):
            gone = gone.unsqueeze(rank + place)
    return gone.expand(*gone.shape[:rank], *(sizes[x] for x in axes))


@pytest.mark.parametrize("name", DIRECTED)
def test_seeds_repeat_and_leave_the_global_state(name):
    system, model = SYSTEMS[name], SYSTEMS[name].model()
    inputs = system.inputs((2,))
    before = torch.random.get_rng_state()
    one, two = (model.sample(9, sizes=system.sizes, seed=7, **inputs) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[variable], two[variable]) for variable in one)
    other = model.sample(9, sizes=system.sizes, seed=8, **inputs)
    assert any(not torch.equal(one[variable], other[variable]) for variable in one)


@pytest.mark.parametrize("batch", [(), (2, 1)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_factor_reports_its_shapes(name, batch):
    system, model = SYSTEMS[name], SYSTEMS[name].model()
    report = model.shapes(sizes=system.sizes, **system.inputs(batch))
    assert [entry.formula for entry in report.entries] == [n.formula.text for n in model.graph.nodes]
    for node, entry in zip(model.graph.nodes, report.entries, strict=True):
        opaque = node.kind == "potential" and not hasattr(node.module, "table")
        terms = node.terms if opaque else node.reads
        assert [term for term, _ in entry.receives] == [str(term) for term in terms]
        if node.kind != "potential":
            assert entry.returns.event == event_of(EXPECTED[name], node.head.name)
        sizes = [SIZES[name].get(letter, 4) for letter in node.letters]
        pairs = zip(reversed(entry.returns.axes), reversed(sizes), strict=False)
        assert all(found <= size for found, size in pairs)
    assert "batch | axes | event" in str(report)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_by_hand(name):
    system, model = SYSTEMS[name], SYSTEMS[name].model()
    given = {} if name == "rbm" else batched(system, model, (2,))
    if name == "rbm":
        given = {"v": torch.zeros(2, 4), "h": torch.zeros(2, 3)}
    report = model.shapes(sizes=system.sizes, **given)
    for formula, expected in SHAPES[name].items():
        receives = "; ".join(str(shape) for _, shape in report[formula].receives)
        assert f"{receives} -> {report[formula].returns}" == expected

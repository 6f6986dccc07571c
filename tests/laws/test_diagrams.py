"""Laws that every diagram and every written factorisation keeps, over all systems of the design."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Distribution, Independent, Normal

from graft import plots
from graft.distributions.supports import Real
from graft.errors import GraftError
from graft.factors import Energy, Function, Gaussian
from graft.factors.base import Call, Conditional
from graft.graph.factor_graph import FactorGraph, build
from graft.graph.latex import latex, lines
from graft.plots.diagram import arrange, draw, painted
from graft.plots.marks import Diagram, Edge, Symbol


class Drawn(Conditional):
    """A conditional that fits everywhere."""

    support = Real(2)

    def distribution(self, inputs: tuple[torch.Tensor, ...], call: Call) -> Distribution:
        return Independent(Normal(torch.zeros(2), 1.0), 1)


# formulas of the model, and after the slash of the guide; "!" marks a potential
SYSTEMS = {
    "net": "h = x; y | h",
    "mixture density net": "y | x",
    "stochastic net": "xn | x; h = xn; hn | h; y | hn",
    "bayesian network": "rain; sprinkler | rain; wet | rain, sprinkler",
    "markov random field": "! a, b; ! b, c; ! c, a",
    "hmm": "s[0]; s[t] | s[t-1]; w[t] | s[t]",
    "mrf tagger": "! y[t-1], y[t]; ! y[t], w[t]",
    "crf": "! y[t-1], y[t]; ! y[t] | words",
    "crf with ends": "! y[t-1], y[t]; ! y[t] | words; ! y[0]; ! y[-1]",
    "nn_hmm": "s[0]; s[t] | s[t-1]; y[t] = frames; m[t] | s[t]; y[t] | s[t], m[t]",
    "pose": "! wrist | image; ! elbow | image; ! shoulder | image; ! head | image;"
    "! wrist, elbow; ! elbow, shoulder; ! shoulder, head",
    "grid crf": "! y[i,j] | image; ! y[i-1,j], y[i,j]; ! y[i,j-1], y[i,j]",
    "sigmoid belief net": "h2; h1 | h2; x | h1 / h1 | x; h2 | h1",
    "vae": "z; x | z / z | x",
    "semi-supervised vae": "y; z; x | y, z / y | x; z | x, y",
    "gmm": "pi; theta[k]; c[n] | pi; y[n] | c[n], theta",
    "gmm svae": "pi; theta[k]; c[n] | pi; y[n] | c[n], theta; x[n] | y[n] / ! y[n] | x[n]",
    "lds svae": "z[0]; z[t] | z[t-1]; x[t] | z[t] / ! z[t] | x[t]",
    "stick-breaking": "v[k]; pi = v; mu[k]; c[n] | pi; z[n] | c[n], mu; x[n] | z[n] / c[n] | x[n]; z[n] | x[n]",
    "nested crp": "v1[i]; v2[i,j]; m1[i]; m2[i,j] | m1[i]; c[n] | v1, v2; z[n] | c[n], m2; x[n] | z[n]"
    "/ c[n] | x[n]; z[n] | x[n]",
    "gan": "z; x = z",
    "controlled text": "z; c; h[0] = z, c; h[t] = w[t-1], h[t-1]; w[t] | h[t]"
    "/ g[t] = w[t], g[t-1]; z | g[-1]; c | g[-1]",
    "vrnn": "z[t] | h[t-1]; x[t] | z[t], h[t-1]; h[t] = x[t], z[t], h[t-1] / z[t] | x[t], h[t-1]",
    "storn": "z[t]; h[t] = x[t-1], z[t], h[t-1]; x[t] | h[t] / g[t] = x[t], g[t-1]; z[t] | g[t]",
    "vrae": "z; h[0] = z; h[t] = x[t-1], h[t-1]; x[t] | h[t] / g[t] = x[t], g[t-1]; z | g[-1]",
    "vhred": "e[n,t] = w[n,t], e[n,t-1]; c[n] = e[n,-1], c[n-1]; z[n] | c[n-1]; h[n,0] = z[n], c[n-1];"
    "h[n,t] = w[n,t-1], h[n,t-1]; w[n,t] | h[n,t] / z[n] | c[n-1], e[n,-1]",
    "draw": "z[t]; h[t] = z[t], h[t-1]; c[t] = c[t-1], h[t]; x | c[-1]"
    "/ r[t] = x, c[t-1], h[t-1]; e[t] = r[t], h[t-1], e[t-1]; z[t] | e[t]",
    "dmm": "z[0]; z[t] | z[t-1]; x[t] | z[t] / g[t] = x[t], g[t+1]; z[0] | g[0]; z[t] | z[t-1], g[t]",
    "rbm": "! v, h; ! v; ! h",
    "dbm": "! v, h1; ! h1, h2; ! v; ! h1; ! h2",
    "dbn": "! h1, h2; ! h1; ! h2; v | h1",
    "dae": "x | noisy / noisy | x",
    "gsn": "h[0] | start; h[t] | x[t-1], h[t-1]; x[t] | h[t]",
    "inpainting": "z; g = z; x | g",
    "simulator": "theta; noise; x = theta, noise",
    "crossed plates": "u[i]; v[j]; r[i,j] | u[i], v[j]",
    "long names": "`my mood & co.`; some_thing_long[n] | `my mood & co.`; β[n] | some_thing_long[n]",
}


def made(text: str, around: FactorGraph | None = None) -> FactorGraph:
    pairs = [(part.strip(" !"), module(part)) for part in text.split(";") if part.strip()]
    return build(pairs, {}, {}, around)


def module(part: str) -> nn.Module:
    if "!" in part:
        return Energy(nn.Bilinear(1, 1, 1))
    return Function(nn.Linear(1, 2), dim=2) if "=" in part else Drawn()


@lru_cache
def graphs(name: str) -> tuple[FactorGraph, FactorGraph | None]:
    model, _, guide = SYSTEMS[name].partition("/")
    graph = made(model)
    return graph, made(guide, graph) if guide else None


@lru_cache
def diagram(name: str) -> Diagram:
    return arrange(*graphs(name))


every = pytest.mark.parametrize("name", SYSTEMS)


def apart(a: Symbol, b: Symbol) -> bool:
    away = np.abs(np.array(a.at) - b.at) - a.half - b.half
    return bool(away.max() > 0.05)


def covers(low: tuple[float, float], high: tuple[float, float], symbol: Symbol) -> bool:
    return bool((np.array(symbol.at) - symbol.half >= low).all() and (np.array(symbol.at) + symbol.half <= high).all())


def touches(low: tuple[float, float], high: tuple[float, float], symbol: Symbol) -> bool:
    half = np.array(symbol.half) + 0.05
    return bool((np.array(symbol.at) + half > low).all() and (np.array(symbol.at) - half < high).all())


@every
def test_boxes_hold_their_members_and_nobody_else(name):
    graph, guide = graphs(name)
    found = diagram(name)
    axes = {v.name: v.axes for g in (guide, graph) if g for v in g.variables.values()}
    for box in found.boxes:
        assert {key for key in box.members if key in axes} == {key for key in axes if box.letter in axes[key]}
        for symbol in found.symbols.values():
            inside = covers(box.low, box.high, symbol)
            assert inside if symbol.key in box.members else not touches(box.low, box.high, symbol), symbol.key


@every
def test_boxes_nest_cross_or_stand_apart(name):
    boxes = diagram(name).boxes
    for k, a in enumerate(boxes):
        for b in boxes[:k]:
            low, high = np.maximum(a.low, b.low), np.minimum(a.high, b.high)
            if not set(a.members) & set(b.members):
                assert (low >= high).any()
            elif set(b.members) <= set(a.members):
                assert (low == b.low).all()
                assert (high == b.high).all()


@every
def test_every_read_is_drawn_once_in_its_style(name):
    """An arrow for each read of a conditional or function, a plain line for each term of a potential."""
    graph, guide = graphs(name)
    wanted = set()
    for dashed, one in ((False, graph), (True, guide)):
        for node in one.nodes if one else ():
            head = {"conditional": "filled", "function": "hollow", "potential": "none"}[node.kind]
            ends = [(t.name, "" if head == "none" else node.head.name) for t in node.terms[head != "none" :]]
            if not ends and node.head.elements:
                ends = [("", node.head.name)]
            wanted |= {(*pair, head, dashed) for pair in ends}
    edges = diagram(name).edges
    drawn = {(e.source, "" if e.head == "none" else e.target, e.head, e.guide) for e in edges}
    assert drawn == wanted
    keys = [(e.source, e.target, e.head, e.guide, e.notes) for e in edges]
    assert len(set(keys)) == len(keys)


@every
def test_edges_join_their_ends_and_cross_no_other_symbol(name):
    found = diagram(name)
    for edge in found.edges:
        points = np.array(edge.points)
        for symbol in found.symbols.values():
            away = np.linalg.norm((points - symbol.at) / symbol.half, axis=1)
            assert (away > 0.99).all(), (edge.source, edge.target, symbol.key)
        assert reaches(edge, 0, edge.source, found)
        assert reaches(edge, -1, edge.target, found)


def reaches(edge: Edge, end: int, key: str, found: Diagram) -> bool:
    if not key:
        return True
    gap = np.abs(np.array(edge.points[end]) - found.symbols[key].at) - found.symbols[key].half
    return bool(gap.max() < 0.08)


@every
def test_texts_cover_no_symbol_and_no_other_text(name):
    found = diagram(name)
    notes = [*found.notes, *(box.label for box in found.boxes)]
    for k, note in enumerate(notes):
        others = [*notes[:k], *found.symbols.values()]
        for other in others:
            away = np.abs(np.array(note.at) - other.at) - note.half - other.half
            assert away.max() > -0.03, (note, other)


@pytest.mark.parametrize("name", ["vae", "crf", "storn", "gmm"])
def test_twice_the_same(name):
    assert arrange(*graphs(name)) == diagram(name)


@every
def test_kinds_follow_the_model(name):
    graph, guide = graphs(name)
    for variable in graph.variables.values():
        kind = "input" if variable.is_input else "computed" if variable.is_computed else "random"
        assert diagram(name).symbols[variable.name].kind == kind
    own = {key for key, symbol in diagram(name).symbols.items() if symbol.guide and symbol.kind != "factor"}
    assert own == (set(guide.variables) - set(graph.variables) if guide else set())


@every
def test_every_line_of_latex_parses(name):
    from matplotlib.mathtext import MathTextParser

    parser = MathTextParser("path")
    for graph in graphs(name):
        for line in lines(graph) if graph else ():
            parser.parse(f"${line}$".replace("\\&", "&"))
            assert line in latex(graph).replace("&= ", "= ")


SAID = {
    "vae": r"p(z, x) = p(z) p(x \mid z)",
    "mixture density net": r"p(y \mid x)",
    "crf": r"p(y \mid \mathrm{words}) = \frac{1}{Z(\mathrm{words})} \prod_{t \geq 1} \psi(y_{t-1}, y_{t})"
    r" \prod_{t} \psi(y_{t}, \mathrm{words})",
    "gmm": r"p(\pi, \theta, c, y) = p(\pi) \prod_{k} p(\theta_{k}) \prod_{n} p(c_{n} \mid \pi)"
    r" p(y_{n} \mid c_{n}, \theta_{:})",
    "dbn": r"p(h^{(1)}, h^{(2)}, v) = \frac{1}{Z} \psi(h^{(1)}, h^{(2)}) \psi(h^{(1)}) \psi(h^{(2)}) p(v \mid h^{(1)})",
}


@pytest.mark.parametrize("name", SAID)
def test_what_is_written(name):
    assert lines(graphs(name)[0])[0] == SAID[name]


def test_functions_are_equations_of_their_own():
    text = latex(graphs("vrae")[0])
    assert text.startswith("\\begin{aligned}\n  p(z, x) &= p(z) \\prod_{t} p(x_{t} \\mid h_{t}) \\\\\n")
    assert "h_{0} &= f_{h_{0}}(z)" in text
    assert "h_{t} &= f_{h}(x_{t-1}, h_{t-1}) \\quad (t \\geq 1)" in text


def test_potentials_over_one_scope_are_told_apart():
    assert lines(made("! a, b; ! a, b"))[0] == r"p(a, b) = \frac{1}{Z} \psi(a, b) \psi_{2}(a, b)"


def test_names_cannot_be_taken_for_indices():
    first, second = (lines(made(text))[0] for text in ("h1; x | h1", "h[t]; x[t] | h[0]"))
    assert "h^{(1)}" in first
    assert "h_{0}" in second


def test_shifts_and_elements_are_noted():
    notes = {(e.source, e.target, e.notes) for e in diagram("hmm").edges}
    assert ("s", "s", (("$t{-}1$", "middle"),)) in notes
    assert ("", "s", (("$0$", "middle"),)) in notes
    dialogue = {(e.source, e.target): e.notes for e in diagram("vhred").edges}
    assert dialogue["z", "h"] == (("$t{=}0$", "head"),)
    assert dialogue["e", "c"] == (("$t{=}T$", "tail"),)


@pytest.mark.parametrize("name", ["vae", "nn_hmm", "crf", "storn"])
def test_networks_are_named_beside_their_factors(name):
    found = arrange(*graphs(name), networks=True)
    named = {note.of for note in found.notes if "Drawn" in note.text or "(" in note.text}
    assert named == {edge.target for edge in found.edges} | {
        node.head.name for graph in graphs(name) if graph for node in graph.nodes if node.kind != "potential"
    }


def test_a_model_without_a_guide_says_no_letter():
    found = arrange(build([("z", Gaussian(nn.Linear(1, 4)))], {}, {}), networks=True)
    assert [note.text for note in found.notes] == ["Gaussian(Linear)"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_painting_gives_a_figure(name):
    figure = painted(diagram(name))
    figure.canvas.draw()
    assert len(figure.axes) == 1


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf", "PNG"])
def test_files_are_written(tmp_path, suffix):
    path = tmp_path / f"vae.{suffix}"
    draw(*graphs("vae"), path=path)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("file", ["vae.jpg", "vae", "nowhere/vae.png"])
def test_what_cannot_be_written_is_named(tmp_path, file):
    with pytest.raises(GraftError, match=file):
        draw(*graphs("vae"), path=tmp_path / file)


def test_matplotlib_is_imported_inside_functions_and_never_pyplot():
    for path in Path(plots.__file__).parent.glob("*.py"):
        text = path.read_text()
        assert "pyplot import" not in text
        assert "import pyplot" not in text
        assert not any(line.startswith(("from matplotlib", "import matplotlib")) for line in text.splitlines())

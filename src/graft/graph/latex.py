r"""A factorisation as LaTeX, and the spelling of names and indices that diagrams share.

Elements run from 0 to the capital of their axis: `s[0]` is $s_{0}$, `s[-1]` is $s_{T}$, `s[-2]` is $s_{T-1}$; a whole
axis is a colon, `c[:]` is $c_{:}$. A number at the end of a name is written above it, `h1` is $h^{(1)}$, so that it
cannot be taken for the element `h[1]`. Matplotlib's mathtext reads every line too, but for `\&`, which it wants bare.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from graft.graph.factor_graph import FactorGraph
from graft.graph.nodes import Node, Variable
from graft.graph.terms import Axis, Element, Index, Term

_LOWER = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu "
    "nu xi pi rho sigma tau upsilon phi chi psi omega"
)
_UPPER = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
_GREEK = frozenset(f"{_LOWER} {_UPPER}".split())
_LETTERS = dict(zip("αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ", f"{_LOWER} {_UPPER}".split(), strict=True))
_ESCAPES = {c: f"\\{c}" for c in "_$%#&{}"} | {
    "\\": r"\backslash{}",
    "^": r"\wedge{}",
    "~": r"\sim{}",
    " ": r"\ ",
}


def latex(graph: FactorGraph, density: str = "p") -> str:
    r"""The factorisation of a model, then the equation of every computed variable.

    Several lines stand in an `aligned` environment; a single one stands alone.

    Args:
        graph: of a model or a guide.
        density: the letter of the distribution, such as `q` for a guide.

    Example:
        >>> from graft.factors import Categorical, Gaussian
        >>> from graft.graph.factor_graph import build
        >>> hmm = {
        ...     "s[0]": Categorical(3),
        ...     "s[t] | s[t-1]": Categorical(3, given=3),
        ...     "y[t] | s[t]": Gaussian(dim=2, given=3),
        ... }
        >>> print(latex(build(hmm.items(), {}, {})))
        p(s, y) = p(s_{0}) \prod_{t \geq 1} p(s_{t} \mid s_{t-1}) \prod_{t} p(y_{t} \mid s_{t})
    """
    found = lines(graph, density)
    if len(found) == 1:
        return found[0]
    body = " \\\\\n".join("  " + line.replace(" = ", " &= ", 1) for line in found)
    return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def lines(graph: FactorGraph, density: str = "p") -> tuple[str, ...]:
    """The same, one equation an entry, without alignment."""
    scoring = [node for node in graph.nodes if node.kind != "function"]
    functions = [node for node in graph.nodes if node.kind == "function"]
    first = [_joint(graph, scoring, density)] if scoring else []
    return (*first, *(_equation(node, graph) for node in functions))


def symbol(name: str) -> str:
    r"""A variable's name: greek letters by name, several letters upright, a number at the end above.

    Example:
        >>> symbol("theta"), symbol("h1"), symbol("rain"), symbol("my_x")
        ('\\theta', 'h^{(1)}', '\\mathrm{rain}', '\\mathrm{my\\_x}')
    """
    match = re.fullmatch(r"([^\W\d_]+)(\d+)", name)
    if match:
        return f"{_letters(match[1])}^{{({match[2]})}}"
    return _letters(name)


def _letters(name: str) -> str:
    if name in _GREEK or name in _LETTERS:
        return "\\" + _LETTERS.get(name, name)
    if len(name) == 1 and name.isalpha():
        return name
    return f"\\mathrm{{{''.join(_ESCAPES.get(c, c) for c in name)}}}"


def index(entry: Index, letter: str) -> str:
    """One index of a term, on the axis that its variable calls by this letter."""
    if not isinstance(entry, Element) or entry.position >= 0:
        return str(entry)
    last = letter.upper() if letter.islower() else f"\\bar{{{letter}}}"
    return last + (f"{entry.position + 1:+d}" if entry.position < -1 else "")


def spelling(term: Term, axes: tuple[str, ...]) -> str:
    """A term with its indices below.

    Example:
        >>> from graft.graph.parse import parse
        >>> spelling(parse("h[n, -1]").left[0], ("n", "t"))
        'h_{n,T}'
    """
    if not term.indices:
        return symbol(term.name)
    below = ",".join(index(entry, letter) for entry, letter in zip(term.indices, axes, strict=True))
    return f"{symbol(term.name)}_{{{below}}}"


def _terms(terms: Iterable[Term], graph: FactorGraph) -> str:
    return ", ".join(spelling(term, graph.variables[term.name].axes) for term in terms)


def _joint(graph: FactorGraph, scoring: list[Node], density: str) -> str:
    left = _density(density, _names(graph.random + graph.scored), _names(_conditions(graph, scoring)))
    right = _normaliser(graph) + _products(scoring, graph, density)
    return left if left == right else f"{left} = {right}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(symbol, names))


def _density(letter: str, left: str, right: str) -> str:
    return f"{letter}({left} \\mid {right})" if right else f"{letter}({left})"


def _conditions(graph: FactorGraph, factors: Iterable[Node]) -> tuple[str, ...]:
    """The inputs that factors read, straight or through functions; a scored variable stands for what it computes."""
    found, waiting = set(), [term.name for node in factors for term in node.terms]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            if name not in graph.scored:
                waiting += [t.name for node in graph.variables[name].functions for t in node.reads]
    return tuple(name for name in graph.inputs if name in found)


def _normaliser(graph: FactorGraph) -> str:
    if graph.directed:
        return ""
    potentials = [node for node in graph.nodes if node.kind == "potential"]
    inputs = _names(_conditions(graph, potentials))
    return f"\\frac{{1}}{{Z({inputs})}} " if inputs else "\\frac{1}{Z} "


@dataclass(frozen=True)
class _Range:
    """How far a factor goes along one axis, counted from both ends."""

    letter: str
    first: int = 0
    last: int = 0

    def __str__(self) -> str:
        start = f"{self.first} \\leq " if self.first and self.last else ""
        lower = f" \\geq {self.first}" if self.first and not self.last else ""
        upper = f" \\leq {index(Element(-self.last - 1), self.letter)}" if self.last else ""
        return f"{start}{self.letter}{lower}{upper}"


def _ranges(node: Node, graph: FactorGraph) -> tuple[_Range, ...]:
    return tuple(_range(node, letter, graph.variables[node.head.name]) for letter in node.letters)


def _range(node: Node, letter: str, variable: Variable) -> _Range:
    if node.kind == "potential":
        # it exists only where every left term exists
        found = [i.offset for t in node.formula.left for i in t.indices if isinstance(i, Axis) and i.letter == letter]
        return _Range(letter, max(0, -min(found)), max(0, *found))
    return _Range(letter, variable.firsts(letter, node.kind), variable.lasts(letter, node.kind))


def _products(nodes: list[Node], graph: FactorGraph, density: str) -> str:
    """Factors over the same range share a product; those over none come first."""
    groups: dict[tuple[_Range, ...], list[str]] = {(): []}
    seen: dict[str, int] = {}
    for node in nodes:
        text = _factor(node, graph, density)
        seen[text] = seen.get(text, 0) + 1
        if seen[text] > 1:
            # potentials over one scope would look like one potential squared
            text = text.replace("\\psi", f"\\psi_{{{seen[text]}}}", 1)
        groups.setdefault(_ranges(node, graph), []).append(text)
    return " ".join(_product(ranges, texts) for ranges, texts in groups.items() if texts)


def _product(ranges: tuple[_Range, ...], factors: list[str]) -> str:
    below = ",\\, ".join(map(str, ranges)) if any(r.first or r.last for r in ranges) else ",".join(map(str, ranges))
    return " ".join(([f"\\prod_{{{below}}}"] if ranges else []) + factors)


def _factor(node: Node, graph: FactorGraph, density: str) -> str:
    if node.kind == "potential":
        return f"\\psi({_terms(node.terms, graph)})"
    return _density(density, _terms(node.formula.left, graph), _terms(node.reads, graph))


def _equation(node: Node, graph: FactorGraph) -> str:
    left = _terms(node.formula.left, graph)
    name = left if node.head.elements else symbol(node.head.name)
    bounds = [str(r) for r in _ranges(node, graph) if r.first or r.last]
    where = f" \\quad ({', '.join(bounds)})" if bounds else ""
    return f"{left} = f_{{{name}}}({_terms(node.reads, graph)}){where}"

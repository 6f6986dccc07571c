"""Wrong models and wrong calls: each names the rule it breaks, and underlines the offending text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import distributions as td
from torch import nn

from graft.distributions.supports import Finite, Real, Support
from graft.errors import FormulaError
from graft.factors.bernoulli import Bernoulli
from graft.factors.bilinear import Bilinear
from graft.factors.categorical import Categorical
from graft.factors.function import Function
from graft.factors.gaussian import Gaussian
from graft.factors.priors import Normal
from graft.factors.recurrent import Recurrent
from graft.factors.scores import Scores
from graft.factors.tables import Table
from graft.model import Model


def net(x: Any) -> Any:
    return x


S = Categorical(3)
SS = Categorical(3, given=3)
X = Gaussian(dim=2)
XX = Gaussian(nn.Linear(2, 4), dim=2)
BARE = nn.Identity()
CELL = Recurrent(nn.GRUCell(2, 2))


@dataclass(frozen=True)
class Wrong:
    """A wrong model: «...» marks what must be underlined; a model without marks underlines nothing."""

    rule: str
    factors: list[tuple[Any, Any]]
    support: dict[str, Support] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)


def one(rule: str, formula: str, module: Any = BARE, **options: Any) -> Wrong:
    return Wrong(rule, [(formula, module)], **options)


def several(rule: str, factors: dict[str, Any], **options: Any) -> Wrong:
    return Wrong(rule, list(factors.items()), **options)


WRONG: dict[str, Wrong] = {
    # the grammar
    "nothing": one("a formula needs a variable on its left", "« »"),
    "no model": Wrong("a model needs at least one factor", []),
    "nothing right": one("expected a variable here", "x |«»"),
    "two bars": one("a formula has one '|' or '='", "x | y «|» z"),
    "bar and equals": one("a formula has one '|' or '='", "x = y «|» z"),
    "strange character": one("this character means nothing in a formula", "x «&» y"),
    "a product": one("this character means nothing in a formula", "x[t«*»2]"),
    "open bracket": one("an index is a letter, a letter with an offset, an integer or ':'", "x[«»"),
    "unclosed bracket": one("expected ']' here", "x[t«»"),
    "empty bracket": one("an index is a letter, a letter with an offset, an integer or ':'", "x[«]»"),
    "long index": one("an index is a single letter, not 'time'", "x[«time»]"),
    "offset without number": one("expected an integer here", "x[t] | x[t-«]»"),
    "offset by a letter": one("expected an integer here", "x[t] | x[t-«k»]"),
    "no comma": one("expected ',', '|' or '=' here", "x «y»"),
    "no comma right": one("expected ',' here", "x | y «z»"),
    "leading comma": one("expected a variable here", "«,» x"),
    "two computed": one("a function computes one variable", "a, «b» = c", net),
    # reserved names
    "reserved left": one("'shape' is a reserved name", "«shape» | x"),
    "reserved right": one("'seed' is a reserved name", "x | «seed»"),
    "lengths left": one("'lengths' is a reserved name", "«lengths»"),
    "lengths with index": several("'lengths' is read without indices", {"x[t] | w[t], «lengths[t]»": BARE}),
    # the left side
    "offset of a conditional": one("a conditional gives x[t], never a shifted element", "«x[t-1]» | y[t]"),
    "offset of a function": one("a function gives x[t], never a shifted element", "«x[t+1]» = y[t]", net),
    "colon left": several("':' cannot stand on the left", {"x[t]": X, "«x[:]» | y": XX}),
    "two integers left": several("at most one integer can stand on the left", {"x[i,j]": X, "«x[0,0]»": X}),
    "bare name with axes": several("x has axes elsewhere: write x[t] on the left", {"«x» | z": XX, "x[t]": X}),
    # kinds
    "potential computed": one("Table is a potential: write '|' instead of '='", "a «=» b", Table(2)),
    "conditional computed": one("Gaussian is a conditional: write '|' instead of '='", "x «=» z", X),
    "function after a bar": one(
        "Function is a function: write '=' instead of '|'", "x «|» z", Function(nn.Linear(2, 2))
    ),
    "callable after a bar": one("a factor needs an nn.Module, not function", "«x | z»", net),
    "distribution": one("a distribution is not a module", "«x»", td.Normal(0.0, 1.0)),
    "distribution computed": one("a distribution is not a module", "«x = z»", td.Normal(0.0, 1.0)),
    "no module": one("a factor needs an nn.Module, not float", "«x»", 3.0),
    "a class": one("a factor needs an nn.Module, not the class Gaussian", "«x»", Gaussian),
    "nothing callable": one("a function needs a callable, not int", "«x = z»", 3),
    "two left of a conditional": one("Gaussian is a conditional, which has one variable on its left", "x, «y» | z", XX),
    "two left of a bare module": one("Identity is a conditional, which has one variable on its left", "x, «y» | z"),
    # indices
    "index count": several("x has 1 indices elsewhere, 2 here", {"x[t]": X, "y[n,t] | «x[n,t]»": XX}),
    "letters": several("axis 1 of x is 't' elsewhere: one letter is one axis", {"x[t]": X, "y[n] | «x[n]»": XX}),
    "axis twice": one("x has the axis 't' twice", "«x[t,t]»", X),
    "no letter": one("no formula names axis 1 of x: write it once with a letter", "«x[0]»", X),
    "offset without its axis": several(
        "an offset needs its axis on the left: 't' is not there", {"x[t]": X, "y | «x[t-1]»": XX}
    ),
    "nothing general": several("nothing gives s[t], only s[0]", {"«s[0]»": S, "y[t] | s[t]": SS}),
    # one conditional for each variable
    "two conditionals": several(
        "two conditionals for y: the other is 'y | a'", {"y | a": XX, "«y» | b": XX}, support={"a": Real(2)}
    ),
    "two first factors": Wrong("two conditionals for s[0]", [("s[0]", S), ("«s[0]»", S), ("s[t] | s[t-1]", SS)]),
    "two functions": several("two functions for y: the other is 'y = a'", {"y = a": net, "«y» = b": net}),
    # cycles
    "cycle of two": several("cycle: b -> a depend on each other", {"a | «b»": XX, "b | a": XX}),
    "cycle of one": one("cycle: a depend on each other", "a | «a»", XX),
    "cycle through a function": several("cycle: b -> a", {"a | «b»": XX, "b = a": net}),
    "both ways": one("its offsets along t point both ways", "x[t] | «x[t-1]», x[t+1]", XX),
    "both ways between two": several(
        "its offsets along t point both ways", {"a[t] | «b[t-1]»": XX, "b[t] | a[t+1]": XX}
    ),
    "through a whole axis": one("no axis shared by all its members orders them", "x[t] | «x»", XX),
    "through a summary": several("no axis shared by all its members orders them", {"x[t] | c": XX, "c = «x»": net}),
    "through the last element": several(
        "no axis shared by all its members orders them",
        {"h[t] = «c», h[t-1]": Recurrent(nn.GRUCell(2, 2)), "c = h[-1]": Function(net, dim=2)},
    ),
    "within one step": several(
        "no axis shared by all its members orders them",
        {"a[t] | «b[t]», a[t-1]": Gaussian(nn.Linear(4, 4), dim=2), "b[t] | a[t]": XX},
    ),
    "no common axis": several(
        "no axis shared by all its members orders them", {"a[t] | «b[n]»": XX, "b[n] | a[t]": XX}
    ),
    # starts and ends
    "no first state": one(
        "s[t-1] is no state at the end of axis 't', which a table cannot look up: give s[0]",
        "s[t] | «s[t-1]»",
        SS,
    ),
    "no last state": one("give s[-1] a factor of its own", "s[t] | «s[t+1]»", SS),
    "lag two": several("give s[1] a factor of its own", {"s[0]": S, "s[t] | «s[t-2]»": SS}),
    "table beyond the start": several(
        "s[t-1] is no state at the end of axis 't', which a table cannot look up: give y[0]",
        {"s[t]": S, "y[t] | «s[t-1]»": SS},
    ),
    "no first state for a network": one(
        "s reads its own past: give s[0] a factor of its own",
        "s[t] | «s[t-1]»",
        Categorical(nn.Linear(3, 3), 3),
    ),
    "unknown event outside": one(
        "x[t-1] looks outside the sequence, where zeros of its event shape stand: tell the shape",
        "x[t] | «x[t-1]»",
    ),
    "unknown event of another": several(
        "h[t-1] looks outside the sequence", {"h[t] = x[t]": net, "y[t] | «h[t-1]»": BARE}
    ),
    # tables and what they look up
    "too many parents": one("Categorical looks up 1 parent (given=), the formula has 2", "y | a, «b»", SS),
    "too few parents": one(
        "Categorical looks up 2 parents (given=), the formula has 1", "«y | a»", Categorical(3, given=(3, 3))
    ),
    "parents of a prior": one("Gaussian takes no inputs, the formula has 1", "x | «z»", X),
    "parents of a fixed prior": one("Normal takes no inputs", "x | «z»", Normal(0.0, 1.0)),
    "inputs of a table": one("Table takes no inputs", "y | «x»", Table(3)),
    "states of a parent": several(
        "Categorical expects 3 states of a, which has 4", {"a": Categorical(4), "y | «a»": SS}
    ),
    "parent not discrete": several(
        "Categorical looks z up in a table, but it is not discrete", {"z": X, "y | «z»": SS}
    ),
    "arity of a table": one("Table is over 2 variables, not 3", "a, b, «c»", Table(2, 2)),
    "arity of a bilinear potential": one("Bilinear is over 2 variables, not 1", "«v»", Bilinear(2, 2)),
    "states of a table": several(
        "Table makes a Finite(2), but it is Finite(3) elsewhere", {"a": S, "«a», b": Table(2, 2)}
    ),
    "two tables": several(
        "Scores makes y Finite(4), but it is Finite(3) elsewhere",
        {"y": Table(3), "«y» | x": Scores(nn.Linear(2, 4), states=4)},
    ),
    "cell without a past": one(
        "the last input of Recurrent is its own past, such as h[t-1]", "h[t] = h[t-1], «x[t]»", CELL
    ),
    "cell outside time": one("the last input of Recurrent is its own past", "h = «x»", CELL),
    # what is told
    "support of a stranger": one(
        "support names 'z', which no formula mentions; there are x", "x", X, support={"z": Real(2)}
    ),
    "labels of a stranger": one(
        "labels names 'z', which no formula mentions; there are x", "x", S, labels={"z": "abc"}
    ),
    "too few labels": one("labels of 's': 2 names for Finite(3)", "s", S, labels={"s": "ab"}),
    "labels of a real": one("labels of 'x': 2 names for Real(2)", "x", X, labels={"x": "ab"}),
    "support conflict": one("Gaussian makes x Real(2), but it is Real(3) elsewhere", "«x»", X, support={"x": Real(3)}),
    "kind of support": one(
        "Bernoulli makes v Binary(3), but it is Finite(3)", "«v»", Bernoulli(dim=3), support={"v": Finite(3)}
    ),
}


def unmarked(formula: Any) -> Any:
    return formula.replace("«", "").replace("»", "") if isinstance(formula, str) else formula


def carets(factors: list[tuple[Any, Any]]) -> list[str]:
    """The formula at fault and the line of carets under it."""
    marked = [text for text, _ in factors if isinstance(text, str) and "«" in text]
    if not marked:
        return []
    start, end = marked[0].index("«"), marked[0].index("»") - 1
    return ["    " + unmarked(marked[0]), "    " + " " * start + "^" * max(1, end - start)]


@pytest.mark.parametrize("name", WRONG)
def test_wrong_models(name):
    wrong = WRONG[name]
    with pytest.raises(FormulaError) as caught:
        Model([(unmarked(f), m) for f, m in wrong.factors], support=wrong.support, labels=wrong.labels)
    assert wrong.rule in caught.value.rule
    assert str(caught.value).split("\n") == [caught.value.rule, *carets(wrong.factors)]


def test_enough_wrong_models():
    assert len(WRONG) >= 45


RIGHT: dict[str, dict[str, Any]] = {
    "backquotes": {"`my state`": S, "y | `my state`": SS},
    "spaces": {"x [ t ]|z[ t ]": XX},
    "initial": {"h[t] = h[t-1]": Recurrent(nn.GRUCell(0, 2))},
    "own past of a float": {"x[t] | x[t-1]": XX},
    "function of nothing": {"x =": lambda: torch.zeros(2)},
    "own axis of an input": {"y | g[-1]": XX},
    "two axes nest": {"x[i,j] | x[i-1,j], x[i,j-1]": Gaussian(nn.Linear(4, 4), dim=2)},
    "both ends": {"s[0]": S, "s[-1]": S, "s[t] | s[t-1]": SS},
    "lag two": {"s[0]": S, "s[1] | s[0]": SS, "s[t] | s[t-2]": SS},
    "potential on a conditional": {"y": S, "y | x": Scores(nn.Linear(2, 3), states=3)},
    "cycles of potentials": {"a, b": Table(2, 2), "b, a": Table(2, 2)},
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_models(name):
    assert Model(RIGHT[name]).graph.nodes


JOINS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "axes": ({"z[t]": X, "x[t] | z[t]": XX}, {"z[n] | x[n]": XX}, "axis 1 of z is 't' elsewhere"),
    "indices": ({"z": X, "x[t] | z": XX}, {"z[t] | x[t]": XX}, "z has 0 indices in the model, 1 here"),
    "support": ({"z": X, "x | z": XX}, {"z | x": Gaussian(nn.Linear(2, 6), dim=3)}, "but it is Real(2) elsewhere"),
    "cycle": ({"z": X, "h = z": Function(net, dim=2), "x | h": XX}, {"z | h": XX}, "cycle"),
    "cycle in time": (
        {"z[t]": X, "h[t] = z[t], h[t-1]": CELL, "x[t] | h[t]": XX},
        {"z[t] | x[t], h[t]": Gaussian(nn.Linear(4, 4), dim=2)},
        "cycle",
    ),
}


@pytest.mark.parametrize("name", JOINS)
def test_wrong_guides(name):
    model, guide, rule = JOINS[name]
    with pytest.raises(FormulaError, match=re.escape(rule)):
        Model(guide).joined(Model(model))

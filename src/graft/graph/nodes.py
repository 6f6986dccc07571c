"""A factor in its place, and a variable with all that is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn
from torch.distributions import Distribution

from graft.distributions.supports import Support
from graft.errors import FormulaError
from graft.factors.base import Factor, Kind
from graft.graph.parse import EXISTENCE
from graft.graph.terms import Axis, Element, Formula, Term, Whole


@dataclass(frozen=True, eq=False)
class Node:
    """One factor of a model: its formula and the module that computes it.

    Attributes:
        formula: with every bare name and every letter that stands only on the right made whole.
        module: what the user gave.
        kind: conditional, potential or function.
        place: position in the model, for names of parameters and messages.
    """

    formula: Formula
    module: Callable[..., Any]
    kind: Kind
    place: int = 0

    @cached_property
    def head(self) -> Term:
        """The one left term of a conditional or function."""
        return self.formula.left[0]

    @cached_property
    def reads(self) -> tuple[Term, ...]:
        """The variables on the right, without `lengths` and `mask`."""
        return tuple(term for term in self.formula.right if term.name not in EXISTENCE)

    @cached_property
    def letters(self) -> tuple[str, ...]:
        return self.formula.letters

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """All terms of the factor, left first."""
        return self.formula.left + self.reads

    def indexes(self) -> bool:
        """Whether the module looks states up in a table."""
        return isinstance(self.module, Factor) and self.module.indexes

    def fail(self, rule: str, term: Term | None = None) -> FormulaError:
        """The error that underlines a term of this formula."""
        return FormulaError(rule, self.formula.text, term.span if term is not None else None)

    @cached_property
    def _text(self) -> str:
        return str(self.formula)

    def __str__(self) -> str:
        return self._text


def kind_of(formula: Formula, module: object) -> Kind:
    """What a module is in its place.

    Raises:
        FormulaError: if it can be nothing there.
    """
    text = formula.text
    if isinstance(module, Distribution):
        raise FormulaError("a distribution is not a module: wrap it in a module that returns it", text)
    if formula.function:
        if isinstance(module, Factor) and module.kind != "function":
            rule = f"{type(module).__name__} is a {module.kind}: write '|' instead of '='"
            raise FormulaError(rule, text, _mark(text, "="))
        if not callable(module):
            raise FormulaError(f"a function needs a callable, not {type(module).__name__}", text)
        return "function"
    if not isinstance(module, nn.Module):
        what = f"the class {module.__name__}" if isinstance(module, type) else type(module).__name__
        raise FormulaError(f"a factor needs an nn.Module, not {what}", text)
    kind: Kind = module.kind if isinstance(module, Factor) else "conditional"
    if kind == "function":
        rule = f"{type(module).__name__} is a function: write '=' instead of '|'"
        raise FormulaError(rule, text, _mark(text, "|") if "|" in text else None)
    if kind == "conditional" and len(formula.left) > 1:
        rule = f"{type(module).__name__} is a conditional, which has one variable on its left"
        raise FormulaError(rule, text, formula.left[1].span)
    return kind


def _mark(text: str, mark: str) -> tuple[int, int]:
    return text.index(mark), text.index(mark) + 1


@dataclass(frozen=True, eq=False)
class Variable:
    """All that the model says about one name.

    Attributes:
        name: as the user writes it.
        axes: the letters of its axes, in order.
        nodes: the factors that have it on their left.
        support: what values it takes; None if nobody said.
        labels: names of its states, if given.
    """

    name: str
    axes: tuple[str, ...]
    nodes: tuple[Node, ...] = ()
    support: Support | None = None
    labels: tuple[str, ...] | None = None

    @cached_property
    def functions(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.kind == "function")

    @cached_property
    def conditionals(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.kind == "conditional")

    @cached_property
    def potentials(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.kind == "potential")

    @property
    def is_input(self) -> bool:
        """Never on a left side: always conditioned on, never scored."""
        return not self.nodes

    @cached_property
    def is_computed(self) -> bool:
        return bool(self.functions)

    @cached_property
    def is_random(self) -> bool:
        """Drawn or scored, and not computed."""
        return bool(self.nodes) and not self.is_computed

    @cached_property
    def is_discrete(self) -> bool:
        return self.support is not None and self.support.states is not None

    @cached_property
    def term(self) -> Term:
        """The variable at every element, such as `y[n,t]`."""
        return Term(self.name, tuple(Axis(letter) for letter in self.axes))

    def producers(self, kind: Kind) -> tuple[Node, ...]:
        return self.functions if kind == "function" else self.conditionals

    def firsts(self, letter: str, kind: Kind) -> int:
        """How many elements from the start of an axis have factors of their own, without a gap."""
        places = self._elements(letter, kind)
        count = 0
        while count in places:
            count += 1
        return count

    def lasts(self, letter: str, kind: Kind) -> int:
        """The same from the end."""
        places = self._elements(letter, kind)
        count = 0
        while -count - 1 in places:
            count += 1
        return count

    def _elements(self, letter: str, kind: Kind) -> set[int]:
        found = (element_of(node.head, self, letter) for node in self.producers(kind))
        return {place for place in found if place is not None}


def index_of(term: Term, variable: Variable, letter: str) -> Axis | Element | Whole | None:
    """How a term indexes an axis of its variable; None if the variable lacks the axis."""
    if letter not in variable.axes:
        return None
    return term.indices[variable.axes.index(letter)]


def element_of(term: Term, variable: Variable, letter: str) -> int | None:
    """The integer at which a term stands on an axis, or None."""
    index = index_of(term, variable, letter)
    return index.position if isinstance(index, Element) else None

"""Which axes each variable has, and every formula rewritten so that no index is left to be guessed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from graft.errors import FormulaError
from graft.graph.parse import EXISTENCE
from graft.graph.terms import Axis, Formula, Index, Term, Whole


def axes_of(formulas: Sequence[Formula]) -> dict[str, tuple[str, ...]]:
    """The letters of every variable's axes, from all the formulas that mention it.

    Raises:
        FormulaError: if a variable has different numbers of indices, two letters on one axis, one letter on two, or
            (unless it is an input) an axis that no formula names.
    """
    found: dict[str, list[str | None]] = {}
    seen: dict[str, tuple[Term, Formula]] = {}
    for formula, term in _indexed(formulas):
        axes = found.setdefault(term.name, [None] * len(term.indices))
        if not seen.get(term.name):
            seen[term.name] = (term, formula)
        if len(axes) != len(term.indices):
            _fail(f"{term.name} has {len(axes)} indices elsewhere, {len(term.indices)} here", formula, term)
        for place, index in enumerate(term.indices):
            if not isinstance(index, Axis):
                continue
            if axes[place] not in (None, index.letter):
                rule = f"axis {place + 1} of {term.name} is {axes[place]!r} elsewhere: one letter is one axis"
                _fail(rule, formula, term)
            if index.letter in axes and axes.index(index.letter) != place:
                _fail(f"{term.name} has the axis {index.letter!r} twice", formula, term)
            axes[place] = index.letter
    given = {term.name for formula in formulas for term in formula.left}
    for name, axes in found.items():
        if None in axes and name in given:
            term, formula = seen[name]
            rule = f"no formula names axis {axes.index(None) + 1} of {name}: write it once with a letter"
            _fail(rule, formula, term)
    return {name: tuple(_letters(name, axes)) for name, axes in found.items()}


def _letters(name: str, axes: Iterable[str | None]) -> Iterator[str]:
    """An input's axis that no formula names is one of its own: a guide's formulas alone may not name it."""
    for place, letter in enumerate(axes):
        yield f"{name}.{place + 1}" if letter is None else letter


def _indexed(formulas: Iterable[Formula]) -> list[tuple[Formula, Term]]:
    return [(f, term) for f in formulas for term in (*f.left, *f.right) if term.indices]


def _fail(rule: str, formula: Formula, term: Term) -> None:
    raise FormulaError(rule, formula.text, term.span)


def time_axes(formulas: Iterable[Formula]) -> frozenset[str]:
    """The letters that occur with an offset."""
    return frozenset(
        index.letter
        for _, term in _indexed(formulas)
        for index in term.indices
        if isinstance(index, Axis) and index.offset
    )


def normalise(formula: Formula, axes: Mapping[str, tuple[str, ...]]) -> Formula:
    """The same formula with bare names, and letters that stand only on the right, made whole.

    Raises:
        FormulaError: if the left side breaks its rules, or an offset stands on the right of a letter that is not on
            the left.
    """
    for term in formula.left:
        _check_left(term, formula, axes)
    right = tuple(term if term.name in EXISTENCE else _spelt_out(term, formula, axes) for term in formula.right)
    for term in formula.right:
        if term.name in EXISTENCE and term.indices:
            _fail(f"{term.name!r} is read without indices", formula, term)
    return replace(formula, right=right)


def _check_left(term: Term, formula: Formula, axes: Mapping[str, tuple[str, ...]]) -> None:
    if any(isinstance(index, Whole) for index in term.indices):
        _fail("':' cannot stand on the left: a factor gives one element at a time", formula, term)
    if not term.indices and axes.get(term.name):
        written = f"{term.name}[{','.join(axes[term.name])}]"
        _fail(f"{term.name} has axes elsewhere: write {written} on the left", formula, term)
    if len(term.elements) > 1:
        _fail("at most one integer can stand on the left", formula, term)


def _spelt_out(term: Term, formula: Formula, axes: Mapping[str, tuple[str, ...]]) -> Term:
    letters = axes.get(term.name, ())
    if not term.indices:
        return replace(term, indices=tuple(Whole() for _ in letters))
    indices: list[Index] = []
    for index in term.indices:
        if isinstance(index, Axis) and index.letter not in formula.letters:
            if index.offset:
                rule = f"an offset needs its axis on the left: {index.letter!r} is not there"
                _fail(rule, formula, term)
            index = Whole()
        indices.append(index)
    return replace(term, indices=tuple(indices))


def left_offsets(formula: Formula) -> list[Term]:
    """The left terms with an offset, which only potentials may have."""
    return [term for term in formula.left if any(isinstance(index, Axis) and index.offset for index in term.indices)]

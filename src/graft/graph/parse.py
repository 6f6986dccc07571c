"""From the text of a formula to its terms; every complaint underlines the text at fault.

factor  := scope ["|" inputs] | term "=" inputs
scope   := term ("," term)*          inputs := term ("," term)*
term    := name | name "[" index ("," index)* "]"
index   := letter | letter ("-"|"+") int | int | ":"
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NoReturn

from graft.errors import FormulaError
from graft.graph.terms import Axis, Element, Formula, Index, Term, Whole

RESERVED = frozenset(
    "lengths mask using sizes shape budget guide given generator seed batch device dtype options".split()
)
#: Reserved names that a formula may read on its right: the module receives what the call was given.
EXISTENCE = frozenset({"lengths", "mask"})

_TOKEN = re.compile(
    r"\s*(?:(?P<name>[^\W\d]\w*)|`(?P<quoted>[^`]+)`|(?P<number>\d+)|(?P<sign>[-+])|(?P<mark>[|=,:\[\]]))"
)


def parse(text: str) -> Formula:
    """The formula that a text means.

    Args:
        text: such as ``"x[t] | z[t], h[t-1]"``.

    Returns:
        The parsed formula.

    Raises:
        FormulaError: if the text does not follow the grammar, with the place underlined.

    Example:
        >>> str(parse("x[t]|z[t],h[t-1]"))
        'x[t] | z[t], h[t-1]'
    """
    if not isinstance(text, str):
        raise FormulaError(f"a formula is a string, not {type(text).__name__}")
    return _parsed(text)


@lru_cache(1024)
def _parsed(text: str) -> Formula:
    """Formulas never change, and models of one kind are made again and again."""
    return _Parser(text).formula()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokens()
        self.at = 0

    def _tokens(self) -> list[tuple[str, str, tuple[int, int]]]:
        found, place = [], 0
        while self.text[place:].strip():
            match = _TOKEN.match(self.text, place)
            if match is None:
                start = place + len(self.text[place:]) - len(self.text[place:].lstrip())
                raise FormulaError("this character means nothing in a formula", self.text, (start, start + 1))
            kind = str(match.lastgroup)
            start = match.start(kind) - (kind == "quoted")
            found.append((kind, match[kind], (start, match.end())))
            place = match.end()
        return found

    def fail(self, rule: str, span: tuple[int, int] | None = None) -> NoReturn:
        if span is None:
            span = self.tokens[self.at][2] if self.at < len(self.tokens) else (len(self.text),) * 2
        raise FormulaError(rule, self.text, span)

    def peek(self) -> str:
        """The next mark or sign, 'name', 'number', or nothing at the end."""
        if self.at == len(self.tokens):
            return ""
        kind, value, _ = self.tokens[self.at]
        return value if kind in ("mark", "sign") else "name" if kind == "quoted" else kind

    def take(self) -> tuple[str, str, tuple[int, int]]:
        self.at += 1
        return self.tokens[self.at - 1]

    def formula(self) -> Formula:
        if not self.tokens:
            raise FormulaError("a formula needs a variable on its left", self.text or " ", (0, 1))
        left = self.terms(right=False)
        mark = self.peek()
        if mark not in ("", "|", "="):
            self.fail("expected ',', '|' or '=' here")
        right: tuple[Term, ...] = ()
        if mark:
            self.take()
            # "h =" is a function of nothing
            right = self.terms(right=True) if self.peek() or mark == "|" else ()
        if self.peek():
            self.fail("a formula has one '|' or '='" if self.peek() in "|=" else "expected ',' here")
        if mark == "=" and len(left) > 1:
            self.fail("a function computes one variable", left[1].span)
        return Formula(left, right, mark == "=", self.text)

    def terms(self, right: bool) -> tuple[Term, ...]:
        found = [self.term(right)]
        while self.peek() == ",":
            self.take()
            found.append(self.term(right))
        return tuple(found)

    def term(self, right: bool) -> Term:
        if self.peek() != "name":
            self.fail("expected a variable here")
        kind, name, span = self.take()
        if kind == "name" and name in RESERVED and not (right and name in EXISTENCE):
            self.fail(f"{name!r} is a reserved name", span)
        if self.peek() != "[":
            return Term(name, (), span)
        self.take()
        indices = [self.index()]
        while self.peek() == ",":
            self.take()
            indices.append(self.index())
        if self.peek() != "]":
            self.fail("expected ']' here")
        end = self.take()[2][1]
        return Term(name, tuple(indices), (span[0], end))

    def index(self) -> Index:
        mark = self.peek()
        if mark == ":":
            self.take()
            return Whole()
        if mark in ("-", "+") or mark == "number":
            return Element(self.integer())
        if mark != "name":
            self.fail("an index is a letter, a letter with an offset, an integer or ':'")
        _, letter, span = self.take()
        if len(letter) != 1:
            self.fail(f"an index is a single letter, not {letter!r}", span)
        return Axis(letter, self.integer() if self.peek() in ("-", "+") else 0)

    def integer(self) -> int:
        sign = -1 if self.peek() == "-" else 1
        if self.peek() in ("-", "+"):
            self.take()
        if self.peek() != "number":
            self.fail("expected an integer here")
        return sign * int(self.take()[1])

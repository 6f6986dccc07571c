"""Every error graft raises on purpose, all under one name.

`GraftError` is itself a `ValueError`: what raises it is wrong input, found before the work starts.
"""

from __future__ import annotations


class GraftError(ValueError):
    """The input is wrong; the message names the variable, the shapes and the rule."""


class FormulaError(GraftError):
    """A model does not make sense as written; the message underlines the offending text.

    Args:
        rule: what is wrong, one sentence.
        text: the formula the user wrote.
        span: the half-open range of characters at fault.
    """

    def __init__(self, rule: str, text: str = "", span: tuple[int, int] | None = None) -> None:
        self.rule, self.text, self.span = rule, text, span
        super().__init__(underline(rule, text, span))


class ShapeError(GraftError):
    """A value or a module's output has a shape that its formula does not allow."""


class IntractableError(GraftError):
    """No exact method fits the query; the message names the clique or the variables, and what would serve."""


class ImpossibleEvidence(GraftError):
    """The evidence has probability zero in some rows, so no posterior exists there.

    Args:
        message: the sentence to show.
        rows: the batch indices at fault.
    """

    def __init__(self, message: str, rows: list[tuple[int, ...]]) -> None:
        self.rows = rows
        super().__init__(message)


class DataError(GraftError):
    """A data file or folder is absent or not what it should be."""


class FormatError(GraftError):
    """A file does not say what its format asks for, or a model cannot be said in a format.

    Args:
        rule: what was found and what was expected.
        file: its name.
        line: where, counted from 1; None where no line is to blame.
    """

    def __init__(self, rule: str, file: str = "", line: int | None = None) -> None:
        self.rule, self.file, self.line = rule, file, line
        where = ", ".join(part for part in (file, "" if line is None else f"line {line}") if part)
        super().__init__(f"{where}: {rule}" if where else rule)


def underline(rule: str, text: str, span: tuple[int, int] | None) -> str:
    """The rule, then the formula with carets under the part at fault."""
    if not text:
        return rule
    start, end = span if span is not None else (0, len(text))
    marks = " " * start + "^" * max(1, end - start)
    return f"{rule}\n    {text}\n    {marks}"

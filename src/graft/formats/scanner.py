"""From the text of a BIF file to words, marks and lists of numbers, one after the other."""

from __future__ import annotations

import re

from graft.errors import FormatError
from graft.formats.decimals import NUMBER, shown, wrong
from graft.formats.source import Source

#: White space and comments.
_SKIP = re.compile(r"(?:[ \t\n\f\v]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
#: A quoted word, or a bare one: anything up to a mark, white space or a comment.
_WORD = re.compile(r'"([^"\x00-\x1f\x7f]*)"|((?:[^ {}()\[\],;|"/\x00-\x1f\x7f]|/(?![/*]))+)')
_LIST = re.compile(rf"[ \t\n]*({NUMBER}(?:(?>[ \t\n]*,[ \t\n]*|[ \t\n]+){NUMBER})*)[ \t\n]*;")
_ITEM = re.compile(NUMBER)
#: Words with commas between them, on one line: most of what a large file has.
_NAME = r'[^ {}()\[\],;|"/\x00-\x1f\x7f]+'
_NAMES = re.compile(rf"[({{][ \t]*({_NAME}(?:[ \t]*,[ \t]*{_NAME})*)[ \t]*[)}}]")


class Scanner:
    """Reads a text from left to right.

    Args:
        source: the text.

    Example:
        >>> scanner = Scanner(Source("a.bif", "( low /* and */ high ) 0.5 0.5;"))
        >>> scanner.words("(", ")", "a state"), scanner.numbers()
        ([('low', 2), ('high', 16)], ([0.5, 0.5], 23))
    """

    def __init__(self, source: Source) -> None:
        self.source, self.text, self.at = source, source.text, 0

    def error(self, rule: str, at: int | None = None) -> FormatError:
        """The error at a place, by default here."""
        return self.source.error(rule, self.at if at is None else at)

    def peek(self) -> str:
        """The character that the next token begins with; nothing at the end."""
        found = _SKIP.match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        return self.text[self.at : self.at + 1]

    def take(self, mark: str) -> int:
        """Pass a mark; its place.

        Raises:
            FormatError: something else stands there.
        """
        if self.peek() != mark:
            raise self.expected(repr(mark))
        self.at += 1
        return self.at - 1

    def word(self, what: str) -> tuple[str, int]:
        """The next word, bare or in quotes, and its place.

        Raises:
            FormatError: no word stands there, or an empty one; `what` says what was expected.
        """
        self.peek()
        start, found = self.at, _WORD.match(self.text, self.at)
        if found is None:
            raise self.expected(what)
        self.at = found.end()
        word = found[1] if found[2] is None else found[2]
        if not word:
            raise self.error(f"{what} is expected, not an empty name", start)
        return word, start

    def words(self, start: str, end: str, what: str) -> list[tuple[str, int]]:
        """Words between two marks, with commas or without; their places are on the right lines."""
        at, simple = self.take(start), _NAMES.match(self.text, self.at - 1)
        if simple is not None and self.text[simple.end() - 1] == end:
            self.at = simple.end()
            return [(word.strip(" \t"), at) for word in simple[1].split(",")]
        found = [self.word(what)]
        while self.peek() != end:
            if self.peek() == ",":
                self.take(",")
            found.append(self.word(what))
        self.take(end)
        return found

    def numbers(self) -> tuple[list[float], int]:
        """Numbers up to a semicolon, with commas or without, and where they start.

        Raises:
            FormatError: a number is none, negative, or beyond float64.
        """
        self.peek()
        start, found = self.at, _LIST.match(self.text, self.at)
        if found is None:
            return self._slowly(), start
        words = found[1].replace(",", " ").split()
        values = list(map(float, words))
        if min(values) <= 0 or max(values) == float("inf"):
            for word in _ITEM.finditer(found[1]):
                if rule := wrong(word[0]):
                    raise self.error(rule, found.start(1) + word.start())
        self.at = found.end()
        return values, start

    def _slowly(self) -> list[float]:
        """The same where comments stand between, or something is wrong."""
        values = []
        while True:
            word, at = self.word("a number")
            if rule := wrong(word):
                raise self.error(rule, at)
            values.append(float(word))
            if self.peek() == ";":
                self.take(";")
                return values
            if self.peek() == ",":
                self.take(",")

    def expected(self, what: str) -> FormatError:
        """The error that tells what stands here instead."""
        mark = self.peek()
        if not mark:
            return self.error(f"{what} is expected, but the file ends")
        if self.text.startswith("/*", self.at):
            return self.error("this comment is never closed")
        found = _WORD.match(self.text, self.at)
        if mark == '"' and found is None:
            return self.error("these quotes are not closed on their line")
        return self.error(f"{what} is expected, not {shown(found[0] if found else mark)}")

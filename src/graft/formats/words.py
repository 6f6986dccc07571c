"""From the text of a UAI file to words, read one after the other; lines are looked up only for an error."""

from __future__ import annotations

import re
from itertools import islice

from graft.errors import FormatError
from graft.formats.decimals import shown, wrong
from graft.formats.source import Source

#: Longer whole numbers are none that a file can mean.
_DIGITS = 18
#: In a text of these characters alone, `float` takes nothing but decimal numbers.
_PLAIN = re.compile(r"[-+.0-9eE \t\n]*")


class Words:
    """Reads words from left to right.

    Args:
        source: the text.

    Example:
        >>> words = Words(Source("a.evid", "2 0 1"))
        >>> words.whole("how many"), words.left
        (2, 2)
        >>> words.whole("a state", below=0)
        Traceback (most recent call last):
        graft.errors.FormatError: a.evid, line 1: a state is less than 0, not 0
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.words = source.text.split()
        self.at = 0

    @property
    def left(self) -> int:
        """How many words have not been read."""
        return len(self.words) - self.at

    def next(self, what: str) -> str:
        """The next word.

        Raises:
            FormatError: there is none; `what` says what was expected.
        """
        if not self.left:
            raise self.source.error(f"{what} is expected, but the file ends", len(self.source.text.rstrip()))
        self.at += 1
        return self.words[self.at - 1]

    def whole(self, what: str, *, below: int | None = None) -> int:
        """The next word, a whole number from 0.

        Raises:
            FormatError: it is none, or not below the bound.
        """
        word = self.next(what)
        if not (word.isascii() and word.isdigit() and len(word) <= _DIGITS):
            raise self.error(f"{what} is expected, a whole number, not {shown(word)}")
        number = int(word)
        if below is not None and number >= below:
            raise self.error(f"{what} is less than {below}, not {number}")
        return number

    def numbers(self, count: int, what: str) -> list[float]:
        """So many numbers that are not negative.

        Raises:
            FormatError: there are fewer words, or one is no such number.
        """
        if count > self.left:
            rule = f"{what}: {count:,} numbers are expected, but only {self.left:,} words are left"
            raise self.source.error(rule, len(self.source.text.rstrip()))
        found = self.words[self.at : self.at + count]
        if _PLAIN.fullmatch(" ".join(found)):
            try:
                values = list(map(float, found))
            except ValueError:
                values = []
            if values and min(values) > 0 and max(values) < float("inf"):
                self.at += count
                return values
        return [self._number(what) for _ in range(count)]

    def _number(self, what: str) -> float:
        word = self.next(what)
        if rule := wrong(word):
            raise self.error(f"{what}: {rule}")
        return float(word)

    def end(self) -> None:
        """Nothing more may follow.

        Raises:
            FormatError: something does.
        """
        if self.left:
            raise self.error(f"the file should end here, but goes on with {shown(self.next(''))}")

    def error(self, rule: str, number: int | None = None) -> FormatError:
        """The error at a word, by default the one read last."""
        return self.source.error(rule, self.place(self.at - 1 if number is None else number))

    def place(self, number: int) -> int:
        """Where a word begins in the text."""
        found = next(islice(re.finditer(r"\S+", self.source.text), number, None), None)
        return len(self.source.text) if found is None else found.start()

    def begins_line(self, number: int) -> bool:
        """Whether a word is the first of its line."""
        before = self.source.text[: self.place(number)].rpartition("\n")[2]
        return not before.strip()

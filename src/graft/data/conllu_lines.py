"""The lines of CoNLL-U: blocks of them, and what each line of a block must look like."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from graft.data.dependency_tree import UNKNOWN
from graft.errors import DataError

UPOS = tuple("ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split())
_COLUMNS = "ID FORM LEMMA UPOS XPOS FEATS HEAD DEPREL DEPS MISC".split()
_MAY_HOLD_SPACES = {"FORM", "LEMMA", "MISC"}
_EMPTY_IN_RANGES = ("LEMMA", "UPOS", "XPOS", "HEAD", "DEPREL", "DEPS")
_EMPTY_IN_NODES = ("HEAD", "DEPREL")
_HEAD = re.compile(r"0|[1-9][0-9]{0,8}")
_RANGE = re.compile(r"([1-9][0-9]{0,8})-([1-9][0-9]{0,8})")
_NODE = re.compile(r"(0|[1-9][0-9]{0,8})\.([1-9][0-9]{0,8})")
_NAME = re.compile(r"#\s*sent_id\s*=\s*(.*?)\s*")


class Malformed(DataError):
    """A line breaks the format.

    Args:
        line: its number, from 1.
        rule: what was expected.

    Example:
        >>> Malformed(3, "HEAD is 'x'").line
        3
    """

    def __init__(self, line: int, rule: str) -> None:
        self.line = line
        super().__init__(rule)


def blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    r"""Runs of lines that are not blank, each with the number of its first.

    Example:
        >>> list(blocks("# text\n1\n\n\n1"))
        [(1, ['# text', '1']), (5, ['1'])]
    """
    block: list[str] = []
    # `splitlines` would also split at form feeds and Unicode separators, which a form may hold
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        line = line.removesuffix("\r")
        if line:
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []


class Block:
    r"""The lines of one sentence: comments, then words, multiword tokens and empty nodes.

    Args:
        start: the number of the first line in its file, from 1.
        lines: the lines without their ends.

    Attributes:
        name: the `sent_id`, or nothing.
        words: form, universal tag, head and relation of each word.
        lines: the number of the line of each word.

    Raises:
        Malformed: a line breaks the format, or there are only comments.

    Example:
        >>> Block(1, ["# sent_id = a", "\t".join("1 Go go VERB _ _ 0 root _ _".split())]).words
        [('Go', 'VERB', 0, 'root')]
    """

    def __init__(self, start: int, lines: Sequence[str]) -> None:
        comments = next((k for k, line in enumerate(lines) if not line.startswith("#")), len(lines))
        if comments == len(lines):
            raise Malformed(start, "comments without a sentence; expected a line for each word after them")
        self.name = self._name(start, lines[:comments])
        self.words: list[tuple[str, str, int, str]] = []
        self.lines: list[int] = []
        self.covered = (0, 0)  # the last word of the latest multiword token, and the line of that token
        self.node = (0, 0)  # the latest empty node
        for number, line in enumerate(lines[comments:], start=start + comments):
            self._add(number, line)
        end, number = self.covered
        if end > len(self.words):
            raise Malformed(number, f"the token covers words up to {end}, but the sentence has {len(self.words)}")

    @staticmethod
    def _name(start: int, comments: Sequence[str]) -> str:
        found = [(k, match[1]) for k, line in enumerate(comments) if (match := _NAME.fullmatch(line))]
        if len(found) > 1:
            raise Malformed(start + found[1][0], "a second sent_id in one sentence")
        return found[0][1] if found else ""

    def _add(self, number: int, line: str) -> None:
        columns = line.split("\t")
        _check_columns(number, line, columns)
        identity = columns[0]
        if identity == str(len(self.words) + 1):
            self._add_word(number, columns)
        elif match := _RANGE.fullmatch(identity):
            self._add_token(number, int(match[1]), int(match[2]), columns)
        elif match := _NODE.fullmatch(identity):
            self._add_node(number, (int(match[1]), int(match[2])), columns)
        else:
            raise Malformed(number, f"the ID is {identity!r}; expected {len(self.words) + 1}, the next word")

    def _add_word(self, number: int, columns: Sequence[str]) -> None:
        form, upos, head, relation = columns[1], columns[3], columns[6], columns[7]
        if upos not in UPOS:
            raise Malformed(number, f"UPOS is {upos!r}; expected one of {', '.join(UPOS)}")
        if head != "_" and not _HEAD.fullmatch(head):
            raise Malformed(number, f"HEAD is {head!r}; expected the number of a word, 0 for the root, or _")
        self.words.append((form, upos, UNKNOWN if head == "_" else int(head), relation))
        self.lines.append(number)

    def _add_token(self, number: int, first: int, last: int, columns: Sequence[str]) -> None:
        following = len(self.words) + 1
        if first != following or last <= first:
            raise Malformed(number, f"a token of the words {first}-{last} where word {following} is next")
        if first <= self.covered[0]:
            raise Malformed(number, f"the tokens on lines {self.covered[1]} and {number} overlap")
        _check_empty(number, columns, _EMPTY_IN_RANGES, "a multiword token")
        self.covered = (last, number)

    def _add_node(self, number: int, node: tuple[int, int], columns: Sequence[str]) -> None:
        after = len(self.words)
        expected = (after, self.node[1] + 1 if self.node[0] == after else 1)
        if node != expected:
            raise Malformed(number, f"the empty node is {node[0]}.{node[1]}; expected {after}.{expected[1]}")
        _check_empty(number, columns, _EMPTY_IN_NODES, "an empty node")
        self.node = node


def _check_columns(number: int, line: str, columns: Sequence[str]) -> None:
    if len(columns) != len(_COLUMNS):
        what = "a comment inside a sentence" if line.startswith("#") else f"{len(columns)} columns"
        raise Malformed(number, f"{what}; expected {len(_COLUMNS)}, with tabs between them: {' '.join(_COLUMNS)}")
    for name, column in zip(_COLUMNS, columns, strict=True) if " " in line or "" in columns else ():
        if not column.strip(" "):
            raise Malformed(number, f"{name} is empty; expected _ where nothing is said")
        if " " in column and name not in _MAY_HOLD_SPACES:
            raise Malformed(number, f"{name} is {column!r}; only FORM, LEMMA and MISC may hold spaces")


def _check_empty(number: int, columns: Sequence[str], names: Sequence[str], what: str) -> None:
    for name, column in zip(_COLUMNS, columns, strict=True):
        if name in names and column != "_":
            raise Malformed(number, f"{name} of {what} must be _, but is {column!r}")

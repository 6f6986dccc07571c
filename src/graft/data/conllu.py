r"""Sentences with their dependency trees, from treebanks in the CoNLL-U format of Universal Dependencies.

A file holds one word a line, ten columns with tabs between them (ID, FORM, LEMMA, UPOS, XPOS, FEATS, HEAD, DEPREL,
DEPS, MISC), comments before each sentence and a blank line after it. What is kept of a word is its form, its universal
tag, its head and its relation to the head. Lines of multiword tokens (`1-2`) and of empty nodes (`8.1`), which stand
beside the basic tree, are checked and left out.

A byte order mark, `\r\n`, further blank lines and a last sentence without its blank line are accepted. All else that
breaks the format is an error: nothing is guessed or skipped.

Source: universaldependencies.org/format.html; M.-C. de Marneffe, C. D. Manning, J. Nivre and D. Zeman (2021),
Universal Dependencies, Computational Linguistics 47(2).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from graft.data.conllu_lines import Block, Malformed, blocks
from graft.data.dependency_tree import tree_fault
from graft.errors import DataError

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Sentence:
    """One sentence: words, universal tags and dependency tree.

    Args:
        words: the n forms.
        upos: n universal part-of-speech tags.
        heads: n numbers of words, counted from 1; 0 for the root, -1 where the head is not known.
        relations: n relations to the heads, with their subtypes.
        name: the `sent_id`.

    Raises:
        DataError: the four have not the same length or none, or the heads are no tree.

    Example:
        >>> Sentence(("dogs", "bark"), ("NOUN", "VERB"), (2, 0), ("nsubj", "root")).heads
        (2, 0)
    """

    words: tuple[str, ...]
    upos: tuple[str, ...]
    heads: tuple[int, ...]
    relations: tuple[str, ...]
    name: str = ""

    def __post_init__(self) -> None:
        sizes = [len(self.words), len(self.upos), len(self.heads), len(self.relations)]
        if sizes[0] == 0 or len(set(sizes)) > 1:
            found = "{} words, {} tags, {} heads, {} relations".format(*sizes)
            raise DataError(f"a sentence has as many words, tags, heads and relations, at least one; got {found}")
        fault = tree_fault(self.heads, self.relations)
        if fault is not None:
            word, rule = fault
            raise DataError(f"sentence {self.name!r}, word {word}: {rule}")


class Treebank(NamedTuple):
    """The three parts of a treebank.

    Example:
        >>> Treebank((), (), ())._fields
        ('train', 'dev', 'test')
    """

    train: tuple[Sentence, ...]
    dev: tuple[Sentence, ...]
    test: tuple[Sentence, ...]


def load(folder: str | Path) -> Treebank:
    """The treebank in a folder: its only files `*-train.conllu`, `*-dev.conllu` and `*-test.conllu`.

    Args:
        folder: the folder as Universal Dependencies hands it out.

    Returns:
        Treebank: all sentences, in the order of the files.

    Raises:
        DataError: the folder is not there, a part is missing or there twice, or a file is malformed.

    Example:
        >>> load("no/such/folder")
        Traceback (most recent call last):
        graft.errors.DataError: there is no folder no/such/folder: expected one with files *-train.conllu, ...
    """
    folder = Path(folder)
    patterns = [f"*-{part}.conllu" for part in Treebank._fields]
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}: expected one with files {', '.join(patterns)}")
    paths = [sorted(folder.glob(pattern)) for pattern in patterns]
    for pattern, found in zip(patterns, paths, strict=True):
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            raise DataError(f"{folder} must hold exactly one file {pattern}; found {names}")
    return Treebank(*(read(path) for (path,) in paths))


def read(path: str | Path) -> tuple[Sentence, ...]:
    r"""The sentences of a CoNLL-U file, in its order.

    Args:
        path: a file in UTF-8. Forms are left as they are written: no normalisation.

    Returns:
        tuple[Sentence, ...]: at least one.

    Raises:
        DataError: the file cannot be read, is empty, or a line breaks the format; the message has the line's number.

    Source: universaldependencies.org/format.html

    Example:
        >>> import tempfile
        >>> lines = ["1 dogs dog NOUN _ _ 2 nsubj _ _", "2 bark bark VERB _ _ 0 root _ _"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "two-words.conllu"
        ...     _ = path.write_text("\n".join(lines).replace(" ", "\t"))
        ...     read(path)
        (Sentence(words=('dogs', 'bark'), upos=('NOUN', 'VERB'), heads=(2, 0), relations=('nsubj', 'root'), name=''),)
    """
    try:
        sentences = tuple(_sentence(Block(start, lines)) for start, lines in blocks(_text(path)))
        if not sentences:
            raise Malformed(1, "the file holds no sentence")
    except Malformed as error:
        raise DataError(f"{path}, line {error.line}: {error}") from None
    return sentences


def _sentence(block: Block) -> Sentence:
    words, upos, heads, relations = zip(*block.words, strict=True)
    fault = tree_fault(heads, relations)
    if fault is not None:
        word, rule = fault
        raise Malformed(block.lines[word - 1], rule)
    return Sentence(words, upos, heads, relations, block.name)


def _text(path: str | Path) -> str:
    try:
        content = Path(path).read_bytes().removeprefix(_BOM)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from error
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Malformed(line, f"byte {content[error.start]:#04x} is not UTF-8") from None

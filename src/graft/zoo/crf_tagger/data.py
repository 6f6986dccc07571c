"""The treebank as words and tags, for the task asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from graft.data.conllu import Sentence, Treebank, load
from graft.data.conllu_lines import UPOS
from graft.data.fetch import SOURCES, fetch
from graft.data.noun_chunks import LABELS, noun_chunks
from graft.data.tag_schemes import encode, tags_of
from graft.zoo.crf_tagger.config import Config
from graft.zoo.crf_tagger.vocabulary import Vocabulary

#: Where downloads go.
DOWNLOADS = Path("data")


@dataclass(frozen=True)
class Labelled:
    """Sentences with a tag for each word.

    Args:
        words: of each sentence.
        tags: as many of each.
    """

    words: tuple[tuple[str, ...], ...]
    tags: tuple[tuple[str, ...], ...]


class Splits(NamedTuple):
    """Training, validation and test data."""

    train: Labelled
    dev: Labelled
    test: Labelled


def treebank(config: Config) -> Treebank:
    """The sentences that the settings name.

    Raises:
        DataError: the folder holds no treebank, a file is malformed, or the download fails.
    """
    return load(fetch(config.data, DOWNLOADS / config.data) if config.data in SOURCES else config.data)


def splits(config: Config, bank: Treebank) -> Splits:
    """Words and tags of all three parts; of the training part as many sentences as the settings say."""
    first = bank.train[: config.sentences or None]
    return Splits(*(tagged(part, config.task) for part in (first, bank.dev, bank.test)))


def tagged(sentences: Sequence[Sentence], task: str) -> Labelled:
    """The tags of a task: parts of speech as they stand, noun chunks as derived from the trees, in BIO."""
    words = tuple(sentence.words for sentence in sentences)
    if task == "upos":
        return Labelled(words, tuple(sentence.upos for sentence in sentences))
    return Labelled(words, tuple(encode(noun_chunks(s), len(s.words)) for s in sentences))


def vocabulary(config: Config, train: Labelled) -> Vocabulary:
    """That of the training data, with all tags of the task: another part may have one that these lack."""
    tags = sorted(UPOS) if config.task == "upos" else tags_of(sorted(LABELS), "BIO")
    return Vocabulary.of(train.words, tags=tags)


def digest(parts: Splits) -> str:
    """What tells one treebank from another: SHA-256 of all words and tags."""
    found = hashlib.sha256()
    for part in parts:
        for row in (*part.words, *part.tags):
            found.update("\t".join(row).encode() + b"\n")
    return found.hexdigest()

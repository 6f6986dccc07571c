"""Words, characters, features and tags as numbers, as the training data have them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from graft.errors import GraftError
from graft.training.durable import put
from graft.zoo.crf_tagger.features import affixes, contexts

#: Characters of a word that are looked at: the first half and the last half of a longer one.
WIDTH = 20
#: What stands for padding, and for what the training data lack.
PADDING, UNKNOWN = 0, 1
#: Marks the two ends of a word.
FIRST, LAST = 2, 3
_RESERVED = 4
_NUMBERED = ("words", "chars", "affixes", "contexts")


@dataclass(frozen=True)
class Vocabulary:
    """What the training data hold, each in a fixed order.

    Args:
        words: lower-case forms; numbers from 4 on, as for characters and features.
        counts: how often each word stands in the training data.
        chars: characters.
        affixes: features of the spelling.
        contexts: features of words and their neighbours, for the arm without a network.
        tags: their place is their number.

    Example:
        >>> vocabulary = Vocabulary.of([["The", "cat"]], tags=["DET", "NOUN"])
        >>> vocabulary.word("the"), vocabulary.word("dog"), vocabulary.tags
        (5, 1, ('DET', 'NOUN'))
    """

    words: tuple[str, ...]
    counts: tuple[int, ...]
    chars: tuple[str, ...]
    affixes: tuple[str, ...]
    contexts: tuple[str, ...]
    tags: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in (*_NUMBERED, "tags"):
            values = getattr(self, name)
            if (not values and name == "tags") or any(not isinstance(value, str) for value in values):
                raise GraftError(f"the vocabulary's {name} must be texts, and there must be tags")
            if len(set(values)) != len(values):
                raise GraftError(f"the vocabulary names some of its {name} twice")
        good = all(isinstance(count, int) and count >= 0 for count in self.counts)
        if not good or len(self.counts) != len(self.words):
            raise GraftError("the vocabulary's counts must be whole numbers, one for each word")

    @classmethod
    def of(cls, sentences: Sequence[Sequence[str]], *, tags: Iterable[str], least: int = 2) -> Vocabulary:
        """The vocabulary of training data.

        Args:
            sentences: words.
            tags: in a wanted order.
            least: how often a character or feature must stand there to be known.
        """
        words = Counter(word.lower() for sentence in sentences for word in sentence)
        chars = Counter(c for sentence in sentences for word in sentence for c in word)
        spelt = Counter(f for sentence in sentences for word in sentence for f in affixes(word))
        found = Counter(f for sentence in sentences for row in contexts(sentence) for f in row)
        return cls(
            words=tuple(sorted(words)),
            counts=tuple(words[word] for word in sorted(words)),
            chars=_frequent(chars, least),
            affixes=_frequent(spelt, least),
            contexts=_frequent(found, least),
            tags=tuple(tags),
        )

    def word(self, word: str) -> int:
        """The number of a word, whatever its case."""
        return self._ids["words"].get(word.lower(), UNKNOWN)

    def spelt(self, word: str) -> list[int]:
        """The numbers of a word's characters between its ends, padded to `WIDTH`."""
        known = self._ids["chars"]
        ids = [FIRST, *(known.get(c, UNKNOWN) for c in word), LAST]
        if len(ids) > WIDTH:
            ids = ids[: WIDTH // 2] + ids[-WIDTH // 2 :]
        return ids + [PADDING] * (WIDTH - len(ids))

    def affixed(self, word: str) -> list[int]:
        """The numbers of the features of a word's spelling; an unknown feature says nothing."""
        known = self._ids["affixes"]
        return [known.get(feature, PADDING) for feature in affixes(word)]

    def placed(self, sentence: Sequence[str]) -> list[list[int]]:
        """The numbers of the features of each word among its neighbours; likewise."""
        known = self._ids["contexts"]
        return [[known.get(feature, PADDING) for feature in row] for row in contexts(sentence)]

    def tag(self, tag: str) -> int:
        """The number of a tag.

        Raises:
            GraftError: the training data have no such tag.
        """
        if tag not in self._tags:
            raise GraftError(f"no tag {tag!r}; there are: {', '.join(self.tags)}")
        return self._tags[tag]

    @property
    def sizes(self) -> dict[str, int]:
        """How many numbers there are of each kind."""
        return {name: _RESERVED + len(getattr(self, name)) for name in _NUMBERED}

    def write(self, path: Path) -> Path:
        """As JSON."""
        return put(path, json.dumps(asdict(self), ensure_ascii=False).encode())

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """What `write` wrote.

        Raises:
            GraftError: the file is not there, or holds something else.
        """
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            found = {name: tuple(told[name]) for name in ("counts", "tags", *_NUMBERED)}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GraftError(f"{path} does not hold the vocabulary of a tagger: {error}") from error
        return cls(**found)

    @cached_property
    def _ids(self) -> dict[str, dict[str, int]]:
        return {name: {v: _RESERVED + k for k, v in enumerate(getattr(self, name))} for name in _NUMBERED}

    @cached_property
    def _tags(self) -> dict[str, int]:
        return {tag: k for k, tag in enumerate(self.tags)}


def _frequent(counts: Counter[str], least: int) -> tuple[str, ...]:
    return tuple(sorted(value for value, count in counts.items() if count >= least))

"""Indicator features of words: of the spelling alone, and of the word among its neighbours."""

from __future__ import annotations

from collections.abc import Sequence

_EDGE = ("<s>", "</s>")
#: How many features a word has of each kind.
AFFIXES, CONTEXTS = 6, 4


def affixes(word: str) -> list[str]:
    """The ends of a word, its beginning and its shape.

    Source: the spelling features of Ratnaparkhi, *A maximum entropy model for part-of-speech tagging* (1996), table 1.

    Example:
        >>> affixes("Dogs2")
        ['1=2', '2=s2', '3=gs2', '4=ogs2', 'p=do', 'x=Xxd']
    """
    own = word.lower()
    return [*(f"{n}={own[-n:]}" for n in (1, 2, 3, 4)), f"p={own[:2]}", f"x={_shape(word)}"]


def contexts(sentence: Sequence[str]) -> list[list[str]]:
    """Each word, its neighbours, and the pair it ends.

    Example:
        >>> contexts(["A", "dog"])[1]
        ['w=dog', '-1=a', '+1=</s>', '-1 w=a dog']
    """
    lower = [_EDGE[0], *(word.lower() for word in sentence), _EDGE[1]]
    rows = zip(lower, lower[1:], lower[2:], strict=False)
    return [[f"w={own}", f"-1={before}", f"+1={after}", f"-1 w={before} {own}"] for before, own, after in rows]


def _shape(word: str) -> str:
    """Kinds of characters, each run once: "Xx" of "Dog", "d" of "1999".

    Example:
        >>> _shape("U.S.-2b")
        'X.X.dx'
    """
    kinds = ["d" if c.isdigit() else "X" if c.isupper() else "x" if c.isalpha() else "." for c in word]
    return "".join(k for n, k in enumerate(kinds) if n == 0 or kinds[n - 1] != k)

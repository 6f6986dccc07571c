"""Whether the heads of a sentence's words make a dependency tree."""

from __future__ import annotations

from collections.abc import Sequence

UNKNOWN = -1  # the head of a word whose HEAD is `_`


def tree_fault(heads: Sequence[int], relations: Sequence[str]) -> tuple[int, str] | None:
    """A word that breaks the tree, counted from 1, and the rule it breaks; `None` where the heads are a tree.

    Heads may be unknown, and relations `_`: what is known must then be part of a tree.

    Args:
        heads: n numbers of words, counted from 1; 0 for the root, -1 where not known.
        relations: n relations to the heads.

    Example:
        >>> tree_fault([2, 0], ["nsubj", "root"])
        >>> tree_fault([2, 1, 0], ["nsubj", "obj", "root"])
        (1, 'the heads run in a cycle through this word')
    """
    root = 0
    for word, (head, relation) in enumerate(zip(heads, relations, strict=True), start=1):
        if not UNKNOWN <= head <= len(heads):
            return word, f"the head is {head}; expected 0 to {len(heads)}, the words of the sentence"
        known = head != UNKNOWN and relation != "_"
        if known and (relation.partition(":")[0] == "root") != (head == 0):
            return word, f"the head is {head}, the relation {relation!r}; a word is 'root' if and only if its head is 0"
        if head == 0 and root:
            return word, f"a second root beside word {root}; expected exactly one"
        root = word if head == 0 else root
    if not root and UNKNOWN not in heads:
        return 1, "no word of the sentence has head 0; expected exactly one root"
    return _cycle(heads)


def _cycle(heads: Sequence[int]) -> tuple[int, str] | None:
    seen = [0] * (len(heads) + 1)  # from which word each one was first reached
    for start in range(1, len(heads) + 1):
        word = start
        while word > 0 and not seen[word]:
            seen[word] = start
            word = heads[word - 1]
        if word > 0 and seen[word] == start:
            return word, "the heads run in a cycle through this word"
    return None

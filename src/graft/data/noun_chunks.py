r"""Base noun phrases of a sentence, each with the grammatical role of its head, read off the dependency tree.

Every `NOUN`, `PROPN` and `PRON` heads a chunk, unless it stands in the chunk of a word above it or its own relation
makes it a part of another word (`fixed`, `flat`, `goeswith`). A chunk is the longest run of words around its head
that are all *inner*, each with its own head in the chunk too. Inner to a chunk are

- left of the head its `det`, `amod`, `nummod`, `compound`, `nmod:poss`, `nmod:desc`, `nmod:unmarked`, and the parts of
  a name or expression, `flat`, `fixed`, `goeswith` ("the big red house", "my brother 's car": a possessor is merged);
- right of the head its `nummod`, `compound`, `flat`, `fixed`, `goeswith` ("page 3", "Jennifer M. Anderson");
- of such a modifier the same relations on either side, its `advmod`, `cc`, `conj` and `obl:unmarked`, and the `case` of
  a possessor ("a very big and red house", "a 3 year old boy"); of an `amod` all that is left of the head ("an
  easy to use tool");
- `punct` of all these inside the chunk, never at its edges; `advmod` of the head behind another modifier ("the then
  president"), never first.

A verb particle (`compound:prt`) is inner only under an `amod`. Relative clauses, prepositional phrases,
appositions and further conjuncts of a head stay outside. Chunks never overlap: each is a connected part of a tree.

The label is the role of the head: `SUBJ` (`nsubj`, `csubj`), `OBJ` (`obj`, `iobj`), `OBL` (`obl`) or `MOD` (`nmod`),
with all their subtypes, else `OTHER`. A conjunct has the role of the first one.

Source: L. A. Ramshaw and M. P. Marcus (1995), Text chunking using transformation-based learning (base noun phrases
as tagging); E. F. Tjong Kim Sang and S. Buchholz (2000), Introduction to the CoNLL-2000 shared task: chunking;
universaldependencies.org/u/dep (the relations). The rule is graft's own; it is not that of those corpora.
"""

from __future__ import annotations

from collections import defaultdict

from graft.data.conllu import Sentence
from graft.data.dependency_tree import UNKNOWN
from graft.data.spans import Span
from graft.errors import DataError

LABELS = ("SUBJ", "OBJ", "OBL", "MOD", "OTHER")
_NOMINAL = {"NOUN", "PROPN", "PRON"}
_ROLES = {"nsubj": "SUBJ", "csubj": "SUBJ", "obj": "OBJ", "iobj": "OBJ", "obl": "OBL", "nmod": "MOD"}
_PARTS = {"flat", "fixed", "goeswith"}
_AFTER = _PARTS | {"nummod", "compound"}
_BEFORE = _AFTER | {"det", "amod", "nmod:poss", "nmod:desc", "nmod:unmarked"}
_DEEPER = _BEFORE | {"advmod", "cc", "conj", "obl:unmarked", "punct"}
Children = dict[int, list[int]]  # by the number of the head, words from left to right, all counted from 1


def noun_chunks(sentence: Sentence) -> tuple[Span, ...]:
    """The base noun phrases of a sentence.

    Args:
        sentence: with all its heads known.

    Returns:
        tuple[Span, ...]: first word, one past the last, counted from 0, and one of `LABELS`; from left to right,
            never overlapping.

    Raises:
        DataError: a head is not known.

    Example:
        >>> words = ("my", "brother", "bought", "a", "very", "old", "car")
        >>> upos = ("PRON", "NOUN", "VERB", "DET", "ADV", "ADJ", "NOUN")
        >>> relations = ("nmod:poss", "nsubj", "root", "det", "advmod", "amod", "obj")
        >>> noun_chunks(Sentence(words, upos, (2, 3, 0, 7, 6, 7, 3), relations))
        ((0, 2, 'SUBJ'), (3, 7, 'OBJ'))
    """
    if UNKNOWN in sentence.heads:
        word = sentence.heads.index(UNKNOWN)
        raise DataError(
            f"noun chunks need every head, but that of word {word + 1}, {sentence.words[word]!r}, is unknown"
        )
    children: Children = defaultdict(list)
    for word, head in enumerate(sentence.heads, start=1):
        children[head].append(word)
    spans, queue, taken = [], list(children[0]), set[int]()
    while queue:  # heads before what depends on them
        word = queue.pop()
        queue += children[word]
        if word not in taken and _heads_a_chunk(sentence, word):
            chunk = _chunk(sentence, children, word)
            taken |= chunk
            spans.append((min(chunk) - 1, max(chunk), _role(sentence, word)))
    return tuple(sorted(spans))


def _heads_a_chunk(sentence: Sentence, word: int) -> bool:
    return sentence.upos[word - 1] in _NOMINAL and _base(sentence.relations[word - 1]) not in _PARTS


def _role(sentence: Sentence, word: int) -> str:
    while _base(sentence.relations[word - 1]) == "conj":
        word = sentence.heads[word - 1]
    return _ROLES.get(_base(sentence.relations[word - 1]), "OTHER")


def _chunk(sentence: Sentence, children: Children, head: int) -> set[int]:
    """The longest run of inner words around a head that holds the head of each and has no punctuation at its edges."""
    words = _inner(sentence, children, head)
    while True:
        first = last = head
        while first - 1 in words:
            first -= 1
        while last + 1 in words:
            last += 1
        while sentence.relations[first - 1] == "punct" and first < head:
            first += 1
        while sentence.relations[last - 1] == "punct" and last > head:
            last -= 1
        kept = {w for w in range(first, last + 1) if w == head or sentence.heads[w - 1] in words}
        if kept == words:
            return kept
        words = kept


def _inner(sentence: Sentence, children: Children, head: int) -> set[int]:
    """The head and all words that its modifiers lead to."""
    found = {head}
    queue = [(word, False) for word in _modifiers(sentence, children, head)]
    while queue:
        word, adjectival = queue.pop()
        relation = sentence.relations[word - 1]
        found.add(word)
        adjectival |= relation == "amod"
        possessor = relation == "nmod:poss"
        for child in children[word]:
            if _is_deeper(sentence.relations[child - 1], possessor) or (adjectival and child < head):
                queue.append((child, adjectival))
    return found


def _modifiers(sentence: Sentence, children: Children, head: int) -> list[int]:
    """The words directly under a head that may stand in its chunk."""
    sides = {word: _BEFORE if word < head else _AFTER for word in children[head]}
    real = [word for word, side in sides.items() if _is_in(sentence.relations[word - 1], side)]
    first = min(real, default=head)
    adverbs = [w for w in children[head] if first < w < head and sentence.relations[w - 1] == "advmod"]
    return real + adverbs + [w for w in children[head] if sentence.relations[w - 1] == "punct"]


def _is_deeper(relation: str, possessor: bool) -> bool:
    return _is_in(relation, _DEEPER) or (possessor and relation == "case")


def _is_in(relation: str, relations: set[str]) -> bool:
    return relation in relations or (_base(relation) in relations and relation != "compound:prt")


def _base(relation: str) -> str:
    return relation.partition(":")[0]

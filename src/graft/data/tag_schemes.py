r"""Segments of a sequence as one tag an element, and back: the schemes BIO and BIOES.

A segment (*span*) is labelled, holds at least one element and overlaps no other. In BIO, `B-x` begins a span of label
`x`, `I-x` goes on with it and `O` is outside of all. BIOES marks the last element `E-x` too, and a span of one `S-x`.
A sequence is legal if `I` and `E` only go on with a span of their own label and, in BIOES, each span is ended.
`allowed` writes this down as what a chain over tags may begin with, end with and step between.

Source: L. A. Ramshaw and M. P. Marcus (1995), Text chunking using transformation-based learning, Workshop on Very
Large Corpora; E. F. Tjong Kim Sang and S. Buchholz (2000), Introduction to the CoNLL-2000 shared task: chunking.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from graft.data.spans import Span, SpanScores, span_scores
from graft.errors import DataError

__all__ = ["Allowed", "Span", "SpanScores", "allowed", "decode", "encode", "span_scores", "tags_of"]
OUTSIDE = "O"
_LETTERS = {"BIO": ("B", "I"), "BIOES": ("B", "I", "E", "S")}
_GOES_ON = "IE"  # letters of tags that need an open span of their label before them
_LEAVES_OPEN = "BI"  # and that leave one, which BIOES does not let lie
Tag = tuple[str, str]  # the letter and the label


def encode(spans: Collection[Span], length: int, scheme: str = "BIO") -> tuple[str, ...]:
    """The tags of a sequence from its spans.

    Args:
        spans: first element, one past the last, and label of each, in any order.
        length: how many elements the sequence has.
        scheme: "BIO" or "BIOES".

    Returns:
        tuple[str, ...]: one tag an element.

    Raises:
        DataError: a span is empty, outside the sequence, without a label, or overlaps another.

    Example:
        >>> encode([(0, 2, "NP"), (3, 4, "NP")], 5)
        ('B-NP', 'I-NP', 'O', 'B-NP', 'O')
        >>> encode([(0, 2, "NP"), (3, 4, "NP")], 5, "BIOES")
        ('B-NP', 'E-NP', 'O', 'S-NP', 'O')
    """
    _letters(scheme)
    if length < 0:
        raise DataError(f"a sequence has no fewer than 0 elements; got length {length}")
    tags, before = [OUTSIDE] * length, (0, 0, "")
    for span in sorted(spans):
        first, last, label = span
        if not (0 <= first < last <= length and label):
            raise DataError(f"the span {span} must have 0 <= first < last <= {length} and a label")
        if first < before[1]:
            raise DataError(f"the spans {before} and {span} overlap")
        letters = ["B", *"I" * (last - first - 1)]
        if scheme == "BIOES":
            letters[-1] = "S" if last - first == 1 else "E"
        tags[first:last] = [f"{letter}-{label}" for letter in letters]
        before = span
    return tuple(tags)


def decode(tags: Sequence[str], scheme: str = "BIO", *, lenient: bool = False) -> tuple[Span, ...]:
    """The spans of a sequence from its tags.

    Args:
        tags: one an element.
        scheme: "BIO" or "BIOES".
        lenient: read illegal sequences too, as the script `conlleval` of the CoNLL tasks does: an `I` or `E` that has
            no open span of its label before it begins one, and a span that is not ended ends before the next tag.

    Returns:
        tuple[Span, ...]: first element, one past the last, and label of each, in order.

    Raises:
        DataError: the sequence is illegal and not read leniently, or a tag is none of the scheme; the message names
            the place, counted from 0.

    Example:
        >>> decode(["B-NP", "I-NP", "O", "B-NP"])
        ((0, 2, 'NP'), (3, 4, 'NP'))
        >>> decode(["O", "I-NP"])
        Traceback (most recent call last):
        graft.errors.DataError: tag 1 is 'I-NP' after 'O': it goes on with a span of 'NP', but none is open
        >>> decode(["O", "I-NP"], lenient=True)
        ((1, 2, 'NP'),)
    """
    parsed = _parse(tags, scheme)
    if not lenient:
        _check(tags, parsed, scheme)
    return tuple(_spans(parsed))


def tags_of(labels: Sequence[str], scheme: str = "BIO") -> tuple[str, ...]:
    """All tags of some labels: "O", then those of each label in order.

    Args:
        labels: distinct.
        scheme: "BIO" or "BIOES".

    Raises:
        DataError: a label is empty or there twice, or the labels are one string.

    Example:
        >>> tags_of(["NP", "VP"])
        ('O', 'B-NP', 'I-NP', 'B-VP', 'I-VP')
    """
    if isinstance(labels, str) or not all(labels) or len(set(labels)) < len(labels):
        raise DataError(f"labels must be a sequence of distinct strings, none empty; got {labels!r}")
    return (OUTSIDE, *(f"{letter}-{label}" for label in labels for letter in _letters(scheme)))


@dataclass(frozen=True, eq=False)
class Allowed:
    """What a chain over S tags may begin with, end with and step between.

    Args:
        first: (S,), true where a sequence may begin with the tag.
        last: (S,), true where it may end with it.
        pairs: (S, S), true where the tag of the column may follow the tag of the row.

    Example:
        >>> allowed(("O", "B-NP", "I-NP")).first
        tensor([ True,  True, False])
    """

    first: Bool[Tensor, " S"]
    last: Bool[Tensor, " S"]
    pairs: Bool[Tensor, "S S"]


def allowed(tags: Sequence[str], scheme: str = "BIO") -> Allowed:
    """The legal sequences over some tags, from their names alone.

    A sequence of at least one tag is legal if and only if `first`, all `pairs` of neighbours and `last` allow it. Where
    they do not, log-potentials of a chain are set to minus infinity.

    Args:
        tags: S distinct tags, in the order of the states.
        scheme: "BIO" or "BIOES".

    Raises:
        DataError: there is no tag, a tag is there twice or is none of the scheme.

    Example:
        >>> allowed(("O", "B-NP", "I-NP")).pairs
        tensor([[ True,  True, False],
                [ True,  True,  True],
                [ True,  True,  True]])
    """
    if not tags or len(set(tags)) < len(tags):
        raise DataError(f"the tags of a chain must be distinct, at least one; got {tuple(tags)}")
    parsed = _parse(tags, scheme)
    outside = (OUTSIDE, "")
    return Allowed(
        first=torch.tensor([_fault(outside, tag, scheme) is None for tag in parsed]),
        last=torch.tensor([_fault(tag, outside, scheme) is None for tag in parsed]),
        pairs=torch.tensor([[_fault(tag, after, scheme) is None for after in parsed] for tag in parsed]),
    )


def _letters(scheme: str) -> tuple[str, ...]:
    if scheme not in _LETTERS:
        raise DataError(f"unknown scheme {scheme!r}; expected one of {', '.join(_LETTERS)}")
    return _LETTERS[scheme]


def _parse(tags: Sequence[str], scheme: str) -> list[Tag]:
    letters, parsed = _letters(scheme), []
    for place, tag in enumerate(tags):
        letter, _, label = tag.partition("-")
        if tag != OUTSIDE and not (letter in letters and label):
            raise DataError(f"tag {place} is {tag!r}; expected O, or one of {', '.join(letters)} with - and a label")
        parsed.append((letter, label))
    return parsed


def _goes_on(before: Tag, tag: Tag) -> bool:
    return tag[0] in _GOES_ON and before[0] in _LEAVES_OPEN and before[1] == tag[1]


def _fault(before: Tag, tag: Tag, scheme: str) -> str | None:
    """What is wrong with a tag after another; the ends of a sequence count as O."""
    if _goes_on(before, tag):
        return None
    if tag[0] in _GOES_ON:
        return f"it goes on with a span of {tag[1]!r}, but none is open"
    if scheme == "BIOES" and before[0] in _LEAVES_OPEN:
        return f"a span of {before[1]!r} is open and must be ended with E"
    return None


def _check(tags: Sequence[str], parsed: Sequence[Tag], scheme: str) -> None:
    outside = (OUTSIDE, "")
    for place, (before, tag) in enumerate(zip([outside, *parsed], [*parsed, outside], strict=True)):
        fault = _fault(before, tag, scheme)
        if fault is not None:
            this = f"tag {place} is {tags[place]!r}" if place < len(tags) else "the sequence ends"
            raise DataError(f"{this} {f'after {tags[place - 1]!r}' if place else 'at the start'}: {fault}")


def _spans(parsed: Sequence[Tag]) -> Iterator[Span]:
    start, before = 0, (OUTSIDE, "")
    for place, tag in enumerate([*parsed, (OUTSIDE, "")]):
        if not _goes_on(before, tag):
            if before != (OUTSIDE, ""):
                yield start, place, before[1]
            start = place
        before = tag

"""Labelled segments of a sequence, and how many were found exactly: precision, recall and F1."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from graft.errors import DataError

Span = tuple[int, int, str]  # the first element, one past the last, the label


@dataclass(frozen=True)
class SpanScores:
    """Counts of spans, which add up over sequences.

    Args:
        right: spans that were found exactly, with their label.
        gold: spans that should have been found.
        found: spans that were found.

    Raises:
        DataError: more are right than there are.

    Example:
        >>> scores = SpanScores(right=3, gold=4, found=5) + SpanScores(right=0, gold=1, found=0)
        >>> scores
        SpanScores(right=3, gold=5, found=5)
        >>> scores.precision, scores.recall, scores.f1
        (0.6, 0.6, 0.6)
    """

    right: int = 0
    gold: int = 0
    found: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.right <= min(self.gold, self.found):
            raise DataError(f"right spans are both gold and found, so no more than either; got {self!r}")

    def __add__(self, other: SpanScores) -> SpanScores:
        return SpanScores(self.right + other.right, self.gold + other.gold, self.found + other.found)

    @property
    def precision(self) -> float:
        """The share of found spans that are right; a `DataError` where none was found."""
        return _share("precision", self.right, self.found, "no span was found")

    @property
    def recall(self) -> float:
        """The share of gold spans that were found; a `DataError` where there is none."""
        return _share("recall", self.right, self.gold, "there is no gold span")

    @property
    def f1(self) -> float:
        r"""The harmonic mean $2 \cdot \text{right} / (\text{gold} + \text{found})$; a `DataError` where both are 0."""
        return _share("F1", 2 * self.right, self.gold + self.found, "there is neither a gold span nor a found one")


def span_scores(gold: Collection[Span], found: Collection[Span]) -> SpanScores:
    """The counts for one sequence: a span is right if both ends and the label are.

    For a corpus add them up: `sum((span_scores(g, f) for g, f in pairs), SpanScores())`. This counts as the script
    `conlleval` of the CoNLL tasks does; where that prints 0 for an empty denominator, a figure here is an error.

    Args:
        gold: the spans that should have been found, of one sequence.
        found: the spans that were found in it.

    Raises:
        DataError: a span is there twice.

    Source: E. F. Tjong Kim Sang and S. Buchholz (2000), Introduction to the CoNLL-2000 shared task: chunking, §4.

    Example:
        >>> span_scores([(0, 2, "NP"), (3, 4, "NP")], [(0, 2, "NP"), (3, 5, "NP"), (5, 6, "VP")])
        SpanScores(right=1, gold=2, found=3)
    """
    for name, spans in (("gold", gold), ("found", found)):
        if len(set(spans)) < len(spans):
            raise DataError(f"a {name} span is there twice in {sorted(spans)}")
    return SpanScores(len(set(gold) & set(found)), len(gold), len(found))


def _share(name: str, part: int, whole: int, why: str) -> float:
    if whole == 0:
        raise DataError(f"{name} is not defined: {why}")
    return part / whole

"""Sequences cut into labelled segments: `Segmentation`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from graft.errors import GraftError
from graft.structured.checks import expand

#: Start, end (one past the last element) and label.
Span = tuple[int, int, int]


class Segmentation(NamedTuple):
    """A batch of sequences, each cut into labelled segments.

    Attributes:
        labels: integers (..., T), the label of each element's segment; 0 where nothing exists.
        durations: integers (..., T), how long a segment is, where it starts; 0 elsewhere.

    Example:
        >>> cut = Segmentation.from_spans([[(0, 2, 1), (2, 3, 0)], [(0, 1, 2)]], length=3)
        >>> cut.labels, cut.durations
        (tensor([[1, 1, 0],
                [2, 0, 0]]), tensor([[2, 0, 1],
                [1, 0, 0]]))
        >>> cut.spans()
        [[(0, 2, 1), (2, 3, 0)], [(0, 1, 2)]]
    """

    labels: Tensor
    durations: Tensor

    @property
    def starts(self) -> Bool[Tensor, "*batch t"]:
        """Where segments start, bool (..., T).

        Example:
            >>> Segmentation.from_spans([[(0, 2, 1), (2, 3, 0)]], length=3).starts
            tensor([[ True, False,  True]])
        """
        return self.durations > 0

    def spans(self, mask: Tensor | None = None) -> list:
        """The segments as lists of (start, end, label), nested as the batch is; `end` is one past the last element.

        Args:
            mask: which elements exist, bool (..., T), if there are holes or padding in front: durations count
                existing elements, and spans then lie over what was removed between them.

        Example:
            >>> Segmentation(torch.tensor([2, 0, 2]), torch.tensor([2, 0, 0])).spans(torch.tensor([True, False, True]))
            [(0, 3, 2)]
        """
        labels, durations = self.labels, self.durations
        exists = torch.ones_like(labels, dtype=torch.bool)
        exists = exists if mask is None else expand(mask, labels.shape, "mask", "(..., T)")
        if labels.dim() == 1:
            return _row_spans(labels.tolist(), durations.tolist(), exists.nonzero()[:, 0].tolist())
        rows = zip(labels, durations, exists, strict=True)
        return [Segmentation(label, duration).spans(there) for label, duration, there in rows]

    @classmethod
    def from_spans(
        cls, rows: Sequence[Iterable[Span]], length: int, device: torch.device | str | None = None
    ) -> Segmentation:
        """A batch (rows, T) from lists of (start, end, label), each in order, from element 0 on, without gaps.

        Args:
            rows: the segments of each row.
            length: T.
            device: where the result lives.

        Raises:
            GraftError: segments of a row overlap, leave gaps, are empty or end beyond T, or a label is negative.

        Example:
            >>> Segmentation.from_spans([[], [(0, 2, 3)]], length=2).labels
            tensor([[0, 0],
                    [3, 3]])
        """
        labels, durations = torch.zeros(2, len(rows), length, dtype=torch.long).unbind()
        for at, spans in enumerate(rows):
            spans = list(spans)
            _refuse_gaps(at, spans, length)
            for start, end, label in spans:
                labels[at, start:end] = label
                durations[at, start] = end - start
        return cls(labels.to(device), durations.to(device))


def _row_spans(labels: list[int], durations: list[int], places: list[int]) -> list[Span]:
    found, at = [], 0
    while at < len(places) and durations[places[at]] > 0:
        start, duration = places[at], durations[places[at]]
        found.append((start, places[min(at + duration, len(places)) - 1] + 1, labels[start]))
        at += duration
    return found


def _refuse_gaps(row: int, spans: list[Span], length: int) -> None:
    for (_, end, _), (start, _, _) in pairwise([(0, 0, 0), *spans]):
        if start != end:
            raise GraftError(
                f"spans of row {row} do not follow one another: one ends at {end}, the next starts at {start}"
            )
    for start, end, label in spans:
        if not start < end <= length or label < 0:
            raise GraftError(
                f"span {(start, end, label)} of row {row} is none: start < end <= {length} and label >= 0 must hold"
            )

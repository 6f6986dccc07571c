"""What the marks of a diagram mean: one small row for the marks that occur in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from graft.plots.marks import Box, Diagram, Edge, Note, Symbol
from graft.plots.paint import paint_box, paint_edge, paint_note, paint_symbol
from graft.plots.text import SMALL, half_size

_ROW, _SAMPLE, _LEAST = 0.24, 0.34, 2.6
_KINDS = {"random": "random", "computed": "computed", "input": "input", "factor": "potential"}

Sample = Symbol | Edge | Box


def samples(diagram: Diagram) -> list[tuple[str, Sample]]:
    """The entries that a diagram needs, each with the mark that shows it."""
    kinds = {s.kind for s in diagram.symbols.values()}
    found: list[tuple[str, Sample]] = [
        (text, Symbol("", kind, "", (), half=(0.07, 0.07))) for kind, text in _KINDS.items() if kind in kinds
    ]
    arrows = [edge for edge in diagram.edges if edge.head != "none"]
    if any(not edge.guide for edge in arrows):
        found.append(("model", Edge("", "")))
    if any(edge.guide for edge in diagram.edges):
        found.append(("guide", Edge("", "", guide=True, head="filled" if arrows else "none")))
    if any(edge.head == "hollow" for edge in arrows):
        found.append(("function", Edge("", "", head="hollow")))
    for time, text in ((False, "plate"), (True, "ordered axis")):
        if any(box.time == time for box in diagram.boxes):
            found.append((text, Box("", (), time)))
    return found


def paint_legend(axes: Any, diagram: Diagram, left: float, bottom: float, right: float) -> tuple[float, float, float]:
    """Paint the entries below the diagram, row by row.

    Returns:
        The left, right and bottom of the whole picture, wider than the diagram if that is narrow.
    """
    more = max(0.0, _LEAST - (right - left)) / 2
    left, right = left - more, right + more
    x, y, start = left + 0.15, bottom - 0.05, left + 0.15
    for text, sample in samples(diagram):
        half = half_size(text, SMALL)
        if x + _SAMPLE + 2 * half[0] > right - 0.1 and x > start:
            x, y = start, y - _ROW
        _paint(axes, sample, x, y)
        paint_note(axes, Note(text, (x + _SAMPLE + 0.07 + half[0], y), half), "#555555")
        x += _SAMPLE + 2 * half[0] + 0.25
    return left, right, y - 0.17


def _paint(axes: Any, sample: Sample, x: float, y: float) -> None:
    if isinstance(sample, Symbol):
        paint_symbol(axes, replace(sample, at=(x + _SAMPLE / 2, y)))
    elif isinstance(sample, Box):
        paint_box(axes, replace(sample, low=(x + 0.06, y - 0.07), high=(x + _SAMPLE - 0.06, y + 0.07)))
    else:
        paint_edge(axes, replace(sample, points=((x, y), (x + 0.1, y), (x + _SAMPLE, y))))

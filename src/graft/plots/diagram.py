"""Diagrams of models in the augmented notation of Hu et al. (2017)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from graft.errors import GraftError
from graft.graph.factor_graph import FactorGraph
from graft.plots.captions import captions_of
from graft.plots.layout import place
from graft.plots.legend import paint_legend
from graft.plots.marks import Diagram, Edge, Note
from graft.plots.notes import Clutter, around, beside, enclose, inner, label
from graft.plots.paint import paint_box, paint_edge, paint_note, paint_symbol
from graft.plots.routing import route
from graft.plots.sketch import boxes_of, edges_of, symbols_of
from graft.plots.text import SMALL, half_size

_SUFFIXES = (".png", ".svg", ".pdf")
_MARGIN = 0.15


def draw(graph: FactorGraph, guide: FactorGraph | None = None, path: Any = None, *, networks: bool = False) -> Any:
    """Draw a model, and its guide dashed beside it.

    Circles are random variables, double circles computed ones, shaded ones inputs, squares undirected factors.
    Arrows are solid for the model and dashed for the guide, their heads hollow where a function computes the target.
    Plates are boxes; a time axis is a dotted one, and what reads another element says which.

    Args:
        graph: the model.
        guide: built around the model.
        path: where to write it (.png, .svg, .pdf); if not given, nothing is written.
        networks: name the module of every factor beside it.

    Returns:
        A matplotlib `Figure`, independent of pyplot.

    Raises:
        GraftError: if the path has another suffix or cannot be written.

    Example:
        >>> from graft.factors import Gaussian
        >>> from graft.graph.factor_graph import build
        >>> from torch import nn
        >>> vae = build([("z", Gaussian(dim=2)), ("x | z", Gaussian(nn.Linear(2, 6)))], {}, {})
        >>> figure = draw(vae)
        >>> len(figure.axes)
        1
    """
    if path is not None and Path(path).suffix.lower() not in _SUFFIXES:
        raise GraftError(f"cannot write a diagram to {str(path)!r}: the suffix must be one of {', '.join(_SUFFIXES)}")
    figure = painted(arrange(graph, guide, networks=networks))
    if path is not None:
        _write(figure, Path(path))
    return figure


def arrange(graph: FactorGraph, guide: FactorGraph | None = None, *, networks: bool = False) -> Diagram:
    """Everything that a diagram shows, with its place and style, before any ink.

    Args:
        graph: the model.
        guide: built around the model.
        networks: name the module of every factor beside it.

    Example:
        >>> from graft.factors import Gaussian
        >>> from graft.graph.factor_graph import build
        >>> diagram = arrange(build([("z[n]", Gaussian(dim=2))], {}, {}))
        >>> diagram.symbols["z"].kind, diagram.boxes[0].members
        ('random', ('z',))
    """
    symbols, edges = symbols_of(graph, guide), edges_of(graph, guide)
    boxes = boxes_of(graph, guide, symbols)
    texts = captions_of(graph, guide) if networks else {}
    room = max((half_size(text, SMALL)[0] for text in texts.values()), default=0.0)
    spots = place(symbols, edges, boxes, room)
    placed = {s.key: replace(s, at=at) for s, at in zip(symbols, spots, strict=True)}
    routed = route(placed, edges)
    clutter = Clutter(placed.values(), routed)
    names = [clutter.put(text, around(placed[key], half_size(text, SMALL)), key) for key, text in texts.items()]
    inside = _notes([edge for edge in routed if inner(placed, edge)], clutter)
    clutter.borders = list(enclose(boxes, placed, routed, [*names, *inside]))
    lettered = tuple(label(box, clutter) for box in clutter.borders)
    outside = _notes([edge for edge in routed if not inner(placed, edge)], clutter)
    return Diagram(placed, routed, lettered, (*names, *inside, *outside))


def _notes(edges: Sequence[Edge], clutter: Clutter) -> list[Note]:
    return [
        clutter.put(text, beside(edge, where, half_size(text, SMALL)), edge.target)
        for edge in edges
        for text, where in edge.notes
    ]


def _extent(diagram: Diagram) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of all marks."""
    spots = [(*s.at, *s.half) for s in diagram.symbols.values()]
    spots += [(*n.at, *n.half) for n in (*diagram.notes, *(box.label for box in diagram.boxes))]
    spots += [(x, y, 0.03, 0.03) for edge in diagram.edges for x, y in edge.points]
    spots += [(x, y, 0.0, 0.0) for box in diagram.boxes for x, y in (box.low, box.high)]
    left, bottom = min(x - w for x, _, w, _ in spots), min(y - h for _, y, _, h in spots)
    right, top = max(x + w for x, _, w, _ in spots), max(y + h for _, y, _, h in spots)
    return left - _MARGIN, bottom - _MARGIN, right + _MARGIN, top + _MARGIN


def painted(diagram: Diagram) -> Any:
    """The figure of a diagram, with its legend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    left, bottom, right, top = _extent(diagram)
    figure = Figure(facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    left, right, bottom = paint_legend(axes, diagram, left, bottom, right)
    figure.set_size_inches(right - left, top - bottom)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    for box in reversed(diagram.boxes):
        paint_box(axes, box)
    for edge in diagram.edges:
        paint_edge(axes, edge)
    for symbol in diagram.symbols.values():
        paint_symbol(axes, symbol)
    for note in diagram.notes:
        paint_note(axes, note)
    return figure


def _write(figure: Any, path: Path) -> None:
    try:
        figure.savefig(path, dpi=200)
    except OSError as error:
        raise GraftError(f"cannot write a diagram to {str(path)!r}: {error.strerror or error}") from error

"""What a diagram is made of, as plain values: symbols, edges, boxes and notes, with positions in inches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]
Kind = Literal["random", "computed", "input", "factor"]
Head = Literal["filled", "hollow", "none"]
Where = Literal["tail", "middle", "head"]


@dataclass(frozen=True)
class Symbol:
    """A variable or an undirected factor.

    Attributes:
        key: the variable's name, or a square and a number.
        kind: what it is drawn as.
        label: mathtext inside it; a factor has none.
        letters: the axes whose boxes hold it.
        guide: it stands only in the guide.
        half: half its width and height.
        at: its centre.
    """

    key: str
    kind: Kind
    label: str
    letters: tuple[str, ...]
    guide: bool = False
    half: Point = (0.0, 0.0)
    at: Point = (0.0, 0.0)


@dataclass(frozen=True)
class Edge:
    """One read of a factor, or one line to an undirected factor.

    Attributes:
        source: key of a symbol; nothing for an element that starts from nowhere, such as `s[0]`.
        target: key of a symbol.
        guide: part of the guide, so dashed.
        head: filled for a draw, hollow for a function, none for an undirected factor.
        shifted: it looks at another element of an axis, so that it orders nothing within one.
        notes: what is written beside it, and where along it.
        points: the line, from border to border.
    """

    source: str
    target: str
    guide: bool = False
    head: Head = "filled"
    shifted: bool = False
    notes: tuple[tuple[str, Where], ...] = ()
    points: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Note:
    """A small text.

    Attributes:
        text: plain or mathtext.
        at: its centre.
        half: half its width and height.
        of: the key of the symbol whose factors it names, or nothing.
    """

    text: str
    at: Point
    half: Point
    of: str = ""


@dataclass(frozen=True)
class Box:
    """A plate, or a time axis.

    Attributes:
        letter: the axis.
        members: keys of the symbols that carry it.
        time: drawn as a time axis.
        low: the lower left corner.
        high: the upper right corner.
        label: the letter, in a corner.
    """

    letter: str
    members: tuple[str, ...]
    time: bool
    low: Point = (0.0, 0.0)
    high: Point = (0.0, 0.0)
    label: Note = Note("", (0.0, 0.0), (0.0, 0.0))


@dataclass(frozen=True)
class Diagram:
    """Everything a painter needs.

    Attributes:
        symbols: by key.
        edges: each with its line.
        boxes: from the innermost out.
        notes: beside edges, and the networks of factors.
    """

    symbols: dict[str, Symbol]
    edges: tuple[Edge, ...]
    boxes: tuple[Box, ...]
    notes: tuple[Note, ...]

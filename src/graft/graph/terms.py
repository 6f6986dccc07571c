"""The parts of a formula: indices, terms, and the formula itself, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Axis:
    """An index that runs along an axis: `t`, or `t-1` with an offset."""

    letter: str
    offset: int = 0

    def __str__(self) -> str:
        return self.letter + (f"{self.offset:+d}" if self.offset else "")


@dataclass(frozen=True)
class Element:
    """One element: 0 the first, -1 the last that exists in each row."""

    position: int

    def __str__(self) -> str:
        return str(self.position)


@dataclass(frozen=True)
class Whole:
    """The whole axis at once."""

    def __str__(self) -> str:
        return ":"


Index = Axis | Element | Whole


@dataclass(frozen=True)
class Term:
    """A variable with its indices, such as `h[n, t-1]`.

    Attributes:
        name: of the variable.
        indices: one per axis; empty for a variable without axes, or one meant whole.
        span: where it stands in the formula's text (not part of its identity).
    """

    name: str
    indices: tuple[Index, ...] = ()
    span: tuple[int, int] = field(default=(0, 0), compare=False)

    @property
    def letters(self) -> tuple[str, ...]:
        return tuple(i.letter for i in self.indices if isinstance(i, Axis))

    @property
    def elements(self) -> tuple[int, ...]:
        return tuple(i.position for i in self.indices if isinstance(i, Element))

    @property
    def plain(self) -> bool:
        """Whether every index is a letter without offset."""
        return all(isinstance(i, Axis) and i.offset == 0 for i in self.indices)

    def __str__(self) -> str:
        name = self.name if self.name.isidentifier() else f"`{self.name}`"
        return name + (f"[{','.join(map(str, self.indices))}]" if self.indices else "")


@dataclass(frozen=True)
class Formula:
    """A parsed formula: left terms, right terms, and whether `=` or `|` (or nothing) stands between.

    Attributes:
        left: the scope; one term for a conditional or function.
        right: the inputs, in order.
        function: written with `=`.
        text: as the user wrote it, for messages.
    """

    left: tuple[Term, ...]
    right: tuple[Term, ...]
    function: bool
    text: str = field(compare=False, default="")

    @property
    def letters(self) -> tuple[str, ...]:
        """The axes of the factor: the letters on its left, in order of first appearance."""
        return tuple(dict.fromkeys(x for term in self.left for x in term.letters))

    def __str__(self) -> str:
        left = ", ".join(map(str, self.left))
        if not self.right:
            return left + (" =" if self.function else "")
        return f"{left} {'=' if self.function else '|'} {', '.join(map(str, self.right))}"

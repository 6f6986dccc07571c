"""A formula taken apart by hand: which elements each factor touches in one row of a batch.

Written apart from graft on purpose: a regular expression for the formulas, plain loops for everything else.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import Tensor

#: One element of a variable: its name and its place on every axis, counted among those that exist.
Key = tuple[str, tuple[int, ...]]
#: (letter, offset) or an integer.
Index = tuple[str, int] | int


def terms_of(text: str) -> list[tuple[str, tuple[Index, ...]]]:
    """The terms of one side of a formula."""
    found = re.findall(r"(\w+)(?:\[([^\]]*)\])?", text)
    return [(name, tuple(index_of(part.strip()) for part in inner.split(",") if part)) for name, inner in found]


def index_of(text: str) -> Index:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    letter, offset = re.fullmatch(r"([a-z])([+-]\d+)?", text).groups()
    return (letter, int(offset or 0))


@dataclass(eq=False)
class Piece:
    """One factor, twice: as graft reads it, and as a table for each element.

    Attributes:
        text: its formula.
        module: for graft.
        table: (row of the batch, original place by letter) to log-values, one axis per discrete term.
        terms: the discrete terms of the table in order, where they are not simply all terms of the formula.
        potential: whether it stands only where all its left terms do.
        past: the axes of its parents have one row more, for a parent outside the sequence.
    """

    text: str
    module: object
    table: Callable[[tuple[int, ...], dict[str, int]], Tensor] | None
    terms: str | None = None
    potential: bool = False
    past: bool = False

    @property
    def left(self):
        return terms_of(re.split(r"[|=]", self.text)[0])

    @property
    def named(self):
        if self.terms is not None:
            return terms_of(self.terms)
        return [term for side in re.split(r"[|=]", self.text) for term in terms_of(side)]

    @property
    def letters(self) -> list[str]:
        return list(dict.fromkeys(i[0] for _, index in self.left for i in index if isinstance(i, tuple)))


@dataclass(eq=False)
class Space:
    """Batch, axes and existence of one case.

    Attributes:
        batch: the batch shape.
        sizes: of the axes.
        axes: of the variables.
        exists: by letter: booleans (batch, axes left of it, size); absent if all elements exist.
        left: by letter: the axes its existence varies with.
    """

    batch: tuple[int, ...]
    sizes: dict[str, int]
    axes: dict[str, tuple[str, ...]]
    exists: dict[str, Tensor] = field(default_factory=dict)
    left: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def rows(self) -> list[tuple[int, ...]]:
        return list(itertools.product(*map(range, self.batch)))

    def originals(self, row: tuple[int, ...], letter: str, place: dict[str, int]) -> list[int]:
        """Where the elements of an axis that exist stood before the others were removed."""
        if letter not in self.exists:
            return list(range(self.sizes[letter]))
        outer = tuple(self.original(row, x, place) for x in self.left.get(letter, ()))
        return self.exists[letter][(*row, *outer)].nonzero()[:, 0].tolist()

    def original(self, row: tuple[int, ...], letter: str, place: dict[str, int]) -> int:
        return self.originals(row, letter, place)[place[letter]]

    def places(self, row: tuple[int, ...], letters: list[str], fixed: dict[str, int] | None = None) -> Iterator:
        """All places on some axes, the ones whose existence others depend on first."""
        if not letters:
            yield dict(fixed or {})
            return
        first = min(letters, key=lambda x: len(self.left.get(x, ())))
        for at in range(len(self.originals(row, first, fixed or {}))):
            yield from self.places(row, [x for x in letters if x != first], {**(fixed or {}), first: at})

    def key(self, row: tuple[int, ...], name: str, index: tuple[Index, ...], place: dict[str, int]) -> Key | None:
        """The element a term stands for; None if there is none."""
        found: dict[str, int] = {}
        for letter, i in zip(self.axes.get(name, ()), index, strict=True):
            size = len(self.originals(row, letter, {**place, **found}))
            at = (i if i >= 0 else size + i) if isinstance(i, int) else place[i[0]] + i[1]
            if not 0 <= at < size:
                return None
            found[letter] = at
        return name, tuple(found[x] for x in self.axes.get(name, ()))

    def where(self, row: tuple[int, ...], key: Key) -> tuple[int, ...]:
        """The original place of an element."""
        place = dict(zip(self.axes.get(key[0], ()), key[1], strict=True))
        return tuple(self.original(row, x, place) for x in place)


def ground(space: Space, pieces: list[Piece], row: tuple[int, ...]) -> list[tuple[Piece, list[Key], Tensor]]:
    """Every factor at every element, as (factor, keys, log-table over them)."""
    found = []
    for piece in pieces:
        if piece.table is None:
            continue
        for place in space.places(row, piece.letters):
            if not stands(space, pieces, piece, row, place):
                continue
            original = {x: space.original(row, x, place) for x in place}
            found.append((piece, *tabulated(space, piece, row, place, piece.table(row, original))))
    return found


def tabulated(space: Space, piece: Piece, row, place, table: Tensor) -> tuple[list[Key], Tensor]:
    """The keys of a table; a parent outside the sequence is *no state*, the last row of its axis."""
    keys = []
    for name, index in piece.named:
        key = space.key(row, name, index, place)
        if key is None:
            table = table.select(len(keys), -1)
        else:
            if piece.past and keys:
                table = table.narrow(len(keys), 0, table.shape[len(keys)] - 1)
            keys.append(key)
    return keys, table


def stands(space: Space, pieces: list[Piece], piece: Piece, row, place: dict[str, int]) -> bool:
    keys = [space.key(row, name, index, place) for name, index in piece.left]
    if piece.potential or any(key is None for key in keys):
        return all(key is not None for key in keys)
    (name, index) = piece.left[0]
    rivals = [p for p in pieces if not p.potential and p.left[0][0] == name and p is not piece]
    return not any(beats(space, one, index, row, keys[0]) for one in rivals)


def beats(space: Space, one: Piece, index: tuple[Index, ...], row, key: Key) -> bool:
    """Whether another conditional gives this element in place of the one with this index."""
    name, other = one.left[0]
    special = [i for i in other if isinstance(i, int)]
    if not special:
        return False
    mine = [i for i in index if isinstance(i, int)]
    place = dict(zip(space.axes[name], key[1], strict=True))
    same = space.key(row, name, tuple(i if isinstance(i, int) else (i[0], 0) for i in other), place) == key
    # a first element wins over a last one where a row has but one
    return same and (not mine or (special[0] >= 0 > mine[0]))

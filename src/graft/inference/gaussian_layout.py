"""The state of a Gaussian part: which unknown, at which lag, stands where in one vector per step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from graft.errors import IntractableError
from graft.inference.gaussian_factors import Conditional, Message


@dataclass(frozen=True)
class Layout:
    """Where things stand.

    Attributes:
        names: the unknowns, each after those of its own step that it reads.
        dims: the length of each.
        depth: how many steps of each a state holds, the present one included.
        still: the unknowns without the axis of the part, the same at all steps.
    """

    names: tuple[str, ...]
    dims: Mapping[str, int]
    depth: Mapping[str, int]
    still: frozenset[str]

    @property
    def states(self) -> int:
        return sum(self.dims[name] * self.depth[name] for name in self.names)

    @property
    def noises(self) -> int:
        return sum(self.dims.values())

    def block(self, name: str, back: int = 0) -> slice:
        """Where an unknown of some steps back stands in the state."""
        start = sum(self.dims[x] * self.depth[x] for x in self.names[: self.names.index(name)])
        start += back * self.dims[name]
        return slice(start, start + self.dims[name])

    def noise(self, name: str) -> slice:
        """Where an unknown's own noise stands among those of its step."""
        start = sum(self.dims[x] for x in self.names[: self.names.index(name)])
        return slice(start, start + self.dims[name])


def layout(
    dims: Mapping[str, int],
    still: frozenset[str],
    makers: Mapping[str, Sequence[Conditional]],
    seen: Sequence[Conditional],
    messages: Sequence[Message],
) -> Layout:
    """Lay out the state.

    Args:
        dims: the length of each unknown.
        still: those without the axis of the part.
        makers: the conditionals of each unknown.
        seen: those of what was observed.
        messages: the potentials.

    Raises:
        IntractableError: unknowns of one step depend on each other in turns.
    """
    depth = dict.fromkeys(dims, 1)
    order: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(dims, ()))
    for name, conditionals in makers.items():
        for term, back, _ in (parent for one in conditionals for parent in one.parents):
            depth[term.name] = max(depth[term.name], back or 1)
            if not back:
                order.add(name, term.name)
    pulls = [(term, back) for one in seen for term, back, _ in one.parents]
    pulls += [(message.term, message.back) for message in messages]
    for term, back in pulls:
        depth[term.name] = max(depth[term.name], (back or 0) + 1)
    try:
        names = tuple(order.static_order())
    except CycleError as error:
        raise IntractableError(f"{', '.join(dims)} depend on each other within one step, in turns") from error
    return Layout(names, dims, depth, still)

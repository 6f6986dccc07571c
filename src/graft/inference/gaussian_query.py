"""Queries with continuous unknowns: the jointly Gaussian ones integrated out, the discrete rest left to itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from graft.errors import IntractableError
from graft.graph.factor_graph import FactorGraph
from graft.inference.gaussian_parts import NotGaussian, Part, continuous, needed, parts
from graft.inference.gaussian_solved import Solved
from graft.inference.gaussian_system import assemble
from graft.inference.plan import written
from graft.inference.query import ask
from graft.inference.relevance import Relevant
from graft.inference.roles import roles
from graft.inference.settle import Situation
from graft.ops.modes import ordinary


@dataclass(eq=False)
class GaussianQuery:
    """One integral over continuous unknowns.

    Attributes:
        situation: of the call.
        need: what the query needs.
        parts: its continuous unknowns, in groups that do not touch.
        budget: bytes it may take.
    """

    situation: Situation
    need: Relevant
    parts: tuple[Part, ...]
    budget: int
    _solved: tuple[bool, list[Solved]] | None = field(default=None, repr=False)

    @property
    def solved(self) -> list[Solved]:
        """The parts, evaluated; those made without gradients are not kept for who wants them."""
        want = torch.is_grad_enabled()
        if self._solved is None or (want and not self._solved[0]):
            self.affordable()
            with ordinary():
                self._solved = (want, [Solved(assemble(self.situation, part)) for part in self.parts])
        return self._solved[1]

    def of(self, name: str) -> Solved:
        """The part that holds an unknown."""
        return next(s for s, part in zip(self.solved, self.parts, strict=True) if name in part.names)

    @property
    def log_partition(self) -> Tensor:
        """The log of the integral over the parts alone; shape batch."""
        with ordinary():
            total = torch.zeros(self.situation.frame.batch, dtype=torch.float64, device=self.situation.frame.device)
            for solved in self.solved:
                total = total + solved.log_partition
            return total.to(self.situation.frame.dtype)

    @cached_property
    def rest(self) -> Situation:
        """The same call without the parts and all that touches them."""
        return without(self.situation, {name for part in self.parts for name in part.names})

    def cost(self, part: Part) -> tuple[int, int]:
        """Operations and bytes of a part, roughly: products of matrices of the size of the state, at each step."""
        graph, frame = self.situation.graph, self.situation.frame
        rows = torch.Size((*frame.batch, *(frame.sizes[x] for x in part.common))).numel()
        steps = 1 if part.letter is None else frame.sizes[part.letter]
        size = sum(torch.Size(graph.variables[n].support.event_shape).numel() for n in part.names)  # type: ignore[union-attr]
        return rows * steps * 12 * size**3, rows * steps * 8 * (3 * size**2 + 3 * size)

    def affordable(self) -> None:
        """Refuse what does not fit, before anything is allocated.

        Raises:
            IntractableError: naming the unknowns and the bytes they would take.
        """
        for part in self.parts:
            _, size = self.cost(part)
            if size > self.budget:
                raise IntractableError(
                    f"too large: the moments of {', '.join(part.names)} take at least {written(size)} bytes, the "
                    f"budget is {written(self.budget)}. What would serve: a smaller batch, or a larger budget="
                )


def gaussian(
    situation: Situation, budget: int, wanted: Collection[str] = (), everything: bool = False, scored: bool = True
) -> GaussianQuery | None:
    """The continuous unknowns of a query; None if it has none.

    Raises:
        NotGaussian: they are not jointly Gaussian.
    """
    if not any_continuous(situation):
        return None
    need = needed(situation.graph, situation.given, frozenset(wanted), everything, scored)
    if not continuous(situation.graph, need):
        return None
    nested = {letter: found.left for letter, found in situation.frame.existence.items()}
    return GaussianQuery(situation, need, parts(situation.graph, need, nested), budget)


def gaussian_or_refuse(
    situation: Situation, budget: int, wanted: Collection[str] = (), everything: bool = False
) -> GaussianQuery | None:
    """The same, with an error for the user.

    Raises:
        IntractableError: naming the variables and the factor at fault.
    """
    try:
        return gaussian(situation, budget, wanted, everything)
    except NotGaussian as reason:
        need = needed(situation.graph, situation.given, frozenset(wanted), everything)
        names = ", ".join(continuous(situation.graph, need))
        raise IntractableError(
            f"no exact engine integrates over continuous unknowns: {names}. Linear-Gaussian ones are integrated out, "
            f"but {reason}; give {names} as values"
        ) from reason


def any_continuous(situation: Situation) -> bool:
    """Whether some continuous variable is not known in full."""
    given, names = situation.given, roles(situation.graph).continuous
    return any(n not in given or given[n].value is None or given[n].cells is not None for n in names)


def log_sum(situation: Situation, budget: int, scored: bool = True) -> Tensor:
    """The log of the sum, and integral, of all factors over everything unknown; shape batch.

    Raises:
        IntractableError: if that cannot be had exactly.
    """
    try:
        found = gaussian(situation, budget, scored=scored)
    except NotGaussian:
        found = None  # the sum over states says what is in the way
    if found is None:
        return ask(situation, budget, True, scored=scored).log_partition
    return found.log_partition + ask(found.rest, budget, True, scored=scored).log_partition


def without(situation: Situation, names: Collection[str]) -> Situation:
    """A call without some variables, the factors that touch them, and whatever those alone would make."""
    graph, gone = situation.graph, set(names)
    known = {name for name, given in situation.given.items() if given.value is not None}
    while True:
        nodes = [node for node in graph.nodes if not gone & {term.name for term in node.terms}]
        left = {node.formula.left[0].name for node in graph.nodes} - {t.name for n in nodes for t in n.formula.left}
        if left - known <= gone:
            break
        gone |= left - known
    return replace(situation, graph=_part_of(graph, set(nodes)), given=_given(situation, nodes))


def _part_of(graph: FactorGraph, nodes: Collection) -> FactorGraph:
    mentioned = {term.name for node in nodes for term in node.terms}
    variables = {
        name: replace(variable, nodes=tuple(node for node in variable.nodes if node in nodes))
        for name, variable in graph.variables.items()
        if name in mentioned
    }
    return replace(graph, nodes=tuple(node for node in graph.nodes if node in nodes), variables=variables)


def _given(situation: Situation, nodes: Collection) -> dict:
    mentioned = {term.name for node in nodes for term in node.terms}
    return {name: given for name, given in situation.given.items() if name in mentioned}

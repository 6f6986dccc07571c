"""One run that evaluates a bound at several values of the same draws: at hard states, and at their relaxations."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from graft.distributions.density import Density
from graft.distributions.density_families import BernoulliDensity, CategoricalDensity
from graft.errors import FormulaError
from graft.graph.nodes import Node
from graft.inference.guided.dependence import depends, reach
from graft.inference.guided.trace import Trace
from graft.inference.program import Program
from graft.objectives.estimators.base import Estimator


class Evaluation(Trace):
    """One slice of a trace along its first dimension.

    Args:
        whole: the trace.
        place: of the slice.
        kept: what the trace was asked for before, shared by its slices.
    """

    def __init__(self, whole: Trace, place: int, kept: dict[tuple[object, ...], Tensor | None] | None = None) -> None:
        self.whole, self.place = whole, place
        self.kept: dict[tuple[object, ...], Tensor | None] = {} if kept is None else kept
        self.batch, self.extra, self.unknown = whole.batch, whole.extra[1:], whole.unknown
        self.guide, self.model = whole.guide, whole.model
        self.draws = {name: value[place] for name, value in whole.draws.items()}

    def at(self, place: int) -> Evaluation:
        """Another slice of the same trace."""
        return Evaluation(self.whole, place, self.kept)

    def log_q(self, node: Node) -> Tensor:
        return self._some("log_q", self.whole.log_q, node)

    def direct(self, node: Node) -> Tensor:
        return self._some("direct", self.whole.direct, node)

    def log_p(self, node: Node) -> Tensor:
        return self._some("log_p", self.whole.log_p, node)

    def log_joint(self) -> Tensor:
        return self._some("log_joint", self.whole.log_joint)

    def kl(self, guide: Node, model: Node) -> Tensor | None:
        return self._asked("kl", self.whole.kl, guide, model)

    def entropy(self, node: Node) -> Tensor | None:
        return self._asked("entropy", self.whole.entropy, node)

    def _some(self, what: str, how: Callable[..., Tensor], *nodes: Node) -> Tensor:
        found = self._asked(what, how, *nodes)
        assert found is not None
        return found

    def _asked(self, what: str, how: Callable[..., Tensor | None], *nodes: Node) -> Tensor | None:
        key = (what, *nodes)
        if key not in self.kept:
            self.kept[key] = how(*nodes)
        found = self.kept[key]
        rank = len(self.whole.extra) + len(self.batch)
        if found is None or found.dim() < rank:
            return found
        return found[self.place if found.shape[0] > 1 else 0]


def same(draw: Callable[[Density, tuple[int, ...]], Tensor], density: Density, lead: tuple[int, ...]) -> Tensor:
    """One draw for all evaluations."""
    if len(density.leading) < len(lead):
        return draw(density, lead[1:]).expand((*lead, *density.event))
    value = draw(density, lead)
    return value[:1].expand_as(value)


def first(density: Density, lead: tuple[int, ...]) -> Density:
    """A discrete density without its dimension of evaluations, along which it is constant."""
    if len(density.leading) == len(lead) and isinstance(density, BernoulliDensity):
        return BernoulliDensity(density.logits[0], density.event_rank, density.hard)
    if len(density.leading) == len(lead) and isinstance(density, CategoricalDensity):
        return CategoricalDensity(density.logits[0])
    return density


def nothing_follows(program: Program, chosen: Mapping[str, Estimator]) -> None:
    """Whether no draw depends on one whose bound is evaluated at several values.

    Raises:
        FormulaError: underlining the factor whose draw does.
    """
    reached = reach(program, frozenset())
    for node in program.guide.nodes:
        if node.kind != "conditional":
            continue
        for name in sorted(depends(node, reached, head=False)):
            if name in chosen and chosen[name].evaluates > 1:
                rule = f"{node.head.name} is drawn given {name}, which {chosen[name].title} serves only if nothing is"
                raise FormulaError(rule, node.formula.text, node.head.span)

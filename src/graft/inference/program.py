"""A guide beside its model, run as one program.

Names that the guide reads resolve to evidence, then to its own, then to the model's computed variables (VRNN's
`h[t-1]`, DRAW's `c[t-1]`). A name the guide gives that the model draws, or takes as input, is what it proposes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import Tensor

from graft.errors import FormulaError
from graft.graph.factor_graph import FactorGraph
from graft.graph.nodes import Node, Variable
from graft.graph.recurrence import schedule
from graft.inference.inputs_only import InputsOnly
from graft.inference.ready import Ready
from graft.inference.settle import Situation


@dataclass(frozen=True, eq=False)
class Program:
    """A guide checked against its model.

    Attributes:
        model: the model's graph.
        guide: the guide's, built around the model's.
        proposes: names the guide gives that the model draws or takes as input.
    """

    model: FactorGraph
    guide: FactorGraph
    proposes: tuple[str, ...]
    _producers: dict[frozenset[str], tuple[Node, ...]] = field(default_factory=dict, repr=False)

    def producers(self, known: frozenset[str]) -> tuple[Node, ...]:
        """What makes every value, given the evidence: the guide's factors and the model's functions.

        The same nodes at every call, since others remember by node what they found.
        """
        if known not in self._producers:
            self._producers[known] = self._made(known)
        return self._producers[known]

    def _made(self, known: frozenset[str]) -> tuple[Node, ...]:
        nodes = [n for n in self.guide.nodes if n.kind != "potential" and n.head.name not in known]
        for name in self.model.computed:
            if name not in known:
                nodes += self.model.variables[name].functions
        return tuple(replace(node, place=place) for place, node in enumerate(nodes))

    @cached_property
    def variables(self) -> dict[str, Variable]:
        """All variables; those the guide gives have the guide's factors."""
        own = {n: v for n, v in self.guide.variables.items() if v.nodes}
        return {**self.guide.variables, **self.model.variables, **own}


def join(model: FactorGraph, guide: FactorGraph) -> Program:
    """Check a guide against its model, cycles of the two together included.

    Raises:
        FormulaError: if the guide gives what the model computes, reads a random name that neither evidence nor guide
            gives, or the two form a cycle.
    """
    proposes = []
    for name, variable in guide.variables.items():
        other = model.variables.get(name)
        if other is not None and other.axes != variable.axes:
            rule = f"the guide writes {variable.term}, the model {other.term}: a variable has one number of indices"
            raise FormulaError(rule)
        if not variable.nodes:
            continue
        if other is not None and other.is_computed:
            node = variable.nodes[0]
            raise FormulaError(f"the guide gives {name}, which the model computes", node.formula.text, node.head.span)
        if other is not None:
            proposes.append(name)
        elif not variable.is_computed:
            node = variable.nodes[0]
            rule = f"the guide draws {name}, which the model does not have: its density would have no counterpart"
            raise FormulaError(rule, node.formula.text, node.head.span)
    program = Program(model, guide, tuple(proposes))
    # what the guide conditions on is evidence: only what the two make is checked for cycles
    schedule(program.producers(frozenset()), program.variables)
    return program


def readable(program: Program, values: Collection[str]) -> None:
    """Every name that a guide reads is given by somebody.

    Raises:
        FormulaError: underlining the name that is not.
    """
    for node in program.guide.nodes:
        for term in node.reads:
            own = program.guide.variables[term.name].nodes
            other = program.model.variables.get(term.name)
            if own or term.name in values or (other is not None and other.is_computed):
                continue
            what = "is random in the model and not given" if other is not None else "nobody gives"
            raise node.fail(f"the guide reads {term.name}, which {what}", term)


def ready_of(
    program: Program, situation: Situation, values: Mapping[str, Tensor], nodes: Sequence[Node]
) -> dict[Node, Ready]:
    """Factors of the guide that read only evidence, and of the model that read only inputs, called once."""
    frame = situation.frame
    restored = {n: frame.restore(v, program.variables[n].axes) for n, v in values.items()}
    mine = InputsOnly(program.guide, restored, situation.ready.asked, situation.ready.sizes)
    mine.frame = frame
    found: dict[Node, Ready] = {}
    for node in nodes:
        twin = _twin(program, node)
        source = mine if twin in mine else situation.ready if twin in situation.ready else None
        if source is not None:
            found[node] = replace(source[twin], node=node)
    return found


def _twin(program: Program, node: Node) -> Node:
    """The node of the model or guide that a renumbered one stands for."""
    return next(n for n in (*program.guide.nodes, *program.model.nodes) if n.formula is node.formula)

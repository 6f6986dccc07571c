r"""Expected counts of every factor at every state, as the gradient of the log-evidence by its log-table.

$$ \frac{\partial \log p(\text{evidence})}{\partial \log f(s)} = E[\text{how often } f \text{ stands at } s], $$

in one backward pass of the summing sweep; a table that all steps of a chain share has its counts summed over the steps,
and nothing of the size of steps times pairs of states is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.factors.base import Call
from graft.graph.nodes import Node
from graft.graph.terms import Term
from graft.inference.arguments import BUDGET
from graft.inference.calls import arguments
from graft.inference.domain import natural, valid
from graft.inference.pieces import narrowed
from graft.inference.problem import Sketch, scorers
from graft.inference.query import ask, impossible
from graft.inference.settle import Situation
from graft.inference.store import Store
from graft.inference.sweep import sweep
from graft.inference.tables import LogTable
from graft.ops.modes import differentiable, ordinary


@dataclass(frozen=True, eq=False)
class Standing:
    """A conditional where it stands in a batch, with what it reads there.

    Attributes:
        node: the factor.
        slots: the terms that its leading dimensions run over the states of.
        lead: sizes of states, batch and axes.
        value: of the variable on its left, (lead, event), size 1 where it does not vary.
        inputs: what it reads, as the module receives it.
        call: how to read them.
        seen: which cells of the value are there; None if all are.
    """

    node: Node
    slots: tuple[Term, ...]
    lead: tuple[int, ...]
    value: Tensor
    inputs: tuple[Tensor, ...]
    call: Call
    seen: Tensor | None
    _place: Callable[[Tensor], Tensor]

    def placed(self, made: Tensor) -> Tensor:
        """What was made of the inputs, in the order of the value: (lead, ...), size 1 where it does not vary."""
        return self._place(made)


#: A faster way to the log-table (lead) of a factor; None where there is none.
Quick = Callable[[Standing], Tensor | None]


class Expectation:
    """The E-step of one batch.

    Args:
        situation: what the call knows.
        wanted: whether a factor's place in the batch is asked for.
        budget: bytes that the tables may take.

    Attributes:
        standing: by factor, those wanted that the evidence depends on.

    Raises:
        IntractableError: the evidence has no exact sum within the budget.

    Source: Dempster, Laird & Rubin 1977; the identity, Xu & Jordan 1996, appendix; Darwiche 2003, section 4.
    """

    def __init__(self, situation: Situation, wanted: Callable[[Node], bool], budget: int = BUDGET) -> None:
        self.situation = situation
        query = ask(situation, budget, True)
        self.problem, self.plan = query.problem, query.plan
        with ordinary(), torch.no_grad():
            scorer, _ = scorers(self.problem)
            self.standing = {
                sketch.node: self._standing(sketch.node, sketch, scorer.store)
                for sketch in self.problem.sketches
                if sketch.node is not None and wanted(sketch.node)
            }

    @property
    def lasting(self) -> bool:
        """Whether other parameters change the log-tables alone, so that the same batch may be asked again."""
        return not self.problem.relevant.functions and len(self.situation.ready) == 0

    def _standing(self, node: Node, sketch: Sketch, store: Store) -> Standing:
        if any(self.problem.unknowns[slot.name].apart for slot in sketch.slots):
            raise GraftError(f"{node}: a vector whose units are summed one by one has no expected counts here")
        frame, letters, slots, where = self.problem.frame, node.letters, sketch.slots, sketch.window
        value = self._read(node.head, sketch, store)
        given = self.situation.given.get(node.head.name)
        cells = None if given is None or node.head.name in self.problem.unknowns else given.cells
        seen = None if cells is None else ~store.read_cells(node, cells, where).aligned(slots)
        states = tuple(self.problem.unknowns[slot.name].states for slot in slots)
        lead = states + frame.batch + tuple(where[x][1] - where[x][0] for x in letters)
        if node in self.situation.ready:
            asked = self.situation.ready
            inputs = tuple(asked.inputs[term.name] for term in node.reads)
            call = Call(frame.rank, arguments(node.reads, store.variables), as_given=True)

            def place(made: Tensor) -> Tensor:
                moved = narrowed(frame.compact(made, letters), letters, where, frame.rank)
                return moved.reshape((1,) * len(slots) + tuple(moved.shape))

        else:
            inputs = tuple(self._read(term, sketch, store) for term in node.reads)
            call = Call(len(lead) if node.reads else 0, arguments(node.reads, store.variables))

            def place(made: Tensor) -> Tensor:
                return made if node.reads else made.reshape((1,) * len(lead) + tuple(made.shape))

        return Standing(node, slots, lead, value, inputs, call, seen, place)

    def _read(self, term: Term, sketch: Sketch, store: Store) -> Tensor:
        """A term at all states, (lead, ...); *no state* stands only where the factor does not, as any state there."""
        assert sketch.node is not None
        letters, rank = sketch.node.letters, len(sketch.slots)
        found = store.read(term, letters, sketch.window).aligned(sketch.slots)
        if term.name in store.latent:
            # states vary with batch and axes only where some do not exist, and tables do not
            lead = tuple(range(rank, rank + self.problem.frame.rank + len(letters)))
            found = found.amax(lead, keepdim=True) if lead else found  # of no dimension means of all
        return found if found.is_floating_point() else found.clamp_min(0)

    def counts(self, quick: Quick) -> tuple[Tensor, dict[Node, Tensor]]:
        """The log-evidence, shape batch, and the expected counts of each factor in the shape of its log-table.

        Args:
            quick: asked first for the log-table of a factor that is wanted.

        Raises:
            ImpossibleEvidence: naming the rows of probability zero.
        """
        with ordinary(), torch.no_grad():
            tables = self._tables(quick)
        with differentiable():
            leaves = [table.tensor.detach().requires_grad_() for table in tables]
            fresh = [table.with_tensor(leaf) for table, leaf in zip(tables, leaves, strict=True)]
            value = sweep(self.problem, self.plan, fresh).value
            impossible(value.detach(), "expected counts")
            grads = torch.autograd.grad(value.sum(), leaves, allow_unused=True, materialize_grads=True)
        found = {
            sketch.node: grad
            for sketch, grad in zip(self.problem.sketches, grads, strict=True)
            if sketch.node is not None
        }
        return value.detach(), found

    def complete(self, counts: dict[Node, Tensor]) -> Tensor:
        """The expected complete log-likelihood of some factors under given counts, differentiable; shape ().

        Args:
            counts: as `counts` gives them; factors that are not named are left out.
        """
        sketches = [sketch for sketch in self.problem.sketches if sketch.node in counts]
        total = torch.zeros((), dtype=self.problem.frame.dtype, device=self.problem.frame.device)
        for sketch, table in zip(sketches, replace(self.problem, sketches=sketches).tables(), strict=True):
            assert sketch.node is not None
            weights = counts[sketch.node].to(table.tensor.dtype)
            # what is impossible is expected zero times
            total = total + (weights * torch.where(weights != 0, table.tensor, 0.0)).sum()
        return total

    def _tables(self, quick: Quick) -> list[LogTable]:
        """The log-tables in the order of the sketches."""
        frame, variables = self.problem.frame, self.situation.graph.variables
        found: dict[int, LogTable] = {}
        for number, sketch in enumerate(self.problem.sketches):
            standing = None if sketch.node is None else self.standing.get(sketch.node)
            tensor = None if standing is None else quick(standing)
            if tensor is not None and sketch.node is not None:
                node, tensor = sketch.node, tensor.to(frame.dtype)
                mask, free = valid(node, variables, frame), natural(node, variables)
                found[number] = LogTable(sketch.slots, node.letters, tensor, sketch.window, mask, True, free)
        rest = [sketch for number, sketch in enumerate(self.problem.sketches) if number not in found]
        others = iter(replace(self.problem, sketches=rest).tables())
        return [found[number] if number in found else next(others) for number in range(len(self.problem.sketches))]

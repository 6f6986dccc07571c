"""One problem and an engine's solution of it, in the shapes that users read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graft.inference.answers import Marginals
from graft.inference.approximate.columns import columns
from graft.inference.approximate.engine import Engine
from graft.inference.approximate.holders import Elements
from graft.inference.approximate.network import Network, affordable
from graft.inference.approximate.solution import Solution
from graft.inference.domain import reaches
from graft.inference.problem import Problem, Sketch, pose
from graft.inference.query import impossible
from graft.inference.settle import Situation
from graft.inference.sweep import Assignment


class Answer:
    """A problem, solved when first asked about.

    Args:
        problem: what is asked.
        engine: who answers.
        budget: bytes that the tables may take.

    Raises:
        IntractableError: if the tables do not fit.
    """

    def __init__(self, problem: Problem, engine: Engine, budget: int) -> None:
        self.problem, self.engine, self.budget = problem, engine, budget
        affordable(problem, budget, engine.senders)
        self._solved: tuple[bool, Solution] | None = None

    @property
    def solution(self) -> Solution:
        """The engine's; one made without gradients is not kept for who wants them."""
        want = torch.is_grad_enabled()
        if self._solved is None or (want and not self._solved[0]):
            self._solved = (want, self.engine.solve(self.problem, self.budget))
        return self._solved[1]

    @property
    def latest(self) -> Solution:
        """The engine's, with or without gradients."""
        return self.solution if self._solved is None else self._solved[1]

    @property
    def log_partition(self) -> Tensor:
        return self.solution.network.by_row(self.solution.value)

    def by_row(self, found: Tensor) -> Tensor:
        """(batch) in the user's shape."""
        return self.latest.network.by_row(found)

    def possible(self, what: str) -> None:
        """Complain of rows proved impossible.

        Raises:
            ImpossibleEvidence: naming them.
        """
        solution = self.latest
        dead = torch.zeros_like(solution.residual).masked_fill(solution.dead, -torch.inf)
        impossible(solution.network.by_row(dead), what)

    def gradients(self, probes: Sequence[Sketch]) -> list[Tensor]:
        """The marginal of each probe's slots: (slots, batch, letters), letters of full size."""
        return [self._probed(probe) for probe in probes]

    def _probed(self, probe: Sketch) -> Tensor:
        problem, solution = self.problem, self.solution
        network = solution.network
        if len(probe.slots) == 1 and probe.slots[0] == problem.unknowns[probe.slots[0].name].term:
            return network.unflat(solution.marginals(), probe.slots[0].name)
        found = columns(problem, probe.slots, probe.letters, probe.window)
        wanted = [_elements(network, s.name, n) for s, n in zip(probe.slots, found.numbers, strict=True)]
        table = solution.joint(wanted, ", ".join(map(str, probe.slots)))
        shape = [high - low for low, high in (probe.window[x] for x in probe.letters)]
        count = int(torch.Size(shape).numel())
        if found.rows is not None:
            table = table.masked_fill(~found.rows, 0.0)
            table = table.new_zeros((*table.shape[:-1], count)).index_add(-1, found.of, table)
        states = table.shape[: len(probe.slots)]
        table = table.reshape((*states, *problem.frame.batch, *shape))
        return self._whole(probe, table, len(states))

    def _whole(self, probe: Sketch, table: Tensor, lead: int) -> Tensor:
        """Letters of full size, 0 outside the window and where a slot does not exist."""
        frame, sizes = self.problem.frame, self.problem.sizes
        pad: list[int] = []
        for letter in reversed(probe.letters):
            low, high = probe.window[letter]
            pad += [low, sizes[letter] - high]
        table = torch.nn.functional.pad(table, pad) if any(pad) else table
        letters = tuple(x for x in probe.letters if x in frame.sizes)
        variables = self.problem.situation.graph.variables
        for slot in probe.slots:
            for mask in reaches(slot, variables[slot.name], letters, frame):
                if mask is not None:
                    mask = mask.reshape((*mask.shape, *(1,) * (len(probe.letters) - len(letters))))
                    table = table.masked_fill(~mask, 0.0)
        return table

    def assignment(self, states: Sequence[Tensor]) -> Assignment:
        """States by variable, (draws, batch, axes), from those per layer (draws, batch, elements)."""
        network = self.latest.network
        return {name: network.unflat(states, name) for name in self.problem.unknowns}


def _elements(network: Network, name: str, numbers: Tensor) -> Elements:
    layer = network.layer_of(name)
    return Elements(layer, numbers + network.layers[layer].offsets[name])


class ApproximateMarginals(Marginals):
    """Marginals of an approximation, each computed when first asked for."""

    def __init__(self, situation: Situation, main: Answer) -> None:
        self._situation, self._main = situation, main
        self._kept = {}

    def _all(self, name: str) -> None:
        """All single marginals of one problem."""
        answer = self._asking((name,))
        answer.possible("marginal")
        for other, unknown in answer.problem.unknowns.items():
            self._single.setdefault(other, answer.gradients([Sketch((unknown.term,), unknown.axes)])[0])

    def _asking(self, names: tuple[str, ...]) -> Answer:  # type: ignore[override]
        """The answer that knows these unknowns: the main one unless some of them are barren there."""
        if all(name in self._main.problem.unknowns for name in names):
            return self._main
        return Answer(pose(self._situation, names), self._main.engine, self._main.budget)

"""What message passing leaves: beliefs of elements and of tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from graft.errors import GraftError
from graft.inference.approximate.holders import Elements, holders
from graft.inference.approximate.iterate import State
from graft.inference.approximate.local import improved
from graft.inference.approximate.passing import Passing
from graft.inference.approximate.reduce import shared_out
from graft.inference.approximate.solution import Solution
from graft.ops.logspace import safe_mul


@dataclass(eq=False)
class Passed(Solution):
    """Messages at the end of their iterations.

    Attributes:
        passing: what sent them.
        state: the messages.
        name: of the engine.
        tempered: whether the tables are those of another temperature, or maxima.
        bound: whether a converged value bounds log Z from above.
    """

    passing: Passing
    state: State
    name: str
    tempered: bool = False
    bound: bool = False

    @property
    def engine(self) -> str:
        return self.name

    @property
    def kind(self) -> str:
        return "upper bound" if self.bound and bool(self.converged.all()) else "estimate"

    @cached_property
    def _dead(self) -> Tensor:
        with torch.no_grad():
            return self.passing.dead(self.state)

    @property
    def dead(self) -> Bool[Tensor, " batch"]:
        return self._dead

    @cached_property
    def _value(self) -> Tensor:
        return self.passing.value(self.state)

    @property
    def value(self) -> Float[Tensor, " batch"]:
        self._sum_product("log_partition")
        return self._value

    def _sum_product(self, what: str) -> None:
        if self.tempered:
            raise GraftError(f"{what} is of sums at temperature 1, not of {self.name}: use LoopyBP()")

    @cached_property
    def _marginals(self) -> list[Tensor]:
        return [shared_out(belief.log, self.network.zeros) for belief in self.passing.beliefs(self.state)]

    def marginals(self) -> list[Tensor]:
        if self.passing.maximum:
            raise GraftError(f"{self.name} passes maxima, which are no marginals: use LoopyBP()")
        return self._marginals

    def joint(self, wanted: Sequence[Elements], what: str) -> Tensor:
        if len(wanted) == 1:
            return self.marginals()[wanted[0].layer][..., wanted[0].places]
        states = [self.network.layers[one.layer].states for one in wanted]
        found = self.network.constant.new_zeros(*states, self.network.batch, len(wanted[0].places))
        for held in holders(self.network, wanted, what):
            if len(held.asked):
                table = self._table(held.group)[..., held.tables]
                slots = len(self.network.groups[held.group].layers)
                rest = tuple(i for i in range(slots) if i not in held.slots)
                table = table.sum(rest) if rest else table
                kept = sorted(held.slots)
                order = [kept.index(slot) for slot in held.slots]
                table = table.permute((*order, len(kept), len(kept) + 1))  # fmt: skip
                found = found.index_copy(-1, held.asked, table)
        return found

    def _table(self, group: int) -> Tensor:
        """(states of slots, batch, tables): the belief of each table of a group."""
        log = self.passing.joint(group, self.state)
        slots = len(self.network.groups[group].layers)
        flat = shared_out(log.flatten(0, slots - 1), self.network.zeros)
        return flat.reshape(log.shape)

    def entropy(self) -> Float[Tensor, " batch"]:
        r"""$\log Z$ less the expected score, both of the approximation."""
        self._sum_product("entropy")
        return self.value - self._score()

    def _score(self) -> Tensor:
        """(batch): the expected sum of all log-factors."""
        total = self.network.constant.masked_fill(self.dead, 0.0).double()
        for layer, probs in zip(self.network.layers, self.marginals(), strict=True):
            total = total + expected(layer.weights, probs, 1)
        for number, group in enumerate(self.network.groups):
            total = total + expected(group.dense(), self._table(number), len(group.layers))
        return total.to(self.network.dtype)

    def dependence(self) -> list[Tensor]:
        r"""What tables tell elements of each other, $\sum_{v \in f} H_v - H_f$, over the batch: per group (tables)."""
        found = []
        for number, group in enumerate(self.network.groups):
            table, slots = self._table(number), len(group.layers)
            total = safe_mul(table, table.log()).sum(tuple(range(slots)))
            for slot in range(slots):
                one = table.sum(tuple(i for i in range(slots) if i != slot))
                total = total - safe_mul(one, one.log()).sum(0)
            found.append(total.sum(0))
        return found

    def mode(self) -> list[Tensor]:
        if not self.passing.maximum:
            raise GraftError(f"{self.name} passes sums: {self.lacks('mode')}")
        with torch.no_grad():
            states = [belief.log.argmax(0) for belief in self.passing.beliefs(self.state)]
            return improved(self.network, states)


def expected(log_values: Tensor, probs: Tensor, slots: int) -> Tensor:
    """(batch): the sum of p log f; hard zeros have p = 0."""
    finite = torch.where(torch.isfinite(log_values), log_values, 0.0)
    return (finite * probs).sum(tuple(range(slots))).double().sum(-1)

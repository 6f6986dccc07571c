"""Mean field: the closest product of independent distributions, found by coordinate ascent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from graft.inference.approximate.engine import Engine, Gradient, a_count, a_gradient, a_number, run
from graft.inference.approximate.holders import Elements
from graft.inference.approximate.iterate import Process, State
from graft.inference.approximate.local import Part, improved, turns
from graft.inference.approximate.network import Network, flatten
from graft.inference.approximate.reduce import spread
from graft.inference.approximate.solution import Solution
from graft.inference.approximate.start import refused, starts
from graft.inference.draws import seeded
from graft.inference.problem import Problem
from graft.ops.logspace import log_normalize, safe_mul
from graft.ops.modes import ordinary


class MeanField(Engine):
    r"""Mean field: a lower bound on log Z from independent beliefs, raised by every step.

    $\log Z \ge \max_q E_q[\log f] + H(q)$ over $q = \prod_v q_v$. One step renews all elements, those that no factor
    joins at once; the bound never falls, and holds whether or not it has converged.

    Args:
        iterations: at most so many steps.
        tolerance: of the change of any probability.
        restarts: how many starts; each row keeps the best.
        seed: of the starts; the first is the product of the weights of single elements.
        gradient: "unrolled" through the iterations, or "implicit" at the fixed point.

    Raises:
        GraftError: a setting is out of range.

    Source: Wainwright & Jordan 2008, section 5; Koller & Friedman 2009, section 11.5.1.

    Example:
        >>> from graft.factors import Table
        >>> from graft.model import Model
        >>> loop = Model({"a, b": Table(values=torch.eye(2)), "b, c": Table(values=torch.eye(2))})
        >>> bound = loop.given(using=MeanField())
        >>> bound.kind, bool(bound.log_partition <= loop.given().log_partition)
        ('lower bound', True)
    """

    method = "mean field"

    def __init__(
        self,
        iterations: int = 500,
        tolerance: float | int = 1e-5,
        restarts: int = 1,
        seed: int = 0,
        gradient: Gradient = "unrolled",
    ) -> None:
        self.iterations = a_count(iterations, "iterations")
        self.tolerance = a_number(tolerance, "tolerance", 0.0, float("inf"))
        self.restarts = a_count(restarts, "restarts")
        self.seed = a_count(seed, "seed", 0)
        self.gradient = a_gradient(gradient)

    def solve(self, problem: Problem, budget: int) -> Solution:
        network = flatten(problem, budget)
        process = Ascent(network)
        process.start = self.starts(network)
        found = run(process, network.batch, self.iterations, self.tolerance, self.gradient)
        return Product(network, found.steps, found.residual, found.converged, process, found.state)

    def starts(self, network: Network) -> State:
        """Where each row begins: of all starts, that which leads to the highest bound.

        Args:
            network: whose rows.

        Raises:
            GraftError: if hard zeros leave a row without a start.
        """
        with seeded(self.seed), ordinary(), torch.no_grad():
            return self._best(Ascent(network), _beginnings(network, self.restarts))

    def _best(self, process: Ascent, beginnings: Sequence[State]) -> State:
        """The start that each row does best from."""
        best, highest = beginnings[0], None
        for start in beginnings if len(beginnings) > 1 else ():
            process.start = start
            batch = process.network.batch
            value = process.value(run(process, batch, self.iterations, self.tolerance, self.gradient).state)
            better = torch.ones_like(value, dtype=torch.bool) if highest is None else value > highest
            highest = value if highest is None else torch.maximum(value, highest)
            best = tuple(torch.where(better.unsqueeze(-1), s, b) for s, b in zip(start, best, strict=True))
        return best


def _beginnings(network: Network, count: int) -> list[State]:
    """Log-probabilities to start from; where tables hold hard zeros, possible assignments."""
    own = tuple(log_normalize(layer.weights.detach(), 0) for layer in network.layers)
    if not network.zeros:
        noisy = [tuple(log_normalize(o + 2.0 * torch.randn_like(o), 0) for o in own) for _ in range(count - 1)]
        return [own, *noisy]
    states, good = starts(network, count)
    dead = torch.zeros_like(good[0])
    for layer in network.layers:
        dead = dead | (layer.weights == -torch.inf).all(0).any(-1)
    refused(good, dead | (network.constant == -torch.inf), "MeanField")
    return [
        tuple(_surely(part[i], layer.states, layer.weights) for part, layer in zip(states, network.layers, strict=True))
        for i in range(count)
    ]


def _surely(states: Tensor, count: int, like: Tensor) -> Tensor:
    """(states, batch, elements): log-probabilities of certainty."""
    one = states == torch.arange(count, device=states.device).reshape(-1, 1, 1)
    return torch.zeros_like(like).masked_fill(~one, -torch.inf)


class Ascent(Process):
    """One step renews every element, colour by colour; a state is (states, batch, elements) per layer.

    Args:
        network: whose log Z to bound.

    Attributes:
        start: where to begin.
    """

    def __init__(self, network: Network) -> None:
        self.network, self.turns = network, turns(network)
        self.start: State = ()
        self.tables = [_split(group.dense(), network.zeros) for group in network.groups]

    def init(self) -> State:
        return self.start

    def step(self, state: State) -> State:
        found = list(state)
        for turn in self.turns:
            total = self.network.layers[turn.layer].weights[..., turn.elements]
            for part in turn.parts:
                total = total.index_add(-1, part.inside, self._expected(part, found))
            found[turn.layer] = found[turn.layer].index_copy(-1, turn.elements, log_normalize(total, 0))
        return tuple(found)

    def residual(self, old: State, new: State) -> Float[Tensor, " batch"]:
        found = new[0].new_zeros(self.network.batch)
        for before, after in zip(old, new, strict=True):
            if after.numel():
                change = (after.exp() - before.exp()).abs()
                found = torch.maximum(found, change.movedim(-2, 0).flatten(1).amax(1))
        return found

    def _expected(self, part: Part, state: Sequence[Tensor]) -> Tensor:
        """(states, batch, tables): the log-tables averaged over all slots but one."""
        number = next(i for i, group in enumerate(self.network.groups) if group is part.group)
        slots = len(part.group.layers)
        others = tuple(i for i in range(slots) if i != part.slot)
        weights = self._weights(part.group.layers, part.group.places, state, others, part.tables)
        finite, none = (t if t is None or t.shape[-1] == 1 else t[..., part.tables] for t in self.tables[number])
        assert finite is not None
        total = (finite * weights).sum(others)
        return total if none is None else total.masked_fill((none * weights).sum(others) > 0, -torch.inf)

    def _weights(
        self,
        layers: Sequence[int],
        places: Sequence[Tensor],
        state: Sequence[Tensor],
        slots: tuple[int, ...],
        tables: Tensor | slice,
    ) -> Tensor:
        """The probability of the states of some slots of each table."""
        found = torch.ones((), dtype=state[0].dtype, device=state[0].device)
        for i in slots:
            found = found * spread(state[layers[i]][..., places[i][tables]].exp(), i, len(layers))
        return found

    def value(self, state: State) -> Float[Tensor, " batch"]:
        """The bound: expected score and entropy; `-inf` where something impossible has a chance."""
        score, possible = self.score(state)
        return torch.where(possible, score + self.entropy(state), -torch.inf)

    def entropy(self, state: State) -> Float[Tensor, " batch"]:
        """Of all elements together."""
        total = self.network.constant.new_zeros(self.network.batch, dtype=torch.double)
        for log_q in state:
            total = total - safe_mul(log_q.exp(), log_q).sum(0).double().sum(-1)
        return total.to(self.network.dtype)

    def score(self, state: State) -> tuple[Tensor, Tensor]:
        """The expected sum of log-factors, and the rows in which nothing impossible has a chance."""
        possible = self.network.constant > -torch.inf
        total = self.network.constant.masked_fill(~possible, 0.0).double()
        for layer, log_q in zip(self.network.layers, state, strict=True):
            finite, none = _split(layer.weights, True)
            assert none is not None
            total = total + (finite * log_q.exp()).sum(0).double().sum(-1)
            possible = possible & ~((none * log_q.exp()).sum(0) > 0).any(-1) & ~(log_q == -torch.inf).all(0).any(-1)
        for group, (finite, none) in zip(self.network.groups, self.tables, strict=True):
            slots = tuple(range(len(group.layers)))
            weights = self._weights(group.layers, group.places, state, slots, slice(None))
            total = total + (finite * weights).sum(slots).double().sum(-1)
            if none is not None:
                possible = possible & ~((none * weights).sum(slots) > 0).any(-1)
        return total.to(self.network.dtype), possible


def _split(table: Tensor, zeros: bool) -> tuple[Tensor, Tensor | None]:
    """Finite values, 0 for `-inf`, and where those are."""
    if not zeros:
        return table, None
    none = table == -torch.inf
    return table.masked_fill(none, 0.0), none.to(table.dtype)


@dataclass(eq=False)
class Product(Solution):
    """Independent beliefs.

    Attributes:
        process: what they come from.
        state: their logarithms.
    """

    process: Ascent
    state: State

    @property
    def engine(self) -> str:
        return "MeanField"

    @property
    def kind(self) -> str:
        return "lower bound"

    @property
    def dead(self) -> Tensor:
        found = self.network.constant == -torch.inf
        for log_q in self.state:
            found = found | (log_q == -torch.inf).all(0).any(-1)
        return found

    @property
    def value(self) -> Float[Tensor, " batch"]:
        return self.process.value(self.state)

    def marginals(self) -> list[Tensor]:
        return [log_q.exp() for log_q in self.state]

    def joint(self, wanted: Sequence[Elements], what: str) -> Tensor:
        found = torch.ones((), dtype=self.network.dtype, device=self.network.constant.device)
        for i, one in enumerate(wanted):
            found = found * spread(self.state[one.layer][..., one.places].exp(), i, len(wanted))
        return found

    def entropy(self) -> Float[Tensor, " batch"]:
        return self.process.entropy(self.state)

    def mode(self) -> list[Tensor]:
        with torch.no_grad():
            return improved(self.network, [log_q.argmax(0) for log_q in self.state])

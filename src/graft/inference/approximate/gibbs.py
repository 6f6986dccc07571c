"""Gibbs sampling by colours, many chains at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from graft.errors import IntractableError
from graft.inference.approximate.diagnostics import effective_size, split_rhat
from graft.inference.approximate.engine import Engine, a_count, a_number
from graft.inference.approximate.holders import Elements
from graft.inference.approximate.local import Local, States
from graft.inference.approximate.network import Network, flatten
from graft.inference.approximate.solution import Solution
from graft.inference.approximate.start import drawn, refused, starts
from graft.inference.draws import seeded
from graft.inference.plan import written
from graft.inference.problem import Problem
from graft.ops.modes import ordinary

#: Numbers that diagnostics hold at once, in 8 bytes each.
CHUNK = 1 << 22


class Gibbs(Engine):
    r"""Gibbs sampling: elements that no factor joins are drawn at once, in many chains.

    Marginals are frequencies; `diagnostics` gives $\widehat R$, effective sample size and standard error of each.
    Rows have converged where every $\widehat R$ is at most `rhat`. Draws carry no gradient. Hard zeros may cut the
    possible assignments into islands between which no chain can move: chains that start on different ones disagree,
    which $\widehat R$ shows, but no number of chains is sure to find all.

    Args:
        draws: kept of each chain.
        warmup: sweeps before the first one that is kept.
        chains: per row of the batch.
        thin: sweeps per draw that is kept.
        rhat: where rows count as converged.
        seed: makes the draws repeatable.

    Raises:
        GraftError: a setting is out of range.

    Source: Geman & Geman 1984; Gonzalez, Low, Gretton & Guestrin 2011 (colours); Vehtari et al. 2021 (diagnostics).

    Example:
        >>> import torch
        >>> from graft.factors import Table
        >>> from graft.model import Model
        >>> pair = Model({"a, b": Table(values=torch.tensor([[1.0, 0.0], [0.0, 1.0]]))})
        >>> posterior = pair.given(using=Gibbs(draws=400))
        >>> bool((posterior.marginals["a"].probs - 0.5).abs().max() < 0.1)
        True
    """

    method = "Gibbs sampling"

    def __init__(
        self,
        draws: int = 500,
        warmup: int = 200,
        chains: int = 8,
        thin: int = 1,
        rhat: float | int = 1.01,
        seed: int = 0,
    ) -> None:
        self.kept = a_count(draws, "draws", 4)
        self.warmup = a_count(warmup, "warmup", 0)
        self.chains = a_count(chains, "chains")
        self.thin = a_count(thin, "thin")
        self.rhat = a_number(rhat, "rhat", 1.0, float("inf"))
        self.seed = a_count(seed, "seed", 0)

    def solve(self, problem: Problem, budget: int) -> Solution:
        network = flatten(problem, budget)
        self._affordable(network, budget)
        with seeded(self.seed), ordinary(), torch.no_grad():
            states, good = starts(network, self.chains)
            refused(good, _dead(network), "Gibbs")
            kept = self._chains(network, states)
        found = Drawn(network, self.warmup + self.kept * self.thin, *_nothing(network), kept)
        found.residual = found.worst() - 1.0
        found.converged = found.residual <= self.rhat - 1.0
        return found

    def _affordable(self, network: Network, budget: int) -> None:
        bytes_of = [1 if layer.states <= 256 else 8 for layer in network.layers]
        entries = self.kept * self.chains * network.batch
        size = sum(entries * layer.count * b for layer, b in zip(network.layers, bytes_of, strict=True))
        if size > budget:
            raise IntractableError(
                f"the draws of all elements take {written(size)} bytes, the budget is {written(budget)}: keep fewer "
                "draws (thin= spaces them out), fewer chains, or a smaller batch"
            )

    def _chains(self, network: Network, states: States) -> list[Tensor]:
        local = Local(network)
        types = [torch.uint8 if layer.states <= 256 else torch.long for layer in network.layers]
        kept = [s.new_empty((self.kept, *s.shape), dtype=t) for s, t in zip(states, types, strict=True)]
        for sweep in range(self.warmup + self.kept * self.thin):
            states = local.sweep(states, drawn)
            draw, rest = divmod(sweep - self.warmup + 1, self.thin)
            if sweep >= self.warmup and rest == 0:
                for into, one in zip(kept, states, strict=True):
                    into[draw - 1] = one
        return kept


def _dead(network: Network) -> Tensor:
    """Rows that the weights of single elements rule out."""
    found = network.constant.detach() == -torch.inf
    for layer in network.layers:
        found = found | (layer.weights.detach() == -torch.inf).all(0).any(-1)
    return found


def _nothing(network: Network) -> tuple[Tensor, Tensor]:
    nothing = network.constant.new_zeros(network.batch)
    return nothing, nothing.bool()


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """How far the frequencies of one variable's states can be trusted; each (batch, axes, states).

    Attributes:
        rhat: near 1 where chains agree.
        effective_size: independent draws that the chains are worth.
        standard_error: of the frequency; never 0, since unseen states may still have a chance.
    """

    rhat: Tensor
    effective_size: Tensor
    standard_error: Tensor


@dataclass(eq=False)
class Drawn(Solution):
    """Draws of all chains.

    Attributes:
        kept: per layer (draws, chains, batch, elements).
    """

    kept: list[Tensor]

    @property
    def engine(self) -> str:
        return "Gibbs"

    @property
    def dead(self) -> Tensor:
        return _dead(self.network)

    @cached_property
    def _frequencies(self) -> list[Tensor]:
        return [
            torch.stack([self._halved(part == state).mean(0) for state in range(layer.states)])
            for layer, part in zip(self.network.layers, self.kept, strict=True)
        ]

    def _halved(self, hits: Tensor) -> Tensor:
        """(chains, batch, elements): how often."""
        return hits.sum(0).to(self.network.dtype) / hits.shape[0]

    def marginals(self) -> list[Tensor]:
        return self._frequencies

    def joint(self, wanted: Sequence[Elements], what: str) -> Tensor:
        sizes = [self.network.layers[one.layer].states for one in wanted]
        batch, columns = self.network.batch, len(wanted[0].places)
        index = torch.zeros((), dtype=torch.long, device=self.network.constant.device)
        for size, one in zip(sizes, wanted, strict=True):
            index = index * size + self.kept[one.layer][..., one.places].long()
        index = index.flatten(0, 1)
        count = torch.zeros(int(torch.Size(sizes).numel()), batch, columns, dtype=self.network.dtype)
        ones = torch.ones(index.shape, dtype=count.dtype, device=index.device)
        count = count.to(index.device).scatter_add(0, index, ones) / index.shape[0]
        return count.reshape(*sizes, batch, columns)

    def draws(self, count: int) -> list[Tensor]:
        flat = [part.flatten(0, 1).long() for part in self.kept]
        which = torch.randint(len(flat[0]) if flat else 1, (count,), device=self.network.constant.device)
        return [part[which] for part in flat]

    def worst(self) -> Float[Tensor, " batch"]:
        """(batch): the greatest split R-hat of any state of any element."""
        found = self.network.constant.new_ones(self.network.batch)
        for layer, part in zip(self.network.layers, self.kept, strict=True):
            for state in range(layer.states):
                for hits in self._chunks(part, state):
                    if hits.numel():
                        found = torch.maximum(found, split_rhat(hits).amax(-1).to(found.dtype))
        return found

    def _chunks(self, part: Tensor, state: int) -> list[Tensor]:
        """Indicators of one state, as many elements at once as fit."""
        width = max(1, CHUNK // max(1, part[..., :1].numel()))
        return [(piece == state).double() for piece in part.split(width, -1)]

    def diagnostics(self, name: str) -> Diagnostics:
        """Of one variable."""
        number = self.network.layer_of(name)
        layer, part = self.network.layers[number], self.kept[number]
        rhat, size = [], []
        for state in range(layer.states):
            hits = self._chunks(part, state)
            rhat.append(torch.cat([split_rhat(one) for one in hits], -1))
            size.append(torch.cat([effective_size(one) for one in hits], -1))
        sizes = torch.stack(size)
        # one more draw of each kind: the chance of what was never seen is not 0
        smoothed = (self.marginals()[number].double() * sizes + 1.0) / (sizes + layer.states)
        error = (smoothed * (1.0 - smoothed) / (sizes + layer.states)).sqrt()
        parts = (torch.stack(rhat), sizes, error)
        lists = ([p if i == number else p[:0] for i in range(len(self.network.layers))] for p in parts)
        return Diagnostics(*(self.network.unflat(one, name).movedim(0, -1).to(self.network.dtype) for one in lists))

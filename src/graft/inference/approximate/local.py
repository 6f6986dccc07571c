"""Single elements given all others: what Gibbs sampling draws from and coordinate ascent maximises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graft.inference.approximate.colouring import colours
from graft.inference.approximate.network import Group, Network

#: States of all elements: per layer (chains, batch, elements).
States = list[Tensor]
#: From log-weights (states, chains, batch, elements) to states (chains, batch, elements).
Choose = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Part:
    """The tables of one group in which one slot has one colour.

    Attributes:
        group: whose tables.
        slot: the slot at hand.
        tables: their numbers.
        inside: per table, the place of its element among those of that colour and layer.
    """

    group: Group
    slot: int
    tables: Int[Tensor, " tables"]
    inside: Int[Tensor, " tables"]


@dataclass(frozen=True, eq=False)
class Turn:
    """The elements of one colour and layer, with all tables that touch them.

    Attributes:
        layer: its number.
        elements: which.
        parts: of the tables.
    """

    layer: int
    elements: Int[Tensor, " elements"]
    parts: tuple[Part, ...]


def turns(network: Network) -> list[Turn]:
    """All elements in turns, colour by colour; those of one colour are independent given the rest."""
    found = []
    for classes in colours(network):
        for layer, elements in enumerate(classes):
            if len(elements):
                found.append(Turn(layer, elements, _parts(network, layer, elements)))
    return found


def _parts(network: Network, layer: int, elements: Tensor) -> tuple[Part, ...]:
    place = torch.full((network.layers[layer].count,), -1, device=elements.device)
    place[elements] = torch.arange(len(elements), device=elements.device)
    parts = []
    for group in network.groups:
        for slot, number in enumerate(group.layers):
            if number == layer:
                inside = place[group.places[slot]]
                tables = (inside >= 0).nonzero().squeeze(-1)
                if len(tables):
                    parts.append(Part(group, slot, tables, inside[tables]))
    return tuple(parts)


class Local:
    """Log-weights of the states of one turn's elements, given the states of all others.

    Args:
        network: whose tables.
        floor: what stands for `-inf` in tables, so that impossible assignments can be compared; None keeps it.
    """

    def __init__(self, network: Network, floor: float | None = None) -> None:
        self.network, self.floor = network, floor
        self.turns = turns(network)
        self.rows: dict[tuple[int, int], Tensor] = {}

    def floored(self, floor: float) -> Local:
        """The same with another floor."""
        other = copy(self)
        other.floor, other.rows = floor, {}
        return other

    def weights(self, turn: Turn, states: States) -> Tensor:
        """The log-weights of one turn: (states, chains, batch, elements)."""
        layer = self.network.layers[turn.layer]
        chains = states[turn.layer].shape[0]
        own = layer.weights.detach()[..., turn.elements].unsqueeze(1)
        own = own if self.floor is None else own.double()
        total = own.expand(-1, chains, -1, -1)
        for part in turn.parts:
            total = total.index_add(-1, part.inside, self._looked_up(part, states))
        return total

    def _looked_up(self, part: Part, states: States) -> Tensor:
        """(states, chains, batch, tables): the tables at the states of all slots but one."""
        group, network = part.group, self.network
        rows = self._rows(group, part.slot)
        table = group.dense()
        sizes = [n for i, n in enumerate(table.shape[:-2]) if i != part.slot]
        others = [i for i in range(len(group.layers)) if i != part.slot]
        index = torch.zeros((), dtype=torch.long, device=rows.device)
        for size, i in zip(sizes, others, strict=True):
            index = index * size + states[group.layers[i]][..., group.places[i][part.tables]]
        batch = torch.arange(network.batch, device=rows.device).unsqueeze(-1) if table.shape[-2] > 1 else 0
        column = part.tables if table.shape[-1] > 1 else 0
        index = (index * table.shape[-2] + batch) * table.shape[-1] + column
        return rows[:, index]

    def _rows(self, group: Group, slot: int) -> Tensor:
        """(states of a slot, everything else) of a group's tables."""
        key = (id(group), slot)
        if key not in self.rows:
            table = self._floored(group.dense().detach())
            self.rows[key] = table.movedim(slot, 0).reshape(table.shape[slot], -1)
        return self.rows[key]

    def _floored(self, x: Tensor) -> Tensor:
        return x if self.floor is None else x.double().clamp_min(self.floor)

    def sweep(self, states: States, choose: Choose) -> States:
        """Choose the states of every element anew, in turn."""
        states = list(states)
        for turn in self.turns:
            chosen = choose(self.weights(turn, states))
            states[turn.layer] = states[turn.layer].index_copy(-1, turn.elements, chosen)
        return states


def score(network: Network, states: States) -> Float[Tensor, "chains batch"]:
    """The sum of all log-factors at an assignment."""
    chains = states[0].shape[0] if states else 1
    total = network.constant.double().expand(chains, -1)
    for layer, mine in zip(network.layers, states, strict=True):
        total = total + _at(layer.weights, [mine]).double().sum(-1)
    for group in network.groups:
        ends = [states[layer][..., place] for layer, place in zip(group.layers, group.places, strict=True)]
        total = total + _at(group.dense(), ends).double().sum(-1)
    return total


def _at(table: Tensor, states: Sequence[Tensor]) -> Tensor:
    """Entries of (states of slots, batch or 1, tables or 1) at states: (chains, batch, tables), as each slot's."""
    table = table.detach()
    index = torch.zeros((), dtype=torch.long, device=table.device)
    for size, mine in zip(table.shape, states, strict=False):
        index = index * size + mine
    shape = states[0].shape
    batch = torch.arange(shape[-2], device=table.device).unsqueeze(-1) if table.shape[-2] > 1 else 0
    column = torch.arange(shape[-1], device=table.device) if table.shape[-1] > 1 else 0
    index = (index * table.shape[-2] + batch) * table.shape[-1] + column
    return table.reshape(prod(table.shape))[index]


def improved(network: Network, states: list[Tensor], sweeps: int = 100) -> list[Tensor]:
    """An assignment, (batch, elements) per layer, raised by coordinate ascent until no single element can better it.

    Among equal max-marginals a choice element by element may clash; this settles it where single changes can.

    Source: Besag 1986, section 2.5 (iterated conditional modes).

    Args:
        network: whose score to raise.
        states: to start from.
        sweeps: at most so many.
    """
    local = Local(network, penalty(network))
    mine = [part.unsqueeze(0) for part in states]
    for _ in range(sweeps):
        new = local.sweep(mine, lambda weights: weights.argmax(0))
        if all(bool((a == b).all()) for a, b in zip(mine, new, strict=True)):
            break
        mine = new
    return [part.squeeze(0) for part in mine]


def penalty(network: Network) -> float:
    """A log-weight so low that no finite ones make up for it, for comparing impossible assignments."""
    highest = 1.0
    for group in network.groups:
        table = group.dense().detach()
        finite = table[torch.isfinite(table)]
        highest = max(highest, float(finite.abs().max()) if len(finite) else 0.0)
    return -1e4 * highest

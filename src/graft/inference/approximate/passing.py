r"""Message passing on the flat form: one gather, one small sum per table, one scatter.

With weights $\rho_f$ on tables (all 1 for belief propagation),

$$ b_v = \theta_v + \sum_{f \ni v} \rho_f m_{f \to v}, \qquad c_{v \to f} = b_v - m_{f \to v}, \qquad
   m_{f \to v} = \log \sum_{x_f \setminus x_v} e^{\theta_f / \rho_f + \sum_{u \ne v} c_{u \to f}}, $$

and the value at a fixed point is $\sum_f \rho_f \log Z_f + \sum_v (1 - \sum_{f \ni v} \rho_f) \log Z_v$ with
$Z_f = \sum e^{\theta_f / \rho_f + \sum_v c_{v \to f}}$ and $Z_v = \sum e^{b_v}$: minus the Bethe free energy for
$\rho = 1$ (Yedidia, Freeman & Weiss 2005), the tree-reweighted bound otherwise (Wainwright, Jaakkola & Willsky 2005).
Its derivative by the messages is zero there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from graft.inference.approximate.iterate import Process, State
from graft.inference.approximate.network import Group, Network
from graft.inference.approximate.places import Places
from graft.inference.approximate.reduce import log_sum, shared_out, spread

#: The widest range of log-values that sums in linear space bear without losing what counts, by type.
RANGE = {torch.float32: 60.0, torch.float64: 600.0}


@dataclass(frozen=True, eq=False)
class Beliefs:
    """Log-beliefs of one layer.

    Attributes:
        finite: (states, batch, elements): the sum of all finite log-weights.
        none: how many of them are `-inf`; None if none ever is.
    """

    finite: Tensor
    none: Tensor | None

    @property
    def log(self) -> Tensor:
        return self.finite if self.none is None else self.finite.masked_fill(self.none > 0, -torch.inf)


class Passing(Process):
    """Flooding: every message is renewed from those of the step before.

    Args:
        network: where messages pass.
        weights: of the tables of each group, (tables); None for 1.
        maximum: send maxima instead of sums.
        damping: the part of its old logarithm that a message keeps.
    """

    def __init__(
        self, network: Network, weights: Sequence[Tensor] | None = None, maximum: bool = False, damping: float = 0.0
    ) -> None:
        self.network, self.weights, self.maximum, self.damping = network, weights, maximum, damping
        self.zeros = network.zeros
        self.tables = [self._scaled(group, i) for i, group in enumerate(network.groups)]
        self.linear = [self._linear(table) for table in self.tables]
        self.starts = [sum(len(g.layers) for g in network.groups[:i]) for i in range(len(network.groups))]
        self.where = [[self._places(*end) for end in zip(g.layers, g.places, strict=True)] for g in network.groups]
        self.own = [_split(layer.weights, self.zeros) for layer in network.layers]

    def _scaled(self, group: Group, number: int) -> Tensor | None:
        if group.sender is not None and self.weights is None and not self.maximum:
            return None
        table = group.dense()
        return table if self.weights is None else table / self.weights[number]

    def _linear(self, table: Tensor | None) -> Tensor | None:
        """A table's values, the greatest 1, if sums over it may be done in linear space.

        Incoming messages are at most 1 there, and 1 for some state; what underflows is smaller than that state's part
        by more than the precision as long as the table's own values differ by no more than `RANGE`.
        """
        if table is None or self.maximum or table.dtype not in RANGE or not table.numel():
            return None
        low, high = table.detach().aminmax()
        return (table - high).exp() if bool(high - low <= RANGE[table.dtype]) else None

    def _places(self, number: int, place: Tensor) -> Places:
        layer = self.network.layers[number]
        return Places(place, layer.states * self.network.batch, layer.count)

    def init(self) -> State:
        network = self.network
        return tuple(
            network.constant.new_zeros(network.layers[layer].states, network.batch, group.count)
            for group in network.groups
            for layer in group.layers
        )

    def step(self, state: State) -> State:
        found: list[Tensor] = []
        beliefs = self.beliefs(state)
        for number in range(len(self.network.groups)):
            for sent, old in zip(self._sent(number, beliefs, state), self.mine(state, number), strict=True):
                found.append(self._damped(sent, old))
        return tuple(found)

    def residual(self, old: State, new: State) -> Float[Tensor, " batch"]:
        r"""The largest change of any message, relative where it is above 1, times the belief in that state.

        The product is what the change adds to $\log Z_v$: a state that loops rule out only in the limit has a message
        that falls for ever and a belief that vanishes.
        """
        found = self.network.constant.new_zeros(self.network.batch)
        likely = [shared_out(belief.log, self.zeros) for belief in self.beliefs(new)]
        for number, group in enumerate(self.network.groups):
            ends = zip(group.layers, self.where[number], self.mine(old, number), self.mine(new, number), strict=True)
            for layer, where, before, after in ends:
                if after.numel():
                    moved = (
                        (after - before).abs_().div_(after.abs().clamp_min_(1.0)).mul_(where.gathered(likely[layer]))
                    )
                    # infinities that stay, and beliefs of zero
                    moved = moved.nan_to_num_(0.0, torch.inf) if self.zeros else moved
                    found = torch.maximum(found, moved.movedim(-2, 0).flatten(1).amax(1))
        return found / (1.0 - self.damping)

    def mine(self, state: State, number: int) -> State:
        """The messages of one group, one per slot."""
        start = self.starts[number]
        return state[start : start + len(self.network.groups[number].layers)]

    def _normal(self, message: Tensor) -> Tensor:
        top = message.amax(0, keepdim=True)
        return message - (top.masked_fill(top == -torch.inf, 0.0) if self.zeros else top)

    def _damped(self, new: Tensor, old: Tensor) -> Tensor:
        if self.damping == 0.0:
            return new
        if not self.zeros:
            return torch.lerp(new, old, self.damping)
        # between infinities that gives NaN
        return (1.0 - self.damping) * new + self.damping * old

    def beliefs(self, state: State) -> list[Beliefs]:
        """Log-beliefs of all layers: own weights, and all messages in."""
        finite = [own.clone() for own, _ in self.own]
        none = [None if count is None else count.clone() for _, count in self.own]
        for number, group in enumerate(self.network.groups):
            rho = None if self.weights is None else self.weights[number]
            for slot, message in enumerate(self.mine(state, number)):
                layer = group.layers[slot]
                known, count = _split(message, self.zeros)
                where = self.where[number][slot]
                where.add(finite[layer], known if rho is None else rho * known)
                if count is not None:
                    into = none[layer]
                    assert into is not None
                    where.add(into, count)
        return [Beliefs(f, n) for f, n in zip(finite, none, strict=True)]

    def cavities(self, number: int, beliefs: Sequence[Beliefs], state: State) -> list[Tensor]:
        """Per slot, what its element knows without this table: (states, batch, tables)."""
        found = []
        for slot, message in enumerate(self.mine(state, number)):
            belief, where = beliefs[self.network.groups[number].layers[slot]], self.where[number][slot]
            known, count = _split(message, self.zeros)
            cavity = where.less(belief.finite, known)
            if belief.none is not None and count is not None:
                cavity = cavity.masked_fill(where.gathered(belief.none) > count, -torch.inf)
            found.append(cavity)
        return found

    def _sent(self, number: int, beliefs: Sequence[Beliefs], state: State) -> list[Tensor]:
        """Per slot, the message of each table to its element, up to a constant that keeps it within bounds."""
        cavities, weights = self.cavities(number, beliefs, state), self.linear[number]
        if weights is None:
            return [self._normal(message) for message in self._messages(number, cavities)]
        likely = [self._normal(cavity).exp_() for cavity in cavities]
        return [self._logarithm(_summed(weights, likely, slot)) for slot in range(len(cavities))]

    def _logarithm(self, total: Tensor) -> Tensor:
        if not self.zeros:
            return total.log() if total.requires_grad else total.log_()
        none = total == 0.0
        return total.masked_fill(none, 1.0).log().masked_fill(none, -torch.inf)

    def _messages(self, number: int, cavities: Sequence[Tensor]) -> list[Tensor]:
        """Per slot, the message in full."""
        table, sender = self.tables[number], self.network.groups[number].sender
        if table is None:
            assert sender is not None
            shapes = [cavity.shape for cavity in cavities]
            out = sender.messages(tuple(cavity.flatten(1) for cavity in cavities))
            return [message.reshape(shape) for message, shape in zip(out, shapes, strict=True)]
        return [self._message(table, cavities, slot) for slot in range(len(cavities))]

    def _message(self, table: Tensor, cavities: Sequence[Tensor], slot: int) -> Tensor:
        others = tuple(i for i in range(len(cavities)) if i != slot)
        total = table
        for i in others:
            total = total + spread(cavities[i], i, len(cavities))
        return total.amax(others) if self.maximum else log_sum(total, others, self.zeros)

    def value(self, state: State) -> Float[Tensor, " batch"]:
        """The estimate of log Z; `-inf` in rows that the messages prove impossible."""
        beliefs, dead = self.beliefs(state), self.dead(state)
        total = self.network.constant.double()
        # one table per element that it touches takes one belief away
        left = [torch.ones(layer.count, dtype=layer.weights.dtype) for layer in self.network.layers]
        left = [one.to(self.network.constant.device) for one in left]
        for number, group in enumerate(self.network.groups):
            rho = torch.ones((), device=total.device) if self.weights is None else self.weights[number]
            cavities = self.cavities(number, beliefs, state)
            part = log_sum(self._messages(number, cavities)[0] + cavities[0], (0,), self.zeros)
            total = total + _alive(part * rho, dead).double().sum(-1)
            for layer, place in zip(group.layers, group.places, strict=True):
                left[layer] = left[layer].index_add(0, place, -rho.to(left[layer].dtype).expand(group.count))
        for belief, count in zip(beliefs, left, strict=True):
            part = log_sum(belief.log, (0,), self.zeros)
            total = total + _alive(part, dead).mul(count).double().sum(-1)
        return total.masked_fill(dead, -torch.inf).to(self.network.dtype)

    def dead(self, state: State) -> Tensor:
        """(batch): rows in which every state of some element is ruled out."""
        found = self.network.constant == -torch.inf
        if not self.zeros:
            return found
        for belief in self.beliefs(state):
            if belief.finite.shape[-1]:
                found = found | (belief.log == -torch.inf).all(0).any(-1)
        return found

    def joint(self, number: int, state: State) -> Tensor:
        """Log-beliefs over all slots of each table of a group, not normalised: (states of slots, batch, tables)."""
        cavities = self.cavities(number, self.beliefs(state), state)
        total = self.tables[number]
        total = self.network.groups[number].dense() if total is None else total
        for slot, cavity in enumerate(cavities):
            total = total + spread(cavity, slot, len(cavities))
        return total


def _summed(table: Tensor, likely: Sequence[Tensor], slot: int) -> Tensor:
    """The sum over all slots but one, in linear space: (states, batch, tables)."""
    if len(likely) == 2 and table.shape[-2:] == (1, 1):
        other = likely[1 - slot]
        matrix = table[..., 0, 0] if slot == 0 else table[..., 0, 0].T
        return (matrix @ other.flatten(1)).reshape(len(matrix), *other.shape[1:])
    total = table
    for i in range(len(likely)):
        if i != slot:
            total = total * spread(likely[i], i, len(likely))
    return total.sum(tuple(i for i in range(len(likely)) if i != slot))


def _split(x: Tensor, zeros: bool) -> tuple[Tensor, Tensor | None]:
    """Logarithms as their finite part, 0 where there is none, and a count of infinities."""
    if not zeros:
        return x, None
    none = x == -torch.inf
    return x.masked_fill(none, 0.0), none.to(x.dtype)


def _alive(part: Tensor, dead: Tensor) -> Tensor:
    """(batch, elements) with zeros in dead rows."""
    return part.masked_fill(dead.unsqueeze(-1), 0.0)

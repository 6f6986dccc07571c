"""Every query of a discrete model answered by listing all assignments of one row: the oracle of exact inference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from tests.reference.ground import Key
from torch import Tensor

NEG_INF = -math.inf


class Joint:
    """The log of the product of some tables at every assignment of some elements.

    Args:
        states: how many states each element has.
        factors: (keys, log-table over them).
    """

    def __init__(self, states: dict[Key, int], factors: Sequence[tuple[Sequence[Key], Tensor]]) -> None:
        self.keys = list(states)
        self.states = states
        self.log = torch.zeros([states[key] for key in self.keys], dtype=torch.float64)
        for keys, table in factors:
            self.log = self.log + self.spread(keys, table)

    def plus(self, factors: Sequence[tuple[Sequence[Key], Tensor]]) -> Joint:
        """The same with more tables."""
        more = Joint(self.states, factors)
        more.log = self.log.detach() + more.log
        return more

    def spread(self, keys: Sequence[Key], table: Tensor) -> Tensor:
        """A table over some elements, aligned with all of them; equal keys are one element."""
        names, table = list(keys), table.double()
        for key in dict.fromkeys(keys):
            while names.count(key) > 1:
                one = names.index(key)
                two = names.index(key, one + 1)
                table = table.diagonal(dim1=one, dim2=two).movedim(-1, one)
                del names[two]
        order = sorted(range(len(names)), key=lambda i: self.keys.index(names[i]))
        shape = [self.states[key] if key in names else 1 for key in self.keys]
        return table.permute(order).reshape(shape)

    @property
    def log_partition(self) -> Tensor:
        """log of the sum; a hard zero takes no part, so that gradients are exact."""
        alive = self.log[self.log > NEG_INF]
        return alive.logsumexp(0) if alive.numel() else torch.tensor(NEG_INF, dtype=torch.float64)

    @property
    def possible(self) -> bool:
        return bool((self.log > NEG_INF).any())

    @property
    def probs(self) -> Tensor:
        return (self.log - self.log_partition).exp()

    def table(self, keys: Sequence[Key]) -> Tensor:
        """The marginal table of some elements, in the order asked for; repeats give a diagonal."""
        distinct = list(dict.fromkeys(keys))
        gone = [i for i, key in enumerate(self.keys) if key not in distinct]
        found = self.probs.sum(gone) if gone else self.probs
        kept = [key for key in self.keys if key in distinct]
        return found.permute([kept.index(key) for key in distinct])

    def entropy(self) -> Tensor:
        alive = self.log[self.log > NEG_INF] - self.log_partition
        return -(alive.exp() * alive).sum()

    def best(self, k: int) -> Tensor:
        """The k greatest scores, padded with -inf."""
        flat = self.log.reshape(-1).sort(descending=True).values[:k]
        return torch.nn.functional.pad(flat, (0, k - len(flat)), value=NEG_INF)

    def score(self, assignment: dict[Key, int]) -> Tensor:
        return self.log[tuple(assignment[key] for key in self.keys)]

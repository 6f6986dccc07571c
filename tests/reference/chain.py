"""What a linear chain must answer, found by listing every sequence: plain Python, one row at a time."""

from __future__ import annotations

import itertools
import math

NEG_INF = float("-inf")


class Enumerated:
    """All sequences of one row; `unary` T x S, `pairwise` (T-1) x S x S, `exists` T, all nested lists.

    Removed elements stand as 0 in the listed sequences; the neighbours of a hole meet through the pairwise
    entry that enters the later one.
    """

    def __init__(self, unary: list, pairwise: list, exists: list[bool]) -> None:
        self.unary, self.pairwise = unary, pairwise
        self.states = len(unary[0]) if unary else 1
        self.length = len(unary)
        self.places = [t for t in range(self.length) if exists[t]]
        self.scores = {y: self.score(y) for y in self.sequences()}
        self.log_partition = log_sum(self.scores.values())

    def sequences(self):
        for states in itertools.product(range(self.states), repeat=len(self.places)):
            filled = [0] * self.length
            for place, state in zip(self.places, states, strict=True):
                filled[place] = state
            yield tuple(filled)

    def pairs(self):
        return itertools.pairwise(self.places)

    def score(self, y: tuple[int, ...]) -> float:
        nodes = sum(self.unary[t][y[t]] for t in self.places)
        return nodes + sum(self.pairwise[b - 1][y[a]][y[b]] for a, b in self.pairs())

    def prob(self, y: tuple[int, ...]) -> float:
        return math.exp(self.scores[y] - self.log_partition)

    def marginals(self) -> list:
        table = [[0.0] * self.states for _ in range(self.length)]
        for y in self.scores:
            for t in self.places:
                table[t][y[t]] += self.prob(y)
        return table

    def pair_marginals(self) -> list:
        table = [[[0.0] * self.states for _ in range(self.states)] for _ in range(max(self.length - 1, 0))]
        for y in self.scores:
            for a, b in self.pairs():
                table[b - 1][y[a]][y[b]] += self.prob(y)
        return table

    def entropy(self) -> float:
        probs = [self.prob(y) for y in self.scores]
        return -sum(p * math.log(p) for p in probs if p > 0)

    def ranked(self) -> list[tuple[float, tuple[int, ...]]]:
        """Possible sequences with their scores, best first."""
        return sorted(((s, y) for y, s in self.scores.items() if s > NEG_INF), reverse=True)


def log_sum(values) -> float:
    values = list(values)
    top = max(values)
    return top if top == NEG_INF else top + math.log(sum(math.exp(v - top) for v in values))

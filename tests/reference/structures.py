"""What distributions over structures must answer, found by listing every structure: plain Python, one row at a time.

A structure is a tuple of tuples of integers; a row lists them with their scores, and names what is counted.
"""

from __future__ import annotations

import itertools
import math

NEG_INF = float("-inf")


def log_sum(values) -> float:
    values = list(values)
    top = max(values, default=NEG_INF)
    return top if top == NEG_INF else top + math.log(sum(math.exp(v - top) for v in values))


class Listed:
    """All structures of one row. `scores` by structure; `count(name, structure)` lists the indices that are counted."""

    shapes: dict[str, tuple[int, ...]]
    scores: dict[tuple, float]

    def __post_init__(self) -> None:
        self.log_partition = log_sum(self.scores.values())

    def prob(self, y: tuple) -> float:
        score = self.scores.get(y, NEG_INF)
        return 0.0 if score == NEG_INF else math.exp(score - self.log_partition)

    def entropy(self) -> float:
        probs = [self.prob(y) for y in self.scores]
        return -sum(p * math.log(p) for p in probs if p > 0)

    def kl(self, other: Listed) -> float:
        total = 0.0
        for y in self.scores:
            p, q = self.prob(y), other.prob(y)
            total += 0.0 if p == 0 else math.inf if q == 0 else p * math.log(p / q)
        return total

    def ranked(self) -> list[tuple[float, tuple]]:
        """Possible structures with their scores, best first."""
        return sorted(((s, y) for y, s in self.scores.items() if s > NEG_INF), reverse=True)

    def expected(self, name: str) -> dict[tuple[int, ...], float]:
        total: dict[tuple[int, ...], float] = {}
        for y in self.scores:
            for index in self.count(name, y):
                total[index] = total.get(index, 0.0) + self.prob(y)
        return total


class Cuts(Listed):
    """Segmentations; every table has one entry for each element (transitions: for each but the first)."""

    def __init__(self, exists, segments, transitions, unary=None, starts=None, last=None) -> None:
        self.exists, self.length = exists, len(exists)
        self.segments, self.transitions, self.unary, self.starts, self.last = segments, transitions, unary, starts, last
        self.places = [t for t in range(self.length) if exists[t]]
        self.longest, self.states = (len(segments[0]), len(segments[0][0])) if segments else (1, 1)
        self.shapes = {
            "marginals": (self.length, self.states),
            "start_marginals": (self.length, self.states),
            "segment_marginals": (self.length, self.longest, self.states),
            "duration_counts": (self.longest, self.states),
            "expected_counts": (self.states, self.states),
        }
        self.scores = {self.key(cut): self.score(cut) for cut in self.cuts(len(self.places))}
        self.__post_init__()

    def cuts(self, left: int):
        """All lists of (start, duration, label) over so many elements, starts counted among existing ones."""
        if left == 0:
            yield ()
        for duration in range(1, min(left, self.longest) + 1):
            for before in self.cuts(left - duration):
                for label in range(self.states):
                    yield (*before, (left - duration, duration, label))

    def key(self, cut) -> tuple:
        labels, durations = [0] * self.length, [0] * self.length
        for start, duration, label in cut:
            durations[self.places[start]] = duration
            for t in range(start, start + duration):
                labels[self.places[t]] = label
        return tuple(labels), tuple(durations)

    def cut(self, key):
        labels, durations = key
        at = 0
        while at < len(self.places):
            place = self.places[at]
            yield at, durations[place], labels[place]
            at += durations[place]

    def score(self, cut) -> float:
        total, before = 0.0, None
        for start, duration, label in cut:
            at = self.places[start]
            ends = start + duration == len(self.places)
            table = self.last if ends and self.last is not None else self.segments
            total += table[at][duration - 1][label]
            total += sum(self.unary[self.places[t]][label] for t in range(start, start + duration)) if self.unary else 0
            total += self.starts[at][label] if self.starts else 0
            total += 0.0 if before is None else self.transitions[at - 1][before][label]
            before = label
        return total

    def count(self, name, key):
        found, before = list(self.cut(key)), None
        for start, duration, label in found:
            if name == "marginals":
                yield from ((self.places[t], label) for t in range(start, start + duration))
            elif name == "start_marginals":
                yield self.places[start], label
            elif name == "segment_marginals":
                yield self.places[start], duration - 1, label
            elif name == "duration_counts":
                yield duration - 1, label
            elif before is not None:
                yield before, label
            before = label


class HiddenCuts(Cuts):
    """Segmentations of a hidden semi-Markov model, in its own words."""

    def __init__(self, exists, initial, transitions, durations, emissions, censored) -> None:
        self.initial, self.censored = initial, censored
        steps = len(exists)
        super().__init__(exists, [durations] * steps, [transitions] * steps, emissions)

    def score(self, cut) -> float:
        total, before = 0.0, None
        for start, duration, label in cut:
            total += self.initial[label] if before is None else self.transitions[0][before][label]
            at_least = [self.segments[0][d][label] for d in range(duration - 1, self.longest)]
            ends = start + duration == len(self.places)
            total += log_sum(at_least) if ends and self.censored else at_least[0]
            total += sum(self.unary[self.places[t]][label] for t in range(start, start + duration))
            before = label
        return total


class Spanning(Listed):
    """Spanning trees, by the heads of all nodes, -1 at roots."""

    def __init__(self, exists, arcs, roots, single) -> None:
        size = len(exists)
        self.nodes = [n for n in range(size) if exists[n]]
        self.shapes = {"marginals": (size, size), "root_marginals": (size,)}
        self.scores = {}
        for found in itertools.product([-1, *self.nodes], repeat=len(self.nodes)):
            heads = dict(zip(self.nodes, found, strict=True))
            if all(self.rooted(heads, n) for n in self.nodes) and not (single and found and found.count(-1) != 1):
                whole = tuple(heads.get(n, -1) for n in range(size))
                self.scores[(whole,)] = sum(roots[n] if h < 0 else arcs[h][n] for n, h in heads.items())
        self.__post_init__()

    def rooted(self, heads, node) -> bool:
        for _ in self.nodes:
            node = heads[node]
            if node < 0:
                return True
        return False

    def count(self, name, key):
        for n in self.nodes:
            head = key[0][n]
            if name == "marginals" and head >= 0:
                yield head, n
            elif name == "root_marginals" and head < 0:
                yield (n,)


class Labelled(Listed):
    """States of the nodes of a tree; `pairwise` has one table for each node."""

    def __init__(self, exists, unary, pairwise, parents) -> None:
        self.nodes = [n for n in range(len(exists)) if exists[n]]
        self.unary, self.pairwise, self.parents = unary, pairwise, parents
        size, states = len(exists), len(unary[0]) if unary else 1
        self.shapes = {
            "marginals": (size, states),
            "pair_marginals": (size, states, states),
            "expected_counts": (states, states),
        }
        self.scores = {}
        for found in itertools.product(range(states), repeat=len(self.nodes)):
            y = [0] * size
            for node, state in zip(self.nodes, found, strict=True):
                y[node] = state
            self.scores[(tuple(y),)] = self.score(y)
        self.__post_init__()

    def score(self, y) -> float:
        total = sum(self.unary[n][y[n]] for n in self.nodes)
        return total + sum(self.pairwise[n][y[self.parents[n]]][y[n]] for n in self.nodes if self.parents[n] >= 0)

    def count(self, name, key):
        (y,) = key
        for n in self.nodes:
            if name == "marginals":
                yield n, y[n]
            elif self.parents[n] >= 0:
                above = y[self.parents[n]]
                yield (n, above, y[n]) if name == "pair_marginals" else (above, y[n])

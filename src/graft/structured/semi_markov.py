"""Distributions over sequences cut into labelled segments: `SemiMarkov`."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from graft.errors import GraftError
from graft.ops.logspace import NEG_INF
from graft.ops.semi_markov_entropy import divergence, entropy
from graft.ops.semi_markov_gradient import log_z
from graft.ops.semi_markov_kernels import best_segments, samples
from graft.ops.semi_markov_paths import k_best
from graft.structured.checks import draws_shape, positive, refuse_impossible
from graft.structured.segmentation import Segmentation
from graft.structured.segmentation_checks import Cut, cut
from graft.structured.semi_markov_potentials import SemiMarkovPotentials


class SemiMarkov(SemiMarkovPotentials):
    r"""A distribution over the ways to cut a sequence into segments of at most $K$ elements, with $S$ labels.

    A segmentation is a list of segments, each with a start $s$, a duration $d$ and a label $j$:

    $$ p(\text{segments}) = \frac{1}{Z} \exp \sum_{(s, d, j)} \Big( g_s(d, j) + o_s(j) + \sum_{s \le t < s+d} u_t(j)
       + w_s(i, j) \Big), $$

    where $i$ is the label of the segment before, and the first segment has no $w$. Two segments in a row may have the
    same label; a $w$ whose diagonal is `-inf` forbids it.

    Scores of segments by start, duration and label may come from a network: `segments` (..., T, K, S). Where a
    table of durations (K, S) and scores of elements are enough, give `segments` (K, S) and `unary` (..., T, S): then
    memory is $O(T S + K S)$ and no tensor over starts and durations is ever made. Everything given is added.

    Elements may be removed, by `lengths` or by a `mask` with holes and padding on any side: segments then lie
    over what exists, and durations count existing elements. What is removed may hold anything, NaN included, and
    so may scores of segments that would end beyond their row; gradients there are zero. At removed elements
    labels, durations and marginals are 0.

    Potentials of `-inf` forbid exactly. A row of the batch in which nothing is allowed has `log_partition` and
    `log_prob` of `-inf` with gradient zero, and only `-inf` scores in `top_k`; the other queries raise.

    All queries are differentiable to any order where that makes sense, work under `torch.no_grad()` and
    `torch.inference_mode()`, take $O(T (K S + S^2))$ time per row, and are computed in double precision whatever the
    type of the potentials. Derivatives of derivatives, `entropy` and `kl` under autograd keep $O(T K S)$ memory.

    Args:
        segments: log-potentials (K, S) by duration less one and label, or (..., T, K, S) by the element at which the
            segment starts, too; (..., 1, K, S) is a table for all starts. Finite or `-inf`, as all potentials.
        transitions: log-potentials (S, S) or (..., T-1, S, S) from the label of a segment (row) to that of the next one
            (column); entry k serves where the next one starts at element k+1. (..., 1, S, S) is a table for all.
        unary: log-potentials (..., T, S) of each element's label; none if not given.
        starts: log-potentials (..., T, S) of a segment of a label starting at an element; none if not given.
        last: as `segments`, instead of it for the segment that ends its row: one that was cut short, say.
        lengths: how many elements exist at the front of each row, integers (...).
        mask: which elements exist, bool (..., T).

    Attributes:
        batch_shape: the batch dimensions of all potentials, broadcast.
        length: T.
        longest: K.
        states: S.
        dtype: of all answers that are no integers.

    Raises:
        ShapeError: the shapes do not fit.
        GraftError: a potential in use is NaN or `+inf`, a length is outside 0..T, a type is wrong, or both
            `lengths` and `mask` are given.
        ImpossibleEvidence: raised by all queries but `log_partition`, `score`, `log_prob` and `top_k` if there are rows
            of probability zero; it names them.

    Source: Sarawagi and Cohen, *Semi-Markov conditional random fields for information extraction* (2004), section 3.

    Example:
        >>> cuts = SemiMarkov(torch.zeros(2, 1), torch.zeros(1, 1), unary=torch.zeros(4, 1))
        >>> cuts.log_partition.exp()  # 1111, 112, 121, 211, 22
        tensor(5.)
        >>> cuts.start_marginals[:, 0]
        tensor([1.0000, 0.6000, 0.8000, 0.6000])
    """

    def __repr__(self) -> str:
        shape = f"batch_shape={tuple(self.batch_shape)}, length={self.length}"
        return f"{type(self).__name__}({shape}, longest={self.longest}, states={self.states})"

    @property
    def log_partition(self) -> Float[Tensor, "*batch"]:
        r"""The log-normaliser $\log Z$ (...); 0 for an empty row.

        Example:
            >>> SemiMarkov(torch.zeros(3, 2), torch.zeros(2, 2), unary=torch.zeros(2, 2)).log_partition.exp()
            tensor(6.)
        """
        return (log_z(self._potentials) + self._common).to(self.dtype).reshape(self.batch_shape)

    @property
    def marginals(self) -> Float[Tensor, "*batch t s"]:
        r"""The probability $\partial \log Z / \partial u_t(j)$ of each element's label (..., T, S).

        Example:
            >>> SemiMarkov(torch.tensor([[0.0, NEG_INF], [NEG_INF, 0.0]]), torch.zeros(2, 2),
            ...            unary=torch.zeros(2, 2)).marginals
            tensor([[0.5000, 0.5000],
                    [0.5000, 0.5000]])
        """
        return self._restored(self._expected(unary=self._shape())["unary"])

    @property
    def start_marginals(self) -> Float[Tensor, "*batch t s"]:
        """The probability (..., T, S) that a segment of a label starts at an element; summed, of a boundary there.

        Example:
            >>> SemiMarkov(torch.zeros(2, 2), torch.zeros(2, 2), unary=torch.zeros(2, 2)).start_marginals.sum(-1)
            tensor([1.0000, 0.6667])
        """
        return self._restored(self._expected(starts=self._shape())["starts"])

    @property
    def segment_marginals(self) -> Float[Tensor, "*batch t k s"]:
        """The probability (..., T, K, S) of each segment by its start, duration less one, and label.

        Unlike all else it takes memory for every start and duration.

        Example:
            >>> SemiMarkov(torch.zeros(2, 1), torch.zeros(1, 1), unary=torch.zeros(2, 1)).segment_marginals[..., 0]
            tensor([[0.5000, 0.5000],
                    [0.5000, 0.0000]])
        """
        return self._restored(self._segments_by((self._rows, self._existence.slots, self.longest, self.states)))

    @property
    def duration_counts(self) -> Float[Tensor, "*batch k s"]:
        """How many segments of each duration and label are expected (..., K, S).

        Example:
            >>> SemiMarkov(torch.zeros(2, 1), torch.zeros(1, 1), unary=torch.zeros(4, 1)).duration_counts[:, 0]
            tensor([2., 1.])
        """
        steps = self._potentials.table.shape[1] if self._potentials.last is None else self._steps_of_tables()
        found = self._segments_by((self._rows, steps, self.longest, self.states)).sum(1)
        return self._by_row(found.to(self.dtype))

    @property
    def expected_counts(self) -> Float[Tensor, "*batch s s"]:
        """How often each transition is expected (..., S, S), from row to column.

        Example:
            >>> SemiMarkov(torch.zeros(2, 1), torch.zeros(1, 1), unary=torch.zeros(4, 1)).expected_counts
            tensor([[2.]])
        """
        shape = (self._rows, *self._potentials.pairwise.shape[1:])
        return self._by_row(self._expected(pairwise=shape)["pairwise"].sum(1).to(self.dtype))

    def entropy(self) -> Float[Tensor, "*batch"]:
        r"""The entropy $-\sum p \log p$ over segmentations (...), in nats, summed from conditional entropies.

        Example:
            >>> SemiMarkov(torch.zeros(2, 1), torch.zeros(1, 1), unary=torch.zeros(4, 1)).entropy().exp()
            tensor(5.)
        """
        return entropy(self._potentials, self._messages()).to(self.dtype).reshape(self.batch_shape)

    def kl(self, other: SemiMarkov) -> Float[Tensor, "*batch"]:
        r"""The divergence $\sum p \log (p / q)$ to another such distribution (...), in nats.

        Infinite where `other` forbids what is possible here.

        Raises:
            GraftError: the other does not cut the same elements into segments of as many labels and durations.
            ImpossibleEvidence: some rows of either have probability zero.

        Example:
            >>> cuts = SemiMarkov(torch.zeros(2, 1), torch.zeros(1, 1), unary=torch.zeros(2, 1))
            >>> cuts.kl(SemiMarkov(torch.tensor([[0.0], [3.0]]), torch.zeros(1, 1), unary=torch.zeros(2, 1)))
            tensor(0.8554)
        """
        if not isinstance(other, SemiMarkov) or (other.states, other.longest) != (self.states, self.longest):
            raise GraftError(f"kl takes segments of {self.states} labels and {self.longest} durations, not {other}")
        if not self._existence.same(other._existence):
            raise GraftError(f"kl takes segments of the same elements: {self} and {other} differ in shape or lengths")
        found = divergence(self._potentials, self._messages(), other._potentials, other._messages())
        return found.to(torch.promote_types(self.dtype, other.dtype)).reshape(self.batch_shape)

    def mode(self) -> Segmentation:
        """A segmentation of the highest probability, by the semi-Markov Viterbi algorithm.

        Example:
            >>> d = SemiMarkov(torch.tensor([[0.0, 0.0], [0.0, 5.0]]), torch.zeros(2, 2), unary=torch.zeros(2, 2))
            >>> d.mode().spans()
            [(0, 2, 1)]
        """
        labels, durations, score = best_segments(self._potentials)
        refuse_impossible(score, self.batch_shape)
        return Segmentation(self._restored_states(labels), self._restored_states(durations))

    def top_k(self, k: Any) -> tuple[Segmentation, Float[Tensor, " k *batch"]]:
        """The k most probable segmentations (k leading), best first, all distinct, and their scores (k, ...).

        Scores are those of `score`, differentiable; subtract `log_partition` for log-probabilities. Where
        fewer than k are possible, the missing ones have the score `-inf` and labels and durations 0.

        Raises:
            GraftError: k is not a positive integer.

        Example:
            >>> d = SemiMarkov(torch.tensor([[0.0], [5.0]]), torch.zeros(1, 1), unary=torch.zeros(2, 1))
            >>> best, scores = d.top_k(3)
            >>> best.durations.tolist(), scores.tolist()
            ([[2, 0], [1, 1], [0, 0]], [5.0, 0.0, -inf])
        """
        k = positive(k, "top_k")
        with torch.no_grad():
            labels, durations, top = k_best(self._potentials, k)
        missing = (top == NEG_INF)[..., None]
        found = Segmentation(*(self._restored_states(x.masked_fill(missing, 0)) for x in (labels, durations)))
        missing = missing.reshape(k, *self.batch_shape)
        # any segmentation at all where there is none, so that all of them have a score
        proper = self._one_segment_each()
        there = Segmentation(*(torch.where(missing[..., None], x, y) for x, y in zip(proper, found, strict=True)))
        scores = self.score(there).masked_fill(missing, NEG_INF)
        # sorted once more, as these sums may be rounded otherwise than those of the sweep
        order = scores.detach().argsort(dim=0, descending=True, stable=True)
        return Segmentation(*(x.take_along_dim(order[..., None], 0) for x in found)), scores.gather(0, order)

    def sample(self, shape: Any = (), generator: torch.Generator | None = None) -> Segmentation:
        """Independent exact draws, of shape `shape` + (..., T), by filtering forward and sampling backward.

        Args:
            shape: how many draws.
            generator: the source of randomness; torch's global one if none is given.

        Example:
            >>> d = SemiMarkov(torch.zeros(2, 3), torch.zeros(3, 3), unary=torch.zeros(4, 5, 3))
            >>> d.sample((10,)).labels.shape
            torch.Size([10, 4, 5])
        """
        shape = draws_shape(shape)
        with torch.no_grad():
            labels, durations, score = samples(self._potentials, prod(shape), generator)
        refuse_impossible(score, self.batch_shape)
        found = (self._restored_states(x) for x in (labels, durations))
        return Segmentation(*(x.reshape(*shape, *self.batch_shape, self.length) for x in found))

    def score(self, segmentation: Segmentation | tuple[Tensor, Tensor]) -> Float[Tensor, "*sample_batch"]:
        """The unnormalised log-probability of segmentations; `-inf` if a segment is longer than K.

        Args:
            segmentation: labels and durations (..., T), broadcast against the batch; extra dimensions may lead.
                Anything may stand at removed elements.

        Raises:
            ShapeError: the last dimension is not T, or the others do not broadcast with the batch.
            GraftError: a type is not an integer one, a label is outside 0..S-1, the durations do not tile the
                existing elements of a row, or labels change within a segment.

        Example:
            >>> d = SemiMarkov(torch.tensor([[1.0], [5.0]]), torch.zeros(1, 1), unary=torch.ones(3, 1))
            >>> d.score(Segmentation(torch.tensor([0, 0, 0]), torch.tensor([2, 0, 1])))
            tensor(9.)
        """
        found = self._score(self._cut(segmentation))
        return (found + self._common.reshape(self.batch_shape)).to(self.dtype)

    def log_prob(self, segmentation: Segmentation | tuple[Tensor, Tensor]) -> Float[Tensor, "*sample_batch"]:
        """The log-probability of segmentations: `score` less `log_partition`.

        What is forbidden has `-inf`, with gradient zero, and so has anything in a row of probability zero.
        Arguments and errors are those of `score`.

        Example:
            >>> d = SemiMarkov(torch.zeros(2, 1), torch.zeros(1, 1), unary=torch.zeros(4, 1))
            >>> d.log_prob(Segmentation.from_spans([[(0, 2, 0), (2, 4, 0)]], length=4)).exp()
            tensor([0.2000])
        """
        score = self._score(self._cut(segmentation))
        possible = score > NEG_INF
        normaliser = log_z(self._potentials).reshape(self.batch_shape).expand_as(score)
        return torch.where(possible, score - normaliser.where(possible, 0.0), NEG_INF).to(self.dtype)

    def _cut(self, segmentation: Segmentation | tuple[Tensor, Tensor]) -> Cut:
        labels, durations = segmentation
        return cut(labels, durations, self._existence, self.states)

    def _score(self, found: Cut) -> Float[Tensor, "*sample_batch"]:
        p, (labels, durations, alive, lengths) = self._potentials, found
        rows = torch.arange(self._rows, device=labels.device).reshape(*self.batch_shape, 1)
        time, starts = torch.arange(labels.shape[-1], device=labels.device), durations > 0
        line = (durations - 1).clamp(0, self.longest - 1)
        table = _entries(p.table, rows, time, line, labels)
        if p.last is not None:
            table = torch.where(time + durations == lengths, _entries(p.last, rows, time, line, labels), table)
        begun = (table + p.starts[rows, time, labels]).masked_fill(durations > self.longest, NEG_INF)
        pairs = _entries(p.pairwise, rows, time[:-1], labels[..., :-1], labels[..., 1:])
        total = p.unary[rows, time, labels].masked_fill(~alive, 0.0).sum(-1) + begun.masked_fill(~starts, 0.0).sum(-1)
        total = total + pairs.masked_fill(~starts[..., 1:], 0.0).sum(-1)
        return total.masked_fill(total == NEG_INF, NEG_INF)  # cuts the gradient of what is forbidden

    def _shape(self) -> tuple[int, int, int]:
        return self._rows, self._existence.slots, self.states

    def _steps_of_tables(self) -> int:
        p = self._potentials
        return max(x.shape[1] for x in (p.table, p.last) if x is not None)

    def _segments_by(self, shape: tuple[int, int, int, int]) -> Float[Tensor, "b #t k s"]:
        """Expected numbers of segments by start, of rows that are all possible."""
        names = ["table"] if self._potentials.last is None else ["table", "last"]
        found = self._expected(**dict.fromkeys(names, shape))
        return sum(found.values(), torch.zeros(()))

    def _one_segment_each(self) -> Segmentation:
        """Every existing element a segment of label 0."""
        ones = self._existence.mask[:, : self.length].long().reshape(*self.batch_shape, self.length)
        return Segmentation(torch.zeros_like(ones), ones)


def _entries(table: Tensor, rows: Tensor, time: Tensor, line: Tensor, column: Tensor) -> Tensor:
    """Entries of a table that rows or steps may share."""
    step = time.clamp_max(max(table.shape[1] - 1, 0))
    return table[rows.clamp_max(table.shape[0] - 1), step, line, column]

r"""Reference sweeps of semi-Markov chains: sums over all ways to cut a sequence into labelled segments.

A segment of label $j$ and duration $d$ that starts at element $s$ has the score
$\sum_{s \le t < s+d} u_t(j) + o_s(j) + g_s(d, j)$; a segment that follows one of label $i$ adds $w_s(i, j)$. Each
sweep is vectorised over the batch and loops over time only. Messages are kept near 0, what was taken from them apart.
Sums over a window of at most K elements are formed anew from its elements: no digits are lost however long the sequence
is, and a forbidden element forbids all segments over it exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from graft.ops.logspace import NEG_INF, log_normalize, logsumexp


class Segments(NamedTuple):
    """The potentials of a batch of semi-Markov chains, with one flat batch dimension, finite or `-inf`.

    Attributes:
        unary: (b, T, S), of each element, T >= 1.
        starts: (b, T, S), of a segment that starts there.
        table: (b or 1, T or 1, K, S), of a segment by its start, duration less one, and label.
        last: as `table`, for the segment that ends its row; `table` serves there too if it is `None`.
        pairwise: (b or 1, T-1 or 1, S, S), from one segment's label to the next one's; entry t enters element t+1.
        lengths: (b), how many elements exist.
    """

    unary: Tensor
    starts: Tensor
    table: Tensor
    last: Tensor | None
    pairwise: Tensor
    lengths: Tensor

    def entered(self, t: int) -> Float[Tensor, "#b s s"]:
        """The pairwise potentials of a segment that starts at element t > 0."""
        return self.pairwise[:, t - 1 if self.pairwise.shape[1] > 1 else 0]

    def ending(self, t: int) -> Float[Tensor, "b k s"]:
        """The scores of the segments of duration 1, 2, ..., min(K, t) that end before element t."""
        size = min(self.table.shape[2], t)
        whole = (self.unary[:, t - size : t].flip(1)).cumsum(1) + self.starts[:, t - size : t].flip(1)
        if self.last is None:
            return whole + _by_duration(self.table, t, size)
        ends = (self.lengths == t)[:, None, None]
        return whole + torch.where(ends, _by_duration(self.last, t, size), _by_duration(self.table, t, size))


def _by_duration(table: Tensor, t: int, size: int) -> Tensor:
    if table.shape[1] == 1:
        return table[:, 0, :size]
    duration = torch.arange(size, device=table.device)
    return table[:, t - 1 - duration, duration]


class Messages(NamedTuple):
    r"""What lies before each boundary; the true message at element t is larger by the sum of `shift` up to there.

    Attributes:
        ended: (b, T, S), the log-sum of all beginnings whose last segment, of a label, ends with element t.
        entry: (b, T, S), of all beginnings after which a segment of a label may start at element t.
        shift: (b, T), what was taken from the messages at element t.
        log_z: (b), the log-sum of everything.
    """

    ended: Tensor
    entry: Tensor
    shift: Tensor
    log_z: Tensor


def forward(p: Segments) -> Messages:
    r"""Messages towards the end.

    $$ \eta_s(j) = \log \sum_i e^{\alpha_s(i) + w_s(i, j)}, \qquad
       \alpha_t(j) = \log \sum_{d \le K} e^{\eta_{t-d}(j) + g_{t-d, d}(j)}. $$

    $O(T (K S + S^2))$ time per row.
    Source: Sarawagi and Cohen, *Semi-Markov conditional random fields* (2004), section 3.

    Example:
        >>> zero = torch.zeros(1, 3, 2)
        >>> p = Segments(zero, zero, torch.zeros(1, 1, 2, 2), None, torch.zeros(1, 1, 2, 2), torch.tensor([3]))
        >>> forward(p).log_z.exp()  # 1+1+1 in 8 ways, 1+2 and 2+1 in 4 each
        tensor([16.])
    """
    entry, ended = [torch.zeros_like(p.unary[:, 0])], list[Tensor]()
    shift: list[Tensor] = []
    for t in range(1, p.unary.shape[1] + 1):
        now = logsumexp(arrivals(p, entry, shift, t), 1)
        top = now.detach().amax(-1)
        shift.append(top.masked_fill(top == NEG_INF, 0.0))
        ended.append(now - shift[-1][:, None])
        if t < p.unary.shape[1]:
            entry.append(logsumexp(ended[-1][:, :, None] + p.entered(t), 1))
    taken = torch.stack(shift, 1)
    final = (p.lengths - 1).clamp_min(0)[:, None]
    score = taken.cumsum(1).gather(1, final)[:, 0]
    every = torch.stack(ended, 1)
    score = score + logsumexp(every.take_along_dim(final[:, :, None], 1)[:, 0], -1)
    return Messages(every, torch.stack(entry, 1), taken, score.masked_fill(p.lengths == 0, 0.0))


def arrivals(p: Segments, entry: list[Tensor], shift: list[Tensor], t: int) -> Float[Tensor, "b k s"]:
    """Log-weights of all that ends before element t, by the duration of the last segment, from messages before t."""
    size = min(p.table.shape[2], t)
    before = torch.stack(entry[t - size : t][::-1], 1)
    drift = torch.stack([torch.zeros_like(p.unary[:, 0, 0]), *shift[t - size : t - 1][::-1]], 1).cumsum(1)
    return before + p.ending(t) - drift[:, :, None]


class Step(NamedTuple):
    """The posterior at one boundary, as `backward` meets it.

    Attributes:
        t: the boundary lies before element t.
        final: (b, S), log-probabilities of the label of the last segment, where the row ends here.
        end: (b, S), the probability that a segment of a label ends here.
        start: (b, S), the probability that a segment of a label starts here; `None` at the end of all rows.
        origin: (b, S, S), log-probabilities of the label before, given a segment that starts here; or `None`.
        durations: (b, k, S), log-probabilities of the duration of a segment that ends here, given its label.
        segments: (b, k, S), the probability of a segment that ends here.
        covered: (b, S), the probability that the element before the boundary has a label.
    """

    t: int
    final: Tensor
    end: Tensor
    start: Tensor | None
    origin: Tensor | None
    durations: Tensor
    segments: Tensor
    covered: Tensor


def backward(p: Segments, m: Messages) -> Iterator[Step]:
    """The posterior from the last boundary to the first, by conditional probabilities; rows must be possible.

    Nothing is subtracted, so small probabilities keep their digits. $O(T (K S + S^2))$ time per row.
    """
    size, length, states = p.unary.shape
    limit = p.table.shape[2]
    entry, shift = list(m.entry.unbind(1)), list(m.shift.unbind(1))
    # of the segments that end later, those that start at, and those that lie over, each of the K elements before
    opened = covered = p.unary.new_zeros(size, limit, states)
    start = None
    for t in range(length, 0, -1):
        final = log_normalize(m.ended[:, t - 1], -1)
        end = final.exp() * (p.lengths == t)[:, None]
        origin = None
        if start is not None:
            origin = log_normalize(m.ended[:, t - 1, :, None] + p.entered(t), 1)
            end = end + (start[:, None, :] * origin.exp()).sum(2)
        durations = log_normalize(arrivals(p, entry, shift, t), 1)
        segments = end[:, None, :] * durations.exp()
        rest = (0, 0, 0, limit - segments.shape[1])
        opened = opened + pad(segments, rest)
        covered = covered + pad(segments.flip(1).cumsum(1).flip(1), rest)
        yield Step(t, final, end, start, origin, durations, segments, covered[:, 0])
        start = opened[:, 0]
        opened, covered = (pad(x[:, 1:], (0, 0, 0, 1)) for x in (opened, covered))

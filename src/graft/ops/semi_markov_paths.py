"""Single segmentations of semi-Markov chains: the best, the k best, and exact draws."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graft.ops.chain import draw
from graft.ops.logspace import NEG_INF
from graft.ops.semi_markov import Messages, Segments

#: Given boundaries and states, each (n, b): what was chosen there.
Choice = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def viterbi(p: Segments) -> tuple[Int[Tensor, "b t"], Int[Tensor, "b t"], Float[Tensor, " b"]]:
    """Labels, durations (at starts of segments, else 0) and score of a best segmentation of each row.

    O(T (K S + S²)) time per row. Source: Sarawagi and Cohen (2004), section 3.

    Example:
        >>> zero = torch.zeros(1, 3, 2)
        >>> durations = torch.tensor([[[[0.0, 0.0], [0.0, 5.0]]]])
        >>> viterbi(Segments(zero, zero, durations, None, torch.zeros(1, 1, 2, 2), torch.tensor([2])))
        (tensor([[1, 1, 0]]), tensor([[2, 0, 0]]), tensor([5.]))
    """
    labels, durations, score = k_best(p, 1)
    return labels[0], durations[0], score[0]


def k_best(p: Segments, k: int) -> tuple[Int[Tensor, "k b t"], Int[Tensor, "k b t"], Float[Tensor, "k b"]]:
    """The k distinct segmentations of the highest scores, best first; where there are fewer, the score is `-inf`.

    Every label keeps its k best beginnings at every boundary, in slots; state r * S + j is slot r of label j.

    Example:
        >>> zero = torch.zeros(1, 2, 1)
        >>> p = Segments(zero, zero, torch.tensor([[[[0.0], [5.0]]]]), None, torch.zeros(1, 1, 1, 1), torch.tensor([2]))
        >>> k_best(p, 3)[2].T
        tensor([[5., 0., -inf]])
    """
    size, length, states = p.unary.shape
    first = p.unary.new_full((size, k, states), NEG_INF)
    first[:, 0] = 0.0
    entry, ended, spans, origins = [first], [], [], []
    for t in range(1, length + 1):
        score = p.ending(t)
        before = torch.stack(entry[t - score.shape[1] :][::-1], 1)
        value, span = (before + score[:, :, None]).flatten(1, 2).topk(k, dim=1)
        ended.append(value)
        spans.append(span)
        if t < length:
            value, origin = (value[:, :, :, None] + p.entered(t)[:, None]).flatten(1, 2).topk(k, dim=1)
            entry.append(value)
            origins.append(origin)
    last = torch.stack(ended, 1)[torch.arange(size, device=first.device), (p.lengths - 1).clamp_min(0)]
    # an empty sequence is one solution, not one per label
    score, state = torch.where((p.lengths == 0)[:, None, None], _one(first), last).flatten(1).topk(k, dim=1)
    rows = torch.arange(size, device=first.device)
    span = torch.stack(spans, 1).flatten(2)
    origin = torch.stack([torch.zeros_like(spans[0]), *origins], 1).flatten(2)

    def segment(end: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        found = span[rows, end - 1, state]
        return found // k + 1, found % k * states + state % states

    def previous(begin: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return begin, origin[rows, begin, state]

    labels, durations = trace(p, state.T, segment, previous)
    return labels, durations, score.T


def _one(like: Tensor) -> Tensor:
    """One solution of score 0."""
    found = torch.full_like(like, NEG_INF)
    found[:, 0, 0] = 0.0
    return found


def sample_backward(
    p: Segments, m: Messages, count: int, generator: torch.Generator | None = None
) -> tuple[Int[Tensor, "n b t"], Int[Tensor, "n b t"]]:
    """Labels and durations of independent exact draws, from messages of rows that are all possible.

    From the end to the start: the duration of the last segment, given its label, then the label before it.
    """
    rows = torch.arange(p.unary.shape[0], device=p.unary.device)

    def segment(end: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return draw(_arrivals_at(p, m, end, state), generator) + 1, state

    def previous(begin: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        own = rows.clamp_max(p.pairwise.shape[0] - 1)
        step = (begin - 1).clamp(0, max(p.pairwise.shape[1] - 1, 0))
        return begin, draw(m.ended[rows, (begin - 1).clamp_min(0)] + p.pairwise.mT[own, step, state], generator)

    final = m.ended[rows, (p.lengths - 1).clamp_min(0)]
    return trace(p, draw(final.expand(count, -1, -1), generator), segment, previous)


def _arrivals_at(p: Segments, m: Messages, end: Tensor, label: Tensor) -> Float[Tensor, "n b k"]:
    """As `arrivals`, at a boundary and for a label of each draw's own."""
    duration = torch.arange(p.table.shape[2], device=end.device)
    begin = end[..., None] - 1 - duration
    rows, at, label = torch.arange(end.shape[-1], device=end.device)[:, None], begin.clamp_min(0), label[..., None]
    drift = m.shift[rows, at].cumsum(-1) - m.shift[rows, at[..., :1]]
    score = m.entry[rows, at, label] + p.unary[rows, at, label].cumsum(-1) + p.starts[rows, at, label] - drift
    own, start = rows.clamp_max(p.table.shape[0] - 1), at.clamp_max(p.table.shape[1] - 1)
    table = p.table[own, start, duration, label]
    if p.last is not None:
        last = p.last[own.clamp_max(p.last.shape[0] - 1), at.clamp_max(p.last.shape[1] - 1), duration, label]
        table = torch.where((end == p.lengths)[..., None], last, table)
    return (score + table).masked_fill(begin < 0, NEG_INF)


def trace(
    p: Segments, state: Int[Tensor, "n b"], segment: Choice, previous: Choice
) -> tuple[Int[Tensor, "n b t"], Int[Tensor, "n b t"]]:
    """Follows choices from the ends of rows to their starts; one step a segment, for all rows at once.

    Args:
        p: the potentials.
        state: what stands at the end; its remainder by S is the label.
        segment: from an end and a state to the duration and the state at the start.
        previous: from a start and a state to the end before it and the state there.
    """
    length, states = p.unary.shape[1:]
    end = p.lengths.expand(state.shape)
    labels, durations = (end.new_zeros(*state.shape, length) for _ in range(2))
    while bool((end > 0).any()):
        alive = end > 0
        span, state_here = segment(end.clamp_min(1), state)
        begin = end - torch.minimum(span, end)
        # a row that is done writes what stands there already
        at = begin.clamp_max(length - 1)[..., None]
        for into, value in ((durations, span), (labels, state % states)):
            into.scatter_(-1, at, torch.where(alive, value, into.gather(-1, at)[..., 0])[..., None])
        end, state_before = previous(begin, state_here)
        state = torch.where(end > 0, state_before, state_here)
    return filled(labels, durations, p.lengths), durations


def filled(
    labels: Int[Tensor, "*n b t"], durations: Int[Tensor, "*n b t"], lengths: Int[Tensor, " b"]
) -> Int[Tensor, "*n b t"]:
    """The labels of all elements from those at the starts of segments; 0 beyond the length."""
    time = torch.arange(labels.shape[-1], device=labels.device)
    start = torch.where(durations > 0, time, 0).cummax(-1).values
    return labels.gather(-1, start).masked_fill(time >= lengths[:, None], 0)

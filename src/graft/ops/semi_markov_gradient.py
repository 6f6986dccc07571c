r"""The log-partition of semi-Markov chains with its gradient written by hand: probabilities, by a second sweep.

Autograd through the forward sweep keeps every window of every step, O(T K S); this keeps messages alone, O(T S). The
backward pass is itself differentiable; derivatives of derivatives do keep the windows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import pad

from graft.ops.logspace import NEG_INF
from graft.ops.modes import differentiable, plain
from graft.ops.semi_markov import Messages, Segments, Step, backward, forward
from graft.ops.semi_markov_kernels import chosen, swept


def log_z(p: Segments) -> Float[Tensor, " b"]:
    r"""$\log Z$ of every row; its derivatives are posterior probabilities, and expected counts of what is shared.

    Rows of probability zero have `-inf` with gradient zero; a row of length 0 has 0.

    Args:
        p: double precision.

    Example:
        >>> zero = torch.zeros(1, 3, 2, dtype=torch.float64)
        >>> p = Segments(zero, zero, zero[None, :, :2], None, zero[None, :, :2], torch.tensor([3]))
        >>> log_z(p).exp()
        tensor([16.0000], dtype=torch.float64)
    """
    found: Tensor = _LogZ.apply(*p)
    return found


def expected(p: Segments, shapes: dict[str, tuple[int, ...]]) -> tuple[dict[str, Tensor], Float[Tensor, " b"]]:
    """The derivatives of every row's log-partition by some of its potentials, and the log-partitions.

    Args:
        p: the potentials.
        shapes: fields of `Segments`, and what each is expanded to first, so that what rows or steps share is counted
            for each.

    Example:
        >>> zero = torch.zeros(1, 3, 2, dtype=torch.float64)
        >>> p = Segments(zero, zero, zero[None, :, :2], None, zero[None, :, :2], torch.tensor([3]))
        >>> expected(p, {"starts": (1, 3, 2)})[0]["starts"].sum(-1)
        tensor([[1.0000, 0.7500, 0.7500]], dtype=torch.float64)
    """
    with differentiable() as again:
        p = p._replace(**{name: plain(x) for name, x in p._asdict().items() if x is not None})
        again = again and any(x is not None and x.requires_grad for x in p)
        own = {name: getattr(p, name).expand(shape) for name, shape in shapes.items()}
        own = {name: x if x.requires_grad else x.detach().clone().requires_grad_() for name, x in own.items()}
        score = log_z(p._replace(**own))
        possible = torch.where(score == NEG_INF, 0.0, score)
        found = torch.autograd.grad(possible.sum(), list(own.values()), create_graph=again)
    counts = {name: x if again else x.detach() for name, x in zip(own, found, strict=True)}
    return counts, score if again else score.detach()


class Gradients(NamedTuple):
    """Derivatives, in the shapes of the potentials."""

    unary: Tensor
    starts: Tensor
    table: Tensor
    last: Tensor | None
    pairwise: Tensor


def gradients(p: Segments, m: Messages, weight: Float[Tensor, " b"]) -> Gradients:
    """Posterior probabilities of everything, times a weight for each row, in operations that autograd knows."""
    covered, starts = [], []
    pairs = _Counts(p.pairwise)
    table, last = _Counts(p.table), None if p.last is None else _Counts(p.last)
    limit = p.table.shape[2]
    for step in backward(p, m):
        covered.append(step.covered)
        if step.start is not None and step.origin is not None:
            starts.append(step.start)
            pairs.add(weight[:, None, None] * step.start[:, None, :] * step.origin.exp())
        segments = weight[:, None, None] * pad(step.segments, (0, 0, 0, limit - step.segments.shape[1]))
        if last is None:
            table.add(segments)
        else:
            ends = (p.lengths == step.t)[:, None, None]
            last.add(segments.where(ends, 0.0))
            table.add(segments.masked_fill(ends, 0.0))
        begun = step
    starts.append(_starting_first(begun))
    by = weight[:, None, None]
    return Gradients(
        by * torch.stack(covered[::-1], 1),
        by * torch.stack(starts[::-1], 1),
        table.by_start(),
        None if last is None else last.by_start(),
        pairs.by_step(),
    )


def _starting_first(step: Step) -> Tensor:
    """The probability that a segment starts at element 0: that one covers it, as none can start before."""
    return step.covered


class _Counts:
    """Probabilities that come from the last step to the first, kept apart or summed as the potential `like` asks."""

    def __init__(self, like: Tensor) -> None:
        self.like, self.total = like, like.new_zeros(like.shape[0], 1, *like.shape[2:])
        self.found: list[Tensor] = []

    def add(self, x: Tensor) -> None:
        if self.like.shape[1] > 1:
            self.found.append(x if self.like.shape[0] != 1 else x.sum(0, keepdim=True))
        else:
            self.total = self.total + (x if self.like.shape[0] != 1 else x.sum(0, keepdim=True))[:, None]

    def by_step(self) -> Tensor:
        """As they came, in time's order."""
        if self.like.shape[1] == 1:
            return self.total
        return torch.stack(self.found[::-1], 1) if self.found else torch.zeros_like(self.like)

    def by_start(self) -> Tensor:
        """From where segments end to where they start."""
        ending = self.by_step()
        if self.like.shape[1] == 1:
            return ending
        steps, limit = ending.shape[1:3]
        duration = torch.arange(limit, device=ending.device)
        at = torch.arange(steps, device=ending.device)[:, None] + duration
        moved = ending[:, at.clamp_max(steps - 1), duration]
        return moved.masked_fill((at >= steps)[:, :, None], 0.0)


class _LogZ(Function):
    @staticmethod
    def forward(
        ctx: Any, unary: Tensor, starts: Tensor, table: Tensor, last: Tensor | None, pairwise: Tensor, lengths: Tensor
    ) -> Tensor:
        p = Segments(unary, starts, table, last, pairwise, lengths)
        ctx.save_for_backward(*p)
        ctx.swept = None
        if chosen(p) == "torch":
            return forward(p).log_z
        ctx.swept = swept(p, keep=any(ctx.needs_input_grad))
        return torch.from_numpy(ctx.swept.log_z)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        p = Segments(*ctx.saved_tensors)
        if torch.is_grad_enabled() or chosen(p) == "torch":
            return *gradients(p, forward(p), grad), None
        found = Gradients(*ctx.swept.gradients(grad))
        return *found, None

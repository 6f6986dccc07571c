r"""Reference kernels of linear chains: sums, maxima and draws over all state sequences.

A chain of $T$ elements with $S$ states gives a sequence $y$ of length $L \le T$ the score
$\sum_{t<L} u_t(y_t) + \sum_{0<t<L} w_{t-1}(y_{t-1}, y_t)$. Every kernel takes

* `unary` (b, t, s), the log-potentials $u$, finite or `-inf`;
* `pairwise` (b or 1, t-1, s, s), the log-potentials $w$, entry $k$ leading from row (state at $k$) to column
  (state at $k+1$);
* `lengths` (b), how many of the $t \ge 1$ elements exist; those beyond are never looked at, but must hold
  no NaN.

Each is vectorised over the batch and loops over time only. A sweep carries its values unchanged across
elements that do not exist, so its result always stands at the last one. Messages are kept with maximum 0
and the logarithm of their scale apart: otherwise long chains lose their digits in float32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graft.ops.logspace import NEG_INF, logsumexp


class Messages(NamedTuple):
    """Messages of a sweep: the true ones are `values + scale[..., None]`.

    Attributes:
        values: (b, t, s), maximum 0 in every row that is possible.
        scale: (b, t).
    """

    values: Tensor
    scale: Tensor


def forward(
    unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "#b t-1 s s"], lengths: Int[Tensor, " b"]
) -> Messages:
    r"""Forward messages: the log-sum over all beginnings that end in a state.

    $$ \alpha_0 = u_0, \qquad \alpha_t(j) = u_t(j) + \log \sum_i e^{\alpha_{t-1}(i) + w_{t-1}(i, j)}. $$

    $O(T S^2)$ time per row. Source: Rabiner, *A tutorial on hidden Markov models* (1989), equations 19-20.

    Example:
        >>> alpha = forward(torch.zeros(1, 3, 2), torch.zeros(1, 2, 2, 2), torch.tensor([3]))
        >>> (alpha.values + alpha.scale[..., None])[0, -1].exp()
        tensor([4., 4.])
    """
    now, scale = rescale(unary[:, 0])
    values, scales = [now], [scale]
    # unbind, not indexing: the backward of an index allocates the whole tensor at every step
    for t, (u, w) in enumerate(zip(unary.unbind(1)[1:], pairwise.unbind(1), strict=True), start=1):
        step = u + _total(now[:, :, None] + w, 1)
        now, shift = rescale(torch.where((t < lengths)[:, None], step, now))
        values.append(now)
        scales.append(scales[-1] + shift)
    return Messages(torch.stack(values, 1), torch.stack(scales, 1))


def backward(
    unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "#b t-1 s s"], lengths: Int[Tensor, " b"]
) -> Messages:
    r"""Backward messages: the log-sum over all endings that follow a state.

    $$ \beta_{L-1} = 0, \qquad \beta_t(i) = \log \sum_j e^{w_t(i, j) + u_{t+1}(j) + \beta_{t+1}(j)}. $$

    $O(T S^2)$ time per row. Source: Rabiner (1989), equations 24-25.

    Example:
        >>> beta = backward(torch.zeros(1, 3, 2), torch.zeros(1, 2, 2, 2), torch.tensor([3]))
        >>> (beta.values + beta.scale[..., None])[0, 0].exp()
        tensor([4., 4.])
    """
    now, scale = rescale(torch.zeros_like(unary[:, 0]))
    values, scales = [now], [scale]
    entries = list(enumerate(zip(unary.unbind(1)[1:], pairwise.unbind(1), strict=True), start=1))
    for t, (u, w) in reversed(entries):
        step = _total(w + (u + now)[:, None, :], 2)
        now, shift = rescale(torch.where((t < lengths)[:, None], step, now))
        values.append(now)
        scales.append(scales[-1] + shift)
    return Messages(torch.stack(values[::-1], 1), torch.stack(scales[::-1], 1))


def log_partition(alpha: Messages, lengths: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    r"""The log-sum of all sequences, $\log \sum_j e^{\alpha_{L-1}(j)}$, from forward messages; 0 if $L = 0$.

    Example:
        >>> lengths = torch.tensor([3])
        >>> log_partition(forward(torch.zeros(1, 3, 2), torch.zeros(1, 2, 2, 2), lengths), lengths).exp()
        tensor([8.])
    """
    total = alpha.scale[:, -1] + logsumexp(alpha.values[:, -1], -1)
    return total.masked_fill(lengths == 0, 0.0)


def viterbi(
    unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "#b t-1 s s"], lengths: Int[Tensor, " b"]
) -> tuple[Int[Tensor, "b t"], Float[Tensor, " b"]]:
    """A sequence of the highest score, and that score; states beyond the length mean nothing.

    O(T S²) time per row. Source: Viterbi, *Error bounds for convolutional codes* (1967).

    Example:
        >>> u = torch.tensor([[[0.0, 1.0], [3.0, 0.0]]])
        >>> viterbi(u, torch.zeros(1, 1, 2, 2), torch.tensor([2]))
        (tensor([[1, 0]]), tensor([4.]))
    """
    best, scale = rescale(unary[:, 0])
    same = torch.arange(unary.shape[-1], device=unary.device)
    pointers = []
    for t in range(1, unary.shape[1]):
        value, origin = (best[:, :, None] + pairwise[:, t - 1]).max(1)
        alive = (t < lengths)[:, None]
        best, shift = rescale(torch.where(alive, value + unary[:, t], best))
        scale = scale + shift
        pointers.append(torch.where(alive, origin, same))
    top, last = best.max(-1, keepdim=True)
    score = (scale + top[:, 0]).masked_fill(lengths == 0, 0.0)
    return trace(pointers, last)[:, 0], score


def k_best(
    unary: Float[Tensor, "b t s"],
    pairwise: Float[Tensor, "#b t-1 s s"],
    lengths: Int[Tensor, " b"],
    k: int,
) -> tuple[Int[Tensor, "k b t"], Float[Tensor, "k b"]]:
    """The k distinct sequences of the highest scores, best first; where there are fewer, the score is -inf.

    Every state keeps its k best beginnings, in slots; O(T k S² log k) time per row.
    Source: Seshadri and Sundberg, *List Viterbi decoding algorithms* (1994), the parallel algorithm.

    Example:
        >>> u = torch.tensor([[[0.0, 1.0], [3.0, 0.0]]])
        >>> k_best(u, torch.zeros(1, 1, 2, 2), torch.tensor([2]), 5)[1].T
        tensor([[4., 3., 1., 0., -inf]])
    """
    size, steps, states = unary.shape
    same = torch.arange(k * states, device=unary.device).reshape(k, states)
    # an empty sequence is one solution of score 0, not one per state
    empty = (lengths == 0)[:, None]
    first = unary[:, 0].masked_fill(empty, 0.0).masked_fill(empty & (same[0] > 0), NEG_INF)
    best = first[:, None].expand(size, k, states).masked_fill(same >= states, NEG_INF)
    scale = torch.zeros_like(unary[:, 0, 0])
    pointers = []
    for t in range(1, steps):
        slots = (best[:, :, :, None] + pairwise[:, None, t - 1]).reshape(size, k * states, states)
        value, origin = slots.topk(k, dim=1)
        alive = (t < lengths)[:, None, None]
        flat = torch.where(alive, value + unary[:, None, t], best).reshape(size, k * states)
        flat, shift = rescale(flat)
        best, scale = flat.reshape(size, k, states), scale + shift
        pointers.append(torch.where(alive, origin, same).reshape(size, k * states))
    top, last = best.reshape(size, k * states).topk(k, dim=1)
    return (trace(pointers, last) % states).transpose(0, 1), (scale[:, None] + top).T


def sample_backward(
    alpha: Float[Tensor, "b t s"],
    pairwise: Float[Tensor, "#b t-1 s s"],
    lengths: Int[Tensor, " b"],
    count: int,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "count b t"]:
    r"""Independent exact draws of whole sequences, by filtering forward and sampling backward.

    $$ y_{L-1} \sim e^{\alpha_{L-1}}, \qquad y_t \sim e^{\alpha_t(\cdot) + w_t(\cdot, y_{t+1})}. $$

    `alpha` holds the values of forward messages (any scale). States beyond the length mean nothing.
    $O(T S)$ time per draw. Source: Scott, *Bayesian methods for hidden Markov models* (2002), section 2.1.

    Example:
        >>> u = torch.tensor([[[0.0, NEG_INF], [0.0, 0.0]]])
        >>> w = torch.tensor([[[[NEG_INF, 0.0], [0.0, 0.0]]]])
        >>> sample_backward(forward(u, w, torch.tensor([2])).values, w, torch.tensor([2]), 3).tolist()
        [[[0, 1]], [[0, 1]], [[0, 1]]]
    """
    size, steps, _ = alpha.shape
    rows = torch.arange(size, device=alpha.device).clamp_max(pairwise.shape[0] - 1)
    state = draw(alpha[:, -1].expand(count, -1, -1), generator)
    path = [state]
    for t in range(steps - 2, -1, -1):
        column = pairwise[:, t].mT[rows, state]
        state = torch.where(t + 1 < lengths, draw(alpha[:, t] + column, generator), state)
        path.append(state)
    return torch.stack(path[::-1], -1)


def draw(logits: Float[Tensor, "*batch s"], generator: torch.Generator | None) -> Int[Tensor, "*batch"]:
    """One state per row, with probability proportional to `exp(logits)`; never one of probability zero.

    By the Gumbel-max trick: unlike an inverse cumulative sum it can neither round onto a hard zero nor
    lose small probabilities to the grid of uniform numbers.
    """
    noise = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
    noise = noise.exponential_(generator=generator).clamp_min(torch.finfo(logits.dtype).tiny)
    return (logits - noise.log()).argmax(-1)


def _total(x: Tensor, dim: int) -> Tensor:
    """The log-sum; where nobody differentiates, torch's own is right for hard zeros too, and faster."""
    return logsumexp(x, dim) if torch.is_grad_enabled() else torch.logsumexp(x, dim)


def rescale(x: Float[Tensor, "b n"]) -> tuple[Float[Tensor, "b n"], Float[Tensor, " b"]]:
    """The row with maximum 0, and what was taken from it: a constant to autograd; derivatives stay exact."""
    top = x.detach().amax(-1, keepdim=True)
    top = top.masked_fill(top == NEG_INF, 0.0)
    return x - top, top[:, 0]


def trace(pointers: list[Tensor], last: Int[Tensor, "b k"]) -> Int[Tensor, "b k t"]:
    """Paths that end in `last`, each step (b, n) of `pointers` telling which slot a slot came from."""
    path = [last]
    for step in reversed(pointers):
        path.append(step.gather(1, path[-1]))
    return torch.stack(path[::-1], -1)

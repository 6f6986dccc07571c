"""Which kernel sums over a semi-Markov chain: the compiled one where there is a compiler, else torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graft.ops.chain_kernels import compiler
from graft.ops.semi_markov import Segments, forward
from graft.ops.semi_markov_paths import sample_backward, viterbi

if TYPE_CHECKING:
    from graft.ops.cpu.segment_sweeps import Swept


def chosen(p: Segments) -> str:
    """The kernel for potentials like these: `compiled`, or `torch`, which runs anywhere.

    Example:
        >>> zero = torch.zeros(1, 3, 2)
        >>> chosen(Segments(zero, zero, zero[None, :, :2], None, zero[None, :, :2], torch.tensor([3])))
        'torch'
    """
    here = p.unary.device.type == "cpu" and p.unary.dtype == torch.float64 and p.unary.numel() > 0
    return "compiled" if here and compiler() and not torch.compiler.is_compiling() else "torch"


def swept(p: Segments, keep: bool) -> Swept:
    """The forward half of `log_z`, compiled; imports the compiler at its first call.

    Args:
        p: the potentials.
        keep: whether gradients will be asked for.
    """
    from graft.ops.cpu.segment_sweeps import Swept

    return Swept(p, keep)


def best_segments(p: Segments) -> tuple[Int[Tensor, "b t"], Int[Tensor, "b t"], Float[Tensor, " b"]]:
    """Labels, durations and score of a best segmentation of each row, by the kernel that is `chosen`.

    Example:
        >>> zero = torch.zeros(1, 3, 2, dtype=torch.float64)
        >>> durations = torch.tensor([[[[0.0, 0.0], [0.0, 5.0]]]], dtype=torch.float64)
        >>> best_segments(Segments(zero, zero, durations, None, zero[None, :, :2], torch.tensor([2])))
        (tensor([[1, 1, 0]]), tensor([[2, 0, 0]]), tensor([5.], dtype=torch.float64))
    """
    if chosen(p) == "torch":
        return viterbi(p)
    from graft.ops.cpu.segment_paths import best_segments as compiled

    return compiled(p)


def samples(
    p: Segments, count: int, generator: torch.Generator | None = None
) -> tuple[Int[Tensor, "n b t"], Int[Tensor, "n b t"], Float[Tensor, " b"]]:
    """Labels and durations of exact draws, and the log-partitions; draws of rows of probability zero mean nothing.

    Example:
        >>> zero = torch.zeros(1, 3, 2, dtype=torch.float64)
        >>> p = Segments(zero, zero, zero[None, :, :2], None, zero[None, :, :2], torch.tensor([3]))
        >>> samples(p, 10)[1].sum(-1).unique()
        tensor([3])
    """
    if chosen(p) == "torch":
        messages = forward(p)
        return *sample_backward(p, messages, count, generator), messages.log_z
    from graft.ops.cpu.segment_draws import sample as compiled

    found = swept(p, keep=True)
    return *compiled(found, count, generator), torch.from_numpy(found.log_z)

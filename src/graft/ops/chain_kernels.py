"""Which kernel sums over a chain: a compiled one where there is one, else torch."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graft.ops.chain import viterbi

if TYPE_CHECKING:
    from graft.ops.cpu.choose import Swept


@cache
def compiler() -> bool:
    """Whether numba is there to compile kernels."""
    return find_spec("numba") is not None


def chosen(unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "#b pairs s s"]) -> str:
    """The kernel for potentials like these: `compiled`, or `torch`, which runs anywhere.

    Example:
        >>> half = torch.zeros(1, 3, 2, dtype=torch.float16)
        >>> chosen(half, half[:, :, None].expand(1, 3, 2, 2)[:, :2])
        'torch'
    """
    here = unary.device.type == "cpu" and unary.dtype in (torch.float32, torch.float64)
    whole = unary.dtype == pairwise.dtype and unary.numel() > 0 and pairwise.numel() > 0
    return "compiled" if here and whole and compiler() and not torch.compiler.is_compiling() else "torch"


def swept(unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "#b pairs s s"], lengths: Int[Tensor, " b"]) -> Swept:
    """The forward half of `log_z` by compiled kernels; imports the compiler at its first call."""
    from graft.ops.cpu.choose import Swept

    return Swept(unary, pairwise, lengths)


def best_paths(
    unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "#b pairs s s"], lengths: Int[Tensor, " b"]
) -> tuple[Int[Tensor, "b t"], Float[Tensor, " b"]]:
    """A best sequence of each row and its score, by the kernel that is `chosen`; states beyond the length mean nothing.

    Example:
        >>> u = torch.tensor([[[0.0, 1.0], [3.0, 0.0]]])
        >>> best_paths(u, torch.zeros(1, 1, 2, 2), torch.tensor([2]))
        (tensor([[1, 0]]), tensor([4.]))
    """
    if chosen(unary, pairwise) == "torch":
        steps = unary.shape[1] - 1
        return viterbi(unary, pairwise[:, :0] if steps == 0 else pairwise.expand(-1, steps, -1, -1), lengths)
    from graft.ops.cpu.paths import best_paths as compiled

    return compiled(unary.detach(), pairwise.detach(), lengths)

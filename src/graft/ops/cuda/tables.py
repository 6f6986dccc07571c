"""Chains as kernels take them: contiguous lines and tables, and strides between them."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from graft.ops.cuda.launch import block, warps


@dataclass(frozen=True, eq=False)
class Chains:
    """Potentials as kernels read them; nothing is copied whose lines are contiguous, a shared table is one.

    Attributes:
        unary: (b, T, S), with b and T at least 1.
        pairwise: (b or 1, T-1 or 1, S, S).
        lengths: (b).
    """

    unary: Tensor
    pairwise: Tensor
    lengths: Tensor

    @property
    def sizes(self) -> tuple[int, int, int]:
        """b, T and S."""
        rows, steps, states = self.unary.shape
        return rows, steps, states

    @property
    def table_strides(self) -> tuple[int, int]:
        """How far the tables of two rows and of two steps are apart: 0 if they are one."""
        row, step = self.pairwise.stride()[:2]
        return row if len(self.pairwise) > 1 else 0, step if self.varying else 0

    @property
    def varying(self) -> bool:
        """Whether steps have tables of their own."""
        return self.pairwise.shape[1] > 1

    @property
    def block(self) -> int:
        """What S is padded to."""
        return block(self.unary.shape[2])

    @property
    def warps(self) -> int:
        """Of a program."""
        return warps(self.unary.shape[2])

    @property
    def constants(self) -> dict[str, int]:
        """What kernels that sweep are compiled for; two great tables at a time would not fit into registers."""
        return {"VARYING": self.varying, "AHEAD": self.block < 128, "BLOCK": self.block, "num_warps": self.warps}


def chains(unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "*pairs s s"], lengths: Int[Tensor, " b"]) -> Chains:
    """Chains of potentials (b, T, S) and (b or 1, T-1 or 1, S, S), or (S, S).

    Example:
        >>> import torch
        >>> chains(torch.zeros(2, 5, 3), torch.zeros(3, 3), torch.tensor([5, 4])).table_strides
        (0, 0)
    """
    unary, tables = unary.detach(), pairwise.detach()
    tables = tables if tables.dim() == 4 else tables[None, None]
    states = unary.shape[2]
    if unary.stride(2) != 1:
        unary = unary.contiguous()
    if tables.stride()[2:] != (states, 1):
        tables = tables.contiguous()
    return Chains(unary, tables, lengths.detach().contiguous())

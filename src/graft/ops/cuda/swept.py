"""Sums over the state sequences of chains on CUDA devices: log Z, marginals, and those of pairs."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graft.ops.cuda import launch
from graft.ops.cuda.chain_backward import backward
from graft.ops.cuda.chain_backward import pairs as pair_sums
from graft.ops.cuda.chain_forward import forward
from graft.ops.cuda.tables import chains

#: About how many programs keep a device busy: two or so for each of its processors.
PROGRAMS = 256


class Swept:
    r"""The forward half of `log_z`, which waits for its backward one; nothing waits for the device.

    Sums are in log space, and lose no digits to the size of potentials. Messages are kept in double precision,
    $O(T S)$ for each row.

    Args:
        unary: (b, T, S), with b and T at least 1.
        pairwise: (b or 1, T-1 or 1, S, S), or (S, S).
        lengths: (b).

    Source: Rabiner, *A tutorial on hidden Markov models* (1989), equations 19-20.
    """

    def __init__(
        self, unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "*pairs s s"], lengths: Int[Tensor, " b"]
    ) -> None:
        self.shape, self.chains = pairwise.shape, chains(unary, pairwise, lengths)
        of = self.chains
        self.messages = torch.empty(of.unary.shape, dtype=torch.float64, device=unary.device)
        self.log_z = of.unary.new_empty(len(of.unary))
        launch.launch(
            forward, len(of.unary), of.unary, of.unary, of.pairwise, of.lengths, self.messages, self.log_z,
            *of.sizes[1:], *of.unary.stride()[:2], *of.table_strides, **of.constants,
        )  # fmt: skip

    def release(self) -> None:
        """Does nothing: memory goes back with the last who holds it."""

    def value(self) -> Float[Tensor, " b"]:
        """log Z in the type of the potentials."""
        # not the tensor that is kept here: a graph made of it keeps what is here, and both would live for ever
        return self.log_z.detach()

    def gradients(self, weight: Float[Tensor, " b"]) -> tuple[Float[Tensor, "b t s"], Float[Tensor, "*pairs s s"]]:
        """Marginals (b, T, S) times weights (b), and the weighted sum of pair marginals, as `pairwise`."""
        by_unary = self._backward(weight)
        return by_unary, self._pairs(by_unary, *self.chains.pairwise.shape[:2]).reshape(self.shape)

    def marginals(self) -> Float[Tensor, "b t s"]:
        """Of elements; 0 beyond lengths and in rows of probability zero."""
        return self._backward(torch.ones_like(self.log_z))

    def pair_marginals(self) -> Float[Tensor, "b t-1 s s"]:
        """Of pairs; 0 beyond lengths and in rows of probability zero."""
        rows, steps, _ = self.chains.sizes
        return self._pairs(self.marginals(), rows, steps - 1)

    def _backward(self, weight: Tensor) -> Tensor:
        """Weighted marginals."""
        of, found = self.chains, torch.zeros_like(self.chains.unary, memory_format=torch.contiguous_format)
        launch.launch(
            backward, len(found), found, of.pairwise, of.lengths, self.messages,
            weight.detach().to(found.dtype).contiguous(), found, *of.sizes[1:], *of.table_strides, **of.constants,
        )  # fmt: skip
        return found

    def _pairs(self, by_unary: Tensor, rows: int, steps: int) -> Tensor:
        """Weighted pair marginals, summed where `rows` or `steps` is 1 and there are more: (rows, steps, S, S)."""
        of = self.chains
        count, pairs, states = of.sizes[0], of.sizes[1] - 1, of.sizes[2]
        if not pairs:
            return by_unary.new_zeros(rows, steps, states, states)
        row_run, step_run = runs(count, pairs, rows, steps)
        groups, parts = -(-count // row_run), -(-pairs // step_run)
        found = by_unary.new_empty(groups, parts, states, states)
        launch.launch(
            pair_sums, groups * parts, found, of.pairwise, of.lengths, self.messages, by_unary, found,
            *of.sizes, *of.table_strides, row_run, step_run, parts, BLOCK=of.block, num_warps=of.warps,
        )  # fmt: skip
        return found.sum_to_size(rows, steps, states, states)


def runs(count: int, pairs: int, rows: int, steps: int) -> tuple[int, int]:
    """How many rows and pairs of neighbours one program sums: all that share a table, unless few programs were left.

    Args:
        count, pairs: how many rows and pairs there are.
        rows, steps: how many of each have tables of their own: as many, or 1.

    Example:
        >>> runs(32, 99, 32, 99), runs(32, 99, 1, 99), runs(32, 99, 32, 1), runs(2000, 99, 1, 1)
        ((1, 1), (16, 1), (1, 13), (8, 99))
    """
    splits = max(PROGRAMS // (rows * steps), 1)
    groups = rows if rows == count else min(count, splits)
    parts = steps if steps == pairs else min(pairs, max(splits * rows // groups, 1))
    return -(-count // groups), -(-pairs // parts)

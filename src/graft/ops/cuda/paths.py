"""The best sequences of chains on CUDA devices."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graft.ops.cuda import launch
from graft.ops.cuda.chain_best import follow, viterbi
from graft.ops.cuda.tables import chains


def best_paths(
    unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "#b pairs s s"], lengths: Int[Tensor, " b"]
) -> tuple[Int[Tensor, "b t"], Float[Tensor, " b"]]:
    """A best sequence of each row, 0 beyond its length, and its score; nothing waits for the device.

    Source: Viterbi, *Error bounds for convolutional codes* (1967).
    """
    of = chains(unary, pairwise, lengths)
    device, rows = unary.device, len(unary)
    origins = torch.empty(unary.shape, dtype=torch.int16, device=device)
    ends = torch.empty(rows, dtype=torch.int32, device=device)
    paths, scores = torch.zeros(unary.shape[:2], dtype=torch.int64, device=device), of.unary.new_empty(rows)
    launch.launch(
        viterbi, rows, unary, of.unary, of.pairwise, of.lengths, origins, ends, scores,
        *of.sizes[1:], *of.unary.stride()[:2], *of.table_strides, **of.constants,
    )  # fmt: skip
    launch.launch(follow, rows, unary, of.lengths, origins, ends, paths, *of.sizes[1:], num_warps=1)
    return paths, scores

"""Which kernel answers for a chain: one compiled for the processor or the card where there is one, else torch."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graft.ops.chain import forward, k_best, log_partition, sample_backward, viterbi

if TYPE_CHECKING:
    from graft.ops.cpu.choose import Swept
    from graft.ops.cuda.swept import Swept as SweptOnDevice

#: Types that kernels are compiled for.
TYPES = (torch.float32, torch.float64)


@cache
def compiler() -> bool:
    """Whether numba is there to compile kernels."""
    return find_spec("numba") is not None


def chosen(unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "*pairs s s"]) -> str:
    """The kernel for potentials like these: `compiled`, on CUDA devices `triton`, or `torch`, which runs anywhere.

    Example:
        >>> half = torch.zeros(1, 3, 2, dtype=torch.float16)
        >>> chosen(half, half[:, :, None].expand(1, 3, 2, 2)[:, :2])
        'torch'
    """
    alike = unary.dtype in TYPES and unary.dtype == pairwise.dtype and unary.device == pairwise.device
    if not alike or not unary.numel() or not pairwise.numel() or torch.compiler.is_compiling():
        return "torch"
    if unary.device.type == "cpu":
        return "compiled" if compiler() else "torch"
    if unary.device.type != "cuda":
        return "torch"
    from graft.ops.cuda.choose import serves

    return "triton" if serves(unary.device, unary.shape[2]) else "torch"


def swept(
    unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "*pairs s s"], lengths: Int[Tensor, " b"]
) -> Swept | SweptOnDevice:
    """The forward half of `log_z` by compiled kernels; imports the compiler at its first call."""
    if chosen(unary, pairwise) == "triton":
        from graft.ops.cuda.swept import Swept as SweptOnDevice

        return SweptOnDevice(unary, pairwise, lengths)
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
    kernel = chosen(unary, pairwise)
    if kernel == "torch":
        return viterbi(unary, every_step(unary, pairwise), lengths)
    if kernel == "triton":
        from graft.ops.cuda.paths import best_paths as compiled
    else:
        from graft.ops.cpu.paths import best_paths as compiled

    return compiled(unary.detach(), pairwise.detach(), lengths)


def best_lists(
    unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "#b pairs s s"], lengths: Int[Tensor, " b"], k: int
) -> tuple[Int[Tensor, "k b t"], Float[Tensor, "k b"]]:
    """The k best sequences of each row and their scores, as `graft.ops.chain.k_best`.

    Example:
        >>> u = torch.tensor([[[0.0, 1.0], [3.0, 0.0]]])
        >>> best_lists(u, torch.zeros(1, 1, 2, 2), torch.tensor([2]), 5)[1].T
        tensor([[4., 3., 1., 0., -inf]])
    """
    if chosen(unary, pairwise) != "compiled":
        return k_best(unary.detach(), every_step(unary, pairwise).detach(), lengths, k)
    from graft.ops.cpu.lists import best_lists as compiled

    return compiled(unary.detach(), pairwise.detach(), lengths, k)


def draws(
    unary: Float[Tensor, "b t s"],
    pairwise: Float[Tensor, "#b pairs s s"],
    lengths: Int[Tensor, " b"],
    count: int,
    generator: torch.Generator | None = None,
) -> tuple[Int[Tensor, "count b t"], Float[Tensor, " b"]]:
    """Independent exact draws of each row, and log Z; beyond lengths and in rows of probability zero they mean nothing.

    Example:
        >>> u = torch.tensor([[[0.0, float("-inf")], [0.0, 0.0]]])
        >>> w = torch.tensor([[[[float("-inf"), 0.0], [0.0, 0.0]]]])
        >>> draws(u, w, torch.tensor([2]), 3)[0].tolist()
        [[[0, 1]], [[0, 1]], [[0, 1]]]
    """
    unary, pairwise = unary.detach(), pairwise.detach()
    if chosen(unary, pairwise) != "compiled":
        steps = every_step(unary, pairwise)
        with torch.no_grad():
            alpha = forward(unary, steps, lengths)
            return sample_backward(alpha.values, steps, lengths, count, generator), log_partition(alpha, lengths)
    from graft.ops.cpu.draws import Draws

    found = Draws(unary, pairwise, lengths, count, generator)
    return found.states, torch.from_numpy(found.log_z).to(unary.dtype)


def marginals(
    unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "#b pairs s s"], lengths: Int[Tensor, " b"]
) -> tuple[Float[Tensor, "b t s"], Float[Tensor, " b"]]:
    """The marginals of all elements and log Z, by compiled kernels; zero in rows of probability zero.

    Example:
        >>> marginals(torch.zeros(1, 2, 2), torch.zeros(1, 1, 2, 2), torch.tensor([2]))[0]
        tensor([[[0.5000, 0.5000],
                 [0.5000, 0.5000]]])
    """
    if chosen(unary, pairwise) == "triton":
        from graft.ops.cuda.swept import Swept as SweptOnDevice

        on_device = SweptOnDevice(unary, pairwise, lengths)
        return on_device.marginals(), on_device.value()
    found = swept(unary.detach(), pairwise.detach(), lengths)
    log_z = found.value()
    return found.gradients(torch.ones_like(log_z))[0], log_z


def pair_marginals(
    unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "#b pairs s s"], lengths: Int[Tensor, " b"]
) -> tuple[Float[Tensor, "b t-1 s s"], Float[Tensor, " b"]]:
    """The marginals of all pairs of neighbours and log Z, by compiled kernels; zero in rows of probability zero.

    Example:
        >>> pair_marginals(torch.zeros(1, 2, 2), torch.zeros(1, 1, 2, 2), torch.tensor([2]))[0]
        tensor([[[[0.2500, 0.2500],
                  [0.2500, 0.2500]]]])
    """
    unary, pairwise = unary.detach(), pairwise.detach()
    found = swept(unary, pairwise, lengths)
    log_z, steps = found.value(), every_step(unary, pairwise)
    pairs = found.pair_marginals() if steps.shape[1] else steps.expand(len(unary), -1, -1, -1)
    if pairs is None:
        # a row of tables for each row of the batch, so that nothing is summed
        own = swept(unary, steps.expand(len(unary), -1, -1, -1).contiguous(), lengths)
        pairs = own.gradients(torch.ones_like(log_z))[1]
    return pairs, log_z


def every_step(unary: Float[Tensor, "b t s"], pairwise: Float[Tensor, "#b pairs s s"]) -> Float[Tensor, "#b t-1 s s"]:
    """Pairwise potentials with their steps written out."""
    steps = unary.shape[1] - 1
    return pairwise[:, :0] if steps == 0 else pairwise.expand(-1, steps, -1, -1)

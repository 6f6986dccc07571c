"""Log-densities of many independent cells, summed over events: compiled on the CPU, else as torch operations.

In a compiled pass the derivatives by cell are made along with the sum, so that the backward pass is one product; second
derivatives are made by torch operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch._C import _are_functorch_transforms_active
from torch.autograd.forward_ad import unpack_dual
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from graft.ops.chain_kernels import compiler

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
#: What one cell takes, in the unit by which threads are shared out.
_WORK = 30.0
#: Cells below which torch's operations cost no more than calling the kernel and its gradient from Python.
_WORTHWHILE = 32768
#: Cells that one thread does alone.
_ALONE = 65536


def units(logits: Float[Tensor, "*#shape"], values: Float[Tensor, "*#shape"], rank: int) -> Float[Tensor, "*lead"]:
    r"""$\sum_i v_i l_i - \log(1 + e^{l_i})$ over the last `rank` dimensions: Bernoulli units with finite logits.

    Example:
        >>> units(torch.zeros(3, 2), torch.ones(3, 2), 1)
        tensor([-1.3863, -1.3863, -1.3863])
    """
    if _served(rank, logits, values):
        return _Units.apply(logits, values, rank) if _recorded(logits, values) else _units(logits, values, rank)[0]
    if logits.shape != values.shape:
        logits, values = torch.broadcast_tensors(logits, values)
    return -summed(binary_cross_entropy_with_logits(logits, values, reduction="none"), rank)


def normals(
    value: Float[Tensor, "*#shape"],
    loc: Float[Tensor, "*#shape"],
    log_scale: Float[Tensor, "*#shape"],
    scale: Float[Tensor, "*#shape"],
    rank: int,
) -> Float[Tensor, "*lead"]:
    r"""$\sum_i \log \mathcal{N}(x_i; \mu_i, \sigma_i^2)$ over the last `rank` dimensions.

    `scale` is exp(`log_scale`), and gradients take the way of `log_scale` alone.

    Example:
        >>> normals(torch.zeros(3, 2), torch.zeros(3, 2), torch.zeros(3, 2), torch.ones(3, 2), 1)
        tensor([-1.8379, -1.8379, -1.8379])
    """
    given = (value, loc, log_scale, scale)
    if _served(rank, *given):
        return _Normals.apply(*given, rank) if _recorded(*given[:3]) else _normals(*given, rank)[0]
    standard = (value - loc) / scale
    return summed(-0.5 * standard * standard - log_scale - HALF_LOG_2PI, rank)


def summed(cells: Tensor, rank: int) -> Tensor:
    """Over the last `rank` dimensions."""
    return cells.sum(tuple(range(-rank, 0))) if rank else cells


def _served(rank: int, first: Tensor, *others: Tensor) -> bool:
    """Whether the compiled kernels serve: plain CPU tensors of one type, the first of the result's full shape.

    Whatever looks at operations or stands in for numbers (transformations, traces, modes) gets torch's operations.
    """
    shape, dtype = first.shape, first.dtype
    if not rank or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    if first.numel() < _WORTHWHILE or len(shape) < rank or dtype not in (torch.float32, torch.float64):
        return False
    if _are_functorch_transforms_active() or is_in_torch_dispatch_mode() or not compiler():
        return False
    for one in (first, *others):
        if type(one) not in (Tensor, nn.Parameter) or one.dtype != dtype or not one.is_cpu:
            return False
        if one.shape != shape and not _repeats(one.shape, shape, rank):
            return False
        if one.is_neg() or one._is_zerotensor() or unpack_dual(one).tangent is not None:
            return False
    return True


def _repeats(shape: torch.Size, full: torch.Size, rank: int) -> bool:
    """Whether a tensor's rows begin again from its first along the leading dimensions of a full one."""
    if len(shape) > len(full):
        return False
    ones = 0
    while ones < len(shape) - rank and shape[ones] == 1:
        ones += 1
    core = shape[ones:]
    return len(core) >= rank and core == full[len(full) - len(core) :]


def _recorded(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(one.requires_grad for one in tensors)


def _rows(one: Tensor, width: int) -> tuple[Tensor, tuple[int, int, int]]:
    """A tensor as rows of cells, with address, distance and number of its rows; keep it until the kernel has run."""
    if one.is_contiguous():
        return one, (one.data_ptr(), width, one.numel() // width)
    flat = one.detach().reshape(-1, width)
    if flat.stride(1) != 1:
        flat = flat.contiguous()
    return flat, (flat.data_ptr(), flat.stride(0), flat.shape[0])


def _run(kernel: Any, like: Tensor, rank: int, inputs: tuple[Tensor, ...], outs: tuple[Tensor | None, ...], *more: float
) -> Tensor:  # fmt: skip
    """The sums of all rows."""
    lead = like.shape[:-rank]
    width = like.shape[-1] if rank == 1 else math.prod(like.shape[len(lead) :])
    found = like.new_empty(lead)
    rows = [_rows(one, width) for one in inputs]
    places = [0 if one is None else one.data_ptr() for one in outs]
    told = (*(place for _, place in rows), *places, found.data_ptr(), width, *more)
    if like.numel() < _ALONE:
        kernel(*told, 0, found.numel())
        return found
    from graft.ops.cpu.share import share

    share(found.numel(), _WORK * like.numel(), lambda worker, first, last: kernel(*told, first, last))
    return found


def _room(like: Tensor, wanted: bool) -> Tensor | None:
    return like.new_empty(like.shape) if wanted else None


def _kernels(name: str, like: Tensor) -> Callable[..., None]:
    from graft.ops.cpu import cells

    found: Callable[..., None] = getattr(cells, name)[64 if like.dtype == torch.float64 else 32]
    return found


def _units(logits: Tensor, values: Tensor, rank: int, keep: bool = False) -> tuple[Tensor, Tensor | None]:
    """The sums, and the derivatives by logit."""
    slopes = _room(logits, keep)
    return _run(_kernels("UNITS", logits), logits, rank, (logits, values), (slopes,)), slopes


def _normals(
    value: Tensor, loc: Tensor, log_scale: Tensor, scale: Tensor, rank: int, to_loc: bool = False, to_log: bool = False
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    by_loc, by_log = _room(value, to_loc), _room(value, to_log)
    shift = -HALF_LOG_2PI * math.prod(value.shape[value.dim() - rank :])
    inputs = (value, loc, log_scale, scale)
    return _run(_kernels("NORMALS", value), value, rank, inputs, (by_loc, by_log), shift), by_loc, by_log


class _Units(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, values: Tensor, rank: int) -> Tensor:
        found, slopes = _units(logits, values, rank, keep=ctx.needs_input_grad[0])
        ctx.rank = rank
        ctx.save_for_backward(logits, values, slopes)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        logits, values, slopes = ctx.saved_tensors
        down = _down(grads[0], ctx.rank)
        if torch.is_grad_enabled():
            slopes = values - logits.sigmoid()
        return _given(ctx, 0, down, slopes, logits), _given(ctx, 1, down, logits, values), None


class _Normals(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, loc: Tensor, log_scale: Tensor, scale: Tensor, rank: int) -> Tensor:
        by_value, by_its_mean, by_its_log = ctx.needs_input_grad[:3]
        found, by_loc, by_log = _normals(value, loc, log_scale, scale, rank, by_value or by_its_mean, by_its_log)
        ctx.rank = rank
        ctx.save_for_backward(value, loc, log_scale, by_loc, by_log)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        value, loc, log_scale, by_loc, by_log = ctx.saved_tensors
        down = _down(grads[0], ctx.rank)
        if torch.is_grad_enabled():
            precision = (-2 * log_scale).exp()
            by_loc = (value - loc) * precision
            by_log = (value - loc) * by_loc - 1
        by_value = _given(ctx, 0, down, by_loc, value)
        return (
            None if by_value is None else -by_value,
            _given(ctx, 1, down, by_loc, loc),
            _given(ctx, 2, down, by_log, log_scale),
            None,
            None,
        )


def _down(grad: Tensor, rank: int) -> Tensor:
    """A gradient by row, for its cells."""
    return grad.unsqueeze(-1) if rank == 1 else grad.reshape(grad.shape + (1,) * rank)


def _given(ctx: Any, place: int, down: Tensor, slopes: Tensor | None, like: Tensor) -> Tensor | None:
    """The gradient of one input, if it is wanted."""
    if slopes is None or not ctx.needs_input_grad[place]:
        return None
    found = down * slopes
    return found if found.shape == like.shape else found.sum_to_size(like.shape)

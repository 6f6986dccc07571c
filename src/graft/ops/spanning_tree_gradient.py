"""The log-partition of spanning trees: compiled where numbers stay in range, in log space where they do not."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd import Function, grad

from graft.ops.chain_kernels import compiler
from graft.ops.spanning_tree import eliminate, eliminate_single


def log_z(
    arcs: Float[Tensor, "b n n"], roots: Float[Tensor, "b n"], exists: Bool[Tensor, "b n"], single: bool
) -> Float[Tensor, " b"]:
    """The log-sum over spanning trees of every row; its derivatives are the probabilities of arcs and roots.

    Derivatives of derivatives are by autograd through the elimination in log space, O(N³) memory.

    Args:
        arcs: log-weights from head (row) to node, double precision.
        roots: log-weights.
        exists: which nodes there are.
        single: whether trees have exactly one root.

    Example:
        >>> zero = torch.zeros(1, 3, 3, dtype=torch.float64)
        >>> log_z(zero, zero[:, 0], torch.ones(1, 3, dtype=torch.bool), single=False).exp()
        tensor([16.0000], dtype=torch.float64)
    """
    if chosen(arcs) == "torch":
        return in_log_space(arcs, roots, exists, single)
    found: Tensor = _LogZ.apply(arcs, roots, exists, single)
    return found


def chosen(arcs: Float[Tensor, "b n n"]) -> str:
    """The kernel for weights like these: `compiled`, or `torch`, which runs anywhere.

    Example:
        >>> chosen(torch.zeros(1, 3, 3))
        'torch'
    """
    here = arcs.device.type == "cpu" and arcs.dtype == torch.float64 and arcs.numel() > 0
    return "compiled" if here and compiler() and not torch.compiler.is_compiling() else "torch"


def in_log_space(arcs: Tensor, roots: Tensor, exists: Tensor, single: bool) -> Float[Tensor, " b"]:
    """The same, whatever the weights."""
    return (eliminate_single if single else eliminate)(arcs, roots, exists)


def _taped(arcs: Tensor, roots: Tensor, exists: Tensor, single: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The log-sum and its derivatives, in log space."""
    with torch.inference_mode(False), torch.enable_grad():
        own = [x.detach().clone().requires_grad_() for x in (arcs, roots)]
        score = in_log_space(own[0], own[1], exists.clone(), single)
        by_arcs, by_roots = grad(score.sum(), own, materialize_grads=True)
    return score.detach(), by_arcs, by_roots


class _LogZ(Function):
    @staticmethod
    def forward(ctx: Any, arcs: Tensor, roots: Tensor, exists: Tensor, single: bool) -> Tensor:
        from graft.ops.cpu.elimination import swept

        score, by_arcs, by_roots, lost = swept(arcs, roots, exists, single)
        if bool(lost.any()):
            score[lost], by_arcs[lost], by_roots[lost] = _taped(arcs[lost], roots[lost], exists[lost], single)
        ctx.save_for_backward(arcs, roots, exists)
        ctx.single, ctx.found = single, (by_arcs, by_roots)
        return score

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor, Tensor, None, None]:
        if not torch.is_grad_enabled():
            by_arcs, by_roots = ctx.found
            return weight[:, None, None] * by_arcs, weight[:, None] * by_roots, None, None
        arcs, roots, exists = ctx.saved_tensors
        with torch.enable_grad():
            own = [x if x.requires_grad else x.detach().requires_grad_() for x in (arcs, roots)]
            score = in_log_space(own[0], own[1], exists, ctx.single)
            by_arcs, by_roots = grad(score, own, weight, create_graph=True, materialize_grads=True)
        return by_arcs, by_roots, None, None

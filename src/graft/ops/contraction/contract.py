r"""The log of a sum of products of tables, $\log \sum_{x} \prod_f f(x_f)$, for a batch of rows, and its derivatives.

Three ways, the first that is right for a row: compiled loops in linear space, matrix products of torch in linear
space (elsewhere than on a CPU, without a compiler, and for derivatives of derivatives), and log space. Linear space
says by itself whether something may have been lost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from graft.ops.chain_kernels import compiler
from graft.ops.contraction.layout import ROW, SHARED, Layout, lay_out
from graft.ops.contraction.linear import linear_space
from graft.ops.contraction.logs import log_space
from graft.ops.contraction.tree import Key, Tree
from graft.ops.contraction.tree import tree as follow

#: Layouts kept, by tree, kinds of inputs and keys asked for.
_KEPT = 64
_layouts: OrderedDict[tuple[int, tuple[int, ...], tuple[Key, ...]], tuple[Tree, Layout]] = OrderedDict()


def log_sum(tables: Sequence[Tensor], tree: Tree, rows: int) -> Tensor:
    """The log of the sum in every row, differentiable to any order; `-inf` with gradient 0 where it is 0.

    Args:
        tables: log-tables, (states of the scope, rows or 1), finite or `-inf`, in the order of the tree's inputs.
        tree: how to go about it.
        rows: how many.

    Returns:
        (rows).

    Example:
        >>> from graft.ops.contraction.tree import tree
        >>> tables = [torch.zeros(2, 3, 1), torch.zeros(3, 1)]
        >>> round(log_sum(tables, tree(["ab", "b"], {"a": 2, "b": 3}, "ab"), 1).exp().item(), 4)
        6.0
    """
    if not tables:
        return torch.zeros(rows)
    if not rows:
        return torch.cat([table.flatten()[:0] for table in tables])
    found: Tensor = _LogSum.apply(tree, rows, *tables)
    return found


def marginals(tables: Sequence[Tensor], tree: Tree, rows: int, asked: Sequence[Key]) -> tuple[Tensor, list[Tensor]]:
    """The log of the sum in every row and the marginals of some keys, from one sweep there and one back.

    Args:
        tables: as in `log_sum`.
        tree: as in `log_sum`.
        rows: how many.
        asked: the keys.

    Returns:
        (rows), and per key (states, rows), meaningless in rows where the sum is 0; differentiable.
    """
    if not tables or not rows:
        return log_sum(tables, tree, rows), [torch.zeros(tree.states[key], rows) for key in asked]
    value, *found = _Marginals.apply(tree, rows, tuple(asked), *tables)
    return value, found


class _Marginals(Function):
    @staticmethod
    def forward(ctx: Any, tree: Tree, rows: int, asked: tuple[Key, ...], *tables: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(*tables)
        ctx.tree, ctx.rows, ctx.asked = tree, rows, asked
        if not _compiled(tables):
            value, found = _by_probes(tables, tree, rows, asked, False)
            return value.detach(), *found
        return _compiled_marginals(tables, tree, rows, asked)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        again = torch.is_grad_enabled()
        with torch.enable_grad():
            tables = ctx.saved_tensors
            inputs = [table if table.requires_grad else table.detach().requires_grad_() for table in tables]
            value, found = _by_probes(inputs, ctx.tree, ctx.rows, ctx.asked, True)
            value = torch.where(value == -torch.inf, 0.0, value)
            outputs = [(o, g) for o, g in zip((value, *found), grads, strict=True) if o.requires_grad]
            result = torch.autograd.grad(
                [o for o, _ in outputs], inputs, [g for _, g in outputs], create_graph=again, allow_unused=True
            )
        return None, None, None, *result


def _compiled_marginals(tables: Sequence[Tensor], tree: Tree, rows: int, asked: tuple[Key, ...]) -> tuple[Tensor, ...]:
    from graft.ops.cpu.contraction import Contraction, entered

    run, dtype = Contraction(_layout(tree, tables, rows, asked), *entered(tables, rows)), _type(tables)
    run.marginals()
    value, answers = torch.from_numpy(run.values), torch.from_numpy(run.answers)
    run.release()
    bad = torch.from_numpy(np.isnan(run.values))
    if bool(bad.any()):
        part, found = _by_probes(_of_rows(tables, bad), tree, int(bad.sum()), asked, False)
        value[bad], answers[bad] = part.detach().double(), torch.cat(found).mT.double()
    states = [tree.states[key] for key in asked]
    return value.to(dtype), *(part.mT.to(dtype) for part in answers.split(states, 1))


def _by_probes(
    tables: Sequence[Tensor], tree: Tree, rows: int, asked: Sequence[Key], again: bool
) -> tuple[Tensor, list[Tensor]]:
    """The same by autograd, right for any range: the derivatives by tables of zeros."""
    scopes = [*tree.scopes[: tree.inputs], *((key,) for key in asked)]
    order = [key for pair in tree.pairs for key in pair.summed]
    with torch.enable_grad():
        probes = [tables[0].detach().new_zeros(tree.states[key], rows).requires_grad_() for key in asked]
        value = _anyhow([*tables, *probes], follow(scopes, tree.states, order), rows)
        possible = torch.where(value == -torch.inf, 0.0, value)
        found = torch.autograd.grad(possible.sum(), probes, create_graph=again)
    return value, list(found)


def _anyhow(tables: Sequence[Tensor], tree: Tree, rows: int) -> Tensor:
    """By torch alone: linear space where that is proven, else log space."""
    value, proven = linear_space(tables, tree)
    value, proven = value.expand(rows), proven.expand(rows)
    if bool(proven.all()):
        return value.to(_type(tables))
    some = log_space(_of_rows(tables, ~proven), tree).expand(int((~proven).sum()))
    if not bool(proven.any()):
        return some.to(_type(tables))
    # chosen rows only, so that what is lost or not a number passes no gradient
    good = linear_space(_of_rows(tables, proven), tree)[0].expand(int(proven.sum()))
    found = value.detach().clone()
    return found.masked_scatter(proven, good).masked_scatter(~proven, some.to(found.dtype)).to(_type(tables))


def _of_rows(tables: Sequence[Tensor], chosen: Tensor) -> list[Tensor]:
    return [table[..., chosen] if table.shape[-1] == len(chosen) else table for table in tables]


def _own(table: Tensor, rows: int) -> bool:
    """Whether each row has its own; a single row has all."""
    return rows == 1 or table.shape[-1] != 1


def _type(tables: Sequence[Tensor]) -> torch.dtype:
    found = tables[0].dtype
    for table in tables:
        found = torch.promote_types(found, table.dtype)
    return found


def _compiled(tables: Sequence[Tensor]) -> bool:
    here = all(table.device.type == "cpu" for table in tables)
    return here and compiler() and not torch.compiler.is_compiling()


def _layout(tree: Tree, tables: Sequence[Tensor], rows: int, asked: Sequence[Key]) -> Layout:
    return laid_out(tree, tuple(ROW if _own(table, rows) else SHARED for table in tables), asked)


def laid_out(tree: Tree, comes: tuple[int, ...], asked: Sequence[Key]) -> Layout:
    """The layout of a tree, made once; see `graft.ops.contraction.layout.lay_out`."""
    label = (id(tree), comes, tuple(asked))
    found = _layouts.get(label)
    if found is None:  # the tree is kept beside it, so that no other can have its id
        found = _layouts[label] = (tree, lay_out(tree, comes, asked))
        while len(_layouts) > _KEPT:
            _layouts.popitem(last=False)
    return found[1]


class _LogSum(Function):
    @staticmethod
    def forward(ctx: Any, tree: Tree, rows: int, *tables: Tensor) -> Tensor:
        ctx.save_for_backward(*tables)
        ctx.tree, ctx.rows = tree, rows
        if not _compiled(tables):
            return _anyhow(tables, tree, rows)
        run = _summed(tree, rows, tables)
        run.release()
        value, bad = torch.from_numpy(run.values), torch.from_numpy(np.isnan(run.values))
        if bool(bad.any()):
            value[bad] = log_space(_of_rows(tables, bad), tree).double().expand(int(bad.sum()))
        return value.to(_type(tables))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        tables = ctx.saved_tensors
        if not torch.is_grad_enabled() and _compiled(tables):
            found = _gradients(ctx.tree, ctx.rows, tables, grad)
            if found is not None:
                return None, None, *found
        return None, None, *_differentiable(ctx, tables, grad)


def _summed(tree: Tree, rows: int, tables: Sequence[Tensor], weights: Tensor | None = None, out: Any = None) -> Any:
    from graft.ops.cpu.contraction import Contraction, entered

    run = Contraction(_layout(tree, tables, rows, ()), *entered(tables, rows))
    run.run(None if weights is None else weights.double().numpy(), out)
    return run


def _gradients(tree: Tree, rows: int, tables: Sequence[Tensor], grad: Tensor) -> list[Tensor] | None:
    """By compiled loops; None if they cannot prove them for all rows."""
    weights = grad.detach()
    own = [_own(table, rows) for table in tables]
    width = sum(table[..., 0].numel() for table, mine in zip(tables, own, strict=True) if mine)
    out = np.zeros((rows, width))
    run = _summed(tree, rows, tables, weights, out)
    shared = None if np.isnan(run.values).any() else run.shared_gradients(weights.numpy())
    layout = run.layout
    run.release()
    if shared is None:
        return None
    found = []
    for table, mine, (_, _, size, at) in zip(tables, own, layout.inputs.tolist(), strict=True):
        source = torch.from_numpy(out).mT if mine else torch.from_numpy(shared)[:, None]
        found.append(source[at : at + size].reshape(table.shape).to(table.dtype))
    return found


def _differentiable(ctx: Any, tables: Sequence[Tensor], grad: Tensor) -> list[Tensor | None]:
    """The gradients, made of operations that autograd knows."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = [table if table.requires_grad else table.detach().requires_grad_() for table in tables]
        value = _anyhow(inputs, ctx.tree, ctx.rows)
        possible = torch.where(value == -torch.inf, 0.0, value)
        return list(torch.autograd.grad((possible * grad).sum(), inputs, create_graph=again, allow_unused=True))


__all__ = ["log_sum", "marginals"]

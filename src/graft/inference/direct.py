"""Sums over networks of plain tables without a tensor per factor: from the parameters straight to the contraction.

The way for calls that want no gradients. What depends on the model and the pattern of the evidence alone is worked out
once; every call reads the parameters anew, where they lie, and only the entries that agree with the evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.autograd import forward_ad

from graft.inference.kept import Kept
from graft.inference.plan import Plan
from graft.inference.problem import Problem
from graft.inference.recipe import Recipe, Source, written
from graft.ops.chain_kernels import compiler

#: Types of parameters whose numbers can be read where they lie.
_PLAIN = (torch.nn.Parameter, Tensor)


def direct(problem: Problem, plan: Plan, marginals: bool) -> tuple[Tensor, dict[str, Tensor]] | None:
    """The log of the sum, (batch), and if wanted the marginal of every unknown, (batch, states).

    Returns:
        None if this way does not serve: factors that are no plain tables, gradients wanted, memory that is not the
        processor's, or results that linear space cannot prove.
    """
    if forward_ad._current_level >= 0:  # tangents travel with tensors
        return None
    recipe = _recipe(problem, plan)
    if recipe is None:
        return None
    read = _read(problem, recipe)
    return None if read is None else _carried_out(problem, recipe, *read, marginals)


def _carried_out(
    problem: Problem, recipe: Recipe, tensors: Sequence[Tensor], values: np.ndarray, dtype: torch.dtype, marginals: bool
) -> tuple[Tensor, dict[str, Tensor]] | None:
    from graft.ops.cpu.contraction import Contraction

    entered = _entered(recipe, tensors, values)
    if entered is None:
        return None
    run = Contraction(recipe.asking if marginals else recipe.summing, *entered)
    run.marginals() if marginals else run.run()
    run.release()
    if np.isnan(run.values).any():
        return None
    batch, found = problem.frame.batch, {}
    value = torch.from_numpy(run.values).to(dtype).reshape(batch)
    if marginals:
        keys, states = recipe.step.order.keys, recipe.step.tree.states
        answers = torch.from_numpy(run.answers).to(dtype).reshape(*batch, -1)
        parts = answers.split_with_sizes([states[key] for key in keys], -1)
        found = {key[0]: part for key, part in zip(keys, parts, strict=True)}  # type: ignore[index]
    return value, found


def _entered(recipe: Recipe, tensors: Sequence[Tensor], values: np.ndarray) -> Any:
    """The tables in linear space, of each row and of all, and the logs of what they are to be multiplied by."""
    from graft.ops.cpu import entries

    single = torch.float32
    addresses = np.array([(t.data_ptr(), t.dtype == single) for t in tensors], np.int64)
    whole = np.empty(recipe.whole)
    good = not recipe.whole or entries.normalise(recipe.tables, addresses, whole)
    found, logs = [], [np.zeros(1), np.zeros(recipe.rows)]
    for own, rows, width in ((False, 1, recipe.widths[1]), (True, recipe.rows, recipe.widths[0])):
        out = np.empty(rows * width)
        if width:
            good = good and entries.tabulate(
                own, rows, recipe.tables, addresses, recipe.index, recipe.knowns, values, whole, out, width, logs[own]
            )
        found.append(out.reshape(rows, width))
    return (found[1], found[0], logs[1] + logs[0]) if good else None


def _read(problem: Problem, recipe: Recipe) -> tuple[list[Tensor], np.ndarray, torch.dtype] | None:
    """The tensors whose numbers are read, and the known states, (evidence and a count of rows, rows)."""
    given, tensors, dtype = problem.situation.given, [], problem.frame.dtype
    for source in recipe.sources:
        tensor = source.tensor() if source.module is not None else _weights(problem, source, recipe.rows)
        if tensor is None or not _readable(tensor):
            return None
        if tensor.dtype != dtype:
            dtype = torch.promote_types(dtype, tensor.dtype)
        tensors.append(tensor)
    values = np.empty((len(recipe.evidence) + 1, recipe.rows), np.int64)
    for number, name in enumerate(recipe.evidence):
        known = given[name].value
        if known is None or known.is_floating_point() or known.shape != problem.frame.batch:
            return None
        values[number] = known.numpy().reshape(-1)
    values[-1] = np.arange(recipe.rows)
    return tensors, values, dtype


def _readable(tensor: Tensor) -> bool:
    """Whether its numbers lie in a row in memory, and nobody wants gradients of what is made of them."""
    if type(tensor) not in _PLAIN or not tensor.is_cpu or tensor.layout != torch.strided:
        return False
    if not tensor.is_contiguous() or tensor.is_neg() or is_functorch_wrapped_tensor(tensor):
        return False
    if tensor.dtype != torch.float64 and tensor.dtype != torch.float32:
        return False
    return not (tensor.requires_grad and torch.is_grad_enabled())


def _weights(problem: Problem, source: Source, rows: int) -> Tensor | None:
    mask = problem.situation.given[source.name].log_mask
    if mask is None:
        return None
    return mask.expand(*problem.frame.batch, mask.shape[-1]).reshape(rows, mask.shape[-1]).contiguous()


def _recipe(problem: Problem, plan: Plan) -> Recipe | None:
    situation = problem.situation
    if problem.shape is None or problem.shape.sketches is not problem.sketches or not compiler():
        return None
    if problem.frame.device.type != "cpu" or torch.compiler.is_compiling() or not prod(problem.frame.batch):
        return None
    if any(given.cells is not None or given.dead is not None for given in situation.given.values()):
        return None
    label = (problem.shape, id(plan))
    return _recipes.get(situation.graph, label, lambda: (written(problem, plan), plan))[0]


#: Recipes by what they are for, with the plan, so that no other can have its id; None where there is none.
_recipes: Kept[tuple[Recipe | None, Plan]] = Kept()

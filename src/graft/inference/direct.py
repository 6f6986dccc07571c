"""Sums over networks of plain tables without a tensor per factor: from the parameters straight to the contraction.

The way for calls that want no gradients. What depends on the model and the pattern of the evidence alone is worked out
once; every call reads the parameters anew, where they lie, and only the entries that agree with the evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan, prod
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
_DTYPES = (torch.float64, torch.float32)


@dataclass(eq=False)
class Found:
    """A sum over plain tables.

    Attributes:
        logs: of the sum, by row, in double precision.
        least: of these.
        batch: the shape of the rows.
        dtype: of what is answered.
        marginals: of every unknown, (batch, states), if they were wanted.
    """

    logs: np.ndarray
    least: float
    batch: tuple[int, ...]
    dtype: torch.dtype
    marginals: dict[str, Tensor] = field(default_factory=dict)

    @property
    def value(self) -> Tensor:
        """The log of the sum, (batch)."""
        return torch.from_numpy(self.logs).to(self.dtype).reshape(self.batch)


def direct(problem: Problem, plan: Plan, marginals: bool) -> Found | None:
    """The log of the sum, and if wanted the marginal of every unknown.

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
) -> Found | None:
    from graft.ops.cpu.contraction import Contraction

    entered = _entered(recipe, tensors, values)
    if entered is None:
        return None
    run = Contraction(recipe.asking if marginals else recipe.summing, *entered)
    run.marginals() if marginals else run.run()
    run.release()
    least = float(run.values.min())
    if isnan(least):
        return None
    found = Found(run.values, least, problem.frame.batch, dtype)
    if marginals:
        names, sizes = recipe.answers
        answers = torch.from_numpy(run.answers.reshape(*found.batch, -1))
        answers = answers if dtype == torch.float64 else answers.to(dtype)
        found.marginals = dict(zip(names, answers.split_with_sizes(sizes, -1), strict=True))
    return found


def _entered(recipe: Recipe, tensors: Sequence[Tensor], values: np.ndarray) -> Any:
    """The tables in linear space, of each row and of all, and the logs of what they are to be multiplied by."""
    from graft.ops.cpu import entries

    single = torch.float32
    lie = [number for t in tensors for number in (t.data_ptr(), t.dtype == single)]
    addresses = np.array(lie, np.int64).reshape(-1, 2)
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
    return (found[1], found[0], logs[1] + logs[0] if recipe.widths[1] else logs[1]) if good else None


def _read(problem: Problem, recipe: Recipe) -> tuple[list[Tensor], np.ndarray, torch.dtype] | None:
    """The tensors whose numbers are read, and the known states, (evidence and a count of rows, rows)."""
    given, tensors, dtype = problem.situation.given, [], problem.frame.dtype
    differentiated = torch.is_grad_enabled()
    for source in recipe.sources:
        tensor = source.tensor() if source.module is not None else _weights(problem, source, recipe.rows)
        if tensor is None or (differentiated and tensor.requires_grad) or not _readable(tensor):
            return None
        if tensor.dtype != dtype:
            dtype = torch.promote_types(dtype, tensor.dtype)
        tensors.append(tensor)
    known = [given[name].value for name in recipe.evidence]
    if any(value is None or value.dtype != torch.int64 or value.shape != problem.frame.batch for value in known):
        return None
    return tensors, _states(known, recipe.rows), dtype


def _states(known: Sequence[Any], rows: int) -> np.ndarray:
    """The known states and a count of rows, (evidence and the count, rows)."""
    if rows == 1:
        return np.array([*(value.item() for value in known), 0], np.int64).reshape(-1, 1)
    values = np.empty((len(known) + 1, rows), np.int64)
    for number, value in enumerate(known):
        values[number] = value.numpy().reshape(-1)
    values[-1] = np.arange(rows)
    return values


def _readable(tensor: Tensor) -> bool:
    """Whether its numbers lie in a row in memory."""
    return (
        type(tensor) in _PLAIN
        and tensor.dtype in _DTYPES
        and tensor.is_cpu
        and tensor.layout == torch.strided
        and tensor.is_contiguous()
        and not tensor.is_neg()
        and not is_functorch_wrapped_tensor(tensor)
    )


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

"""The k best assignments of a single chain, by its own kernel: O(T) steps of one size, where elimination unrolls."""

from __future__ import annotations

import torch
from torch import Tensor

from graft.errors import IntractableError
from graft.inference.chains import ChainTables
from graft.inference.plan import Chain
from graft.inference.query import Query
from graft.inference.sweep import Assignment, with_axes
from graft.ops.dense import sum_from


def k_best_of_chain(query: Query, k: int) -> tuple[Assignment, Tensor] | None:
    """The k assignments of greatest score, or None if what is unknown is not one chain.

    Args:
        query: about everything unknown.
        k: how many.

    Returns:
        States by variable, (k, batch, axes), and scores (k, batch), `-inf` where there are fewer than k.

    Raises:
        IntractableError: the list does not fit the budget.
    """
    problem, step = query.problem, query.plan.steps[0] if len(query.plan.steps) == 1 else None
    if not isinstance(step, Chain) or step.common or not problem.sizes[step.letter]:
        return None
    size, states_each = problem.sizes[step.letter], problem.unknowns[step.name].states
    fits(k, torch.Size(problem.frame.batch).numel() * size * states_each, query.budget)
    tables = ChainTables(problem, step, dict(enumerate(query.tables)))
    states, scores = tables.build().top_k(k)
    rest = tables.constant
    for number in query.plan.constants:
        rest = rest + sum_from(query.tables[number].dense(problem.frame, problem.sizes), problem.frame.rank)
    return {step.name: with_axes(problem, step.name, states, (step.letter,))}, torch.add(scores, rest)


def fits(k: int, each: int, budget: int) -> None:
    """Refuse a list that is too long, before it is made.

    Args:
        k: how many.
        each: whole numbers that one of them takes.
        budget: bytes.

    Raises:
        IntractableError: it takes more.
    """
    if k * each * 8 > budget:
        raise IntractableError(
            f"a list of {k} assignments takes {k * each * 8} bytes, the budget is {budget}. What would serve: a "
            "smaller k, a smaller batch, or a greater budget="
        )

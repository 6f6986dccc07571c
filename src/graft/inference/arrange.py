"""A log-table brought to the axes that a step of a plan works on."""

from __future__ import annotations

from torch import Tensor

from graft.inference.problem import Problem
from graft.inference.tables import LogTable


def arranged(problem: Problem, table: LogTable, letters: tuple[str, ...]) -> Tensor:
    """(slots, batch, letters): axes the target lacks are summed (a product over independent elements)."""
    tensor, lead = table.dense(problem.frame, problem.sizes), len(table.slots) + problem.frame.rank
    gone = [lead + i for i, x in enumerate(table.letters) if x not in letters]
    if gone:
        tensor = tensor.sum(gone)
    have = tuple(x for x in table.letters if x in letters)
    order = [lead + have.index(x) for x in letters if x in have]
    tensor = tensor.permute(
        (
            *range(lead),
            *order,
        )
    )
    for place, letter in enumerate(letters):
        if letter not in have:
            tensor = tensor.unsqueeze(lead + place)
    return tensor

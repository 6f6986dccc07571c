"""The likelihood where it can be had exactly, in pieces of as many rows as fit."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

from graft.errors import IntractableError
from graft.evaluation.rows import Rows
from graft.graph.nodes import Node
from graft.inference.settle import Situation
from graft.model import Model
from graft.objectives.truth import told

#: Numbers that the widest factor may return over all states of what it reads, for the rows of one call together.
NUMBERS = 2**25


def exactly(model: Model, rows: Rows) -> Float64[Tensor, " rows"] | None:
    r"""$\log p(x)$ of every row; None where no exact engine can, or the states are too many to go through.

    A vector of units that a network reads has $2^D$ states, and the network is called on each: tables of the plan may
    be small where what the network returns is not.
    """
    states = _widest(model, rows)
    size = min(rows.count, NUMBERS // states)
    while size:
        try:
            found = [_log_prob(model, rows, start, stop) for start, stop in rows.pieces(size)]
        except IntractableError:
            if not _one_does(model, rows):
                return None
            size //= 2
            continue
        return torch.cat(found)
    return None


def _one_does(model: Model, rows: Rows) -> bool:
    """Whether a row alone can be summed."""
    try:
        _log_prob(model, rows, 0, 1)
    except IntractableError:
        return False
    return True


def _log_prob(model: Model, rows: Rows, start: int, stop: int) -> Tensor:
    values, options = told(rows.take(start, stop), "log_likelihood")
    return model.log_prob(values, **options).reshape(-1).cpu().double()


def _widest(model: Model, rows: Rows) -> int:
    """Numbers of a row that the widest factor returns over all states of what it reads."""
    values, options = told(rows.take(0, 1), "log_likelihood")
    situation = model.settled(values, **options)
    return max((_numbers(node, situation) for node in model.graph.nodes if node.kind != "potential"), default=1)


def _numbers(node: Node, situation: Situation) -> int:
    found = 1
    for term in node.reads:
        given = situation.given.get(term.name)
        support = situation.graph.variables[term.name].support
        if given is not None and given.value is not None and given.cells is None:
            continue
        found *= 1 if support is None or support.states is None else support.states
    support = situation.graph.variables[node.head.name].support
    event = 1 if support is None else max(1, torch.Size(support.event_shape).numel())
    for letter in node.letters:
        found *= max(1, situation.frame.sizes[letter])
    return found * event

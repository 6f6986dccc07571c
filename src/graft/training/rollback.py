"""Either all of a change to what is trained happens, or none of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from graft.training.loop import Loop
from graft.training.weights import kept


@contextmanager
def all_or_nothing(loop: Loop) -> Iterator[None]:
    """If what is done inside fails, the caller's objective, optimiser, schedule and generators are as before.

    Args:
        loop: that they are in.
    """
    objective, optimizer = loop.learner.objective, loop.learner.optimizer
    weights, data = kept(objective), loop.data.state()
    rates, schedule = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(loop.schedule.state())
    try:
        yield
    except BaseException:
        objective.load_state_dict(weights)
        optimizer.load_state_dict(rates)
        loop.schedule.restore(schedule)
        loop.data.restore(data)
        raise

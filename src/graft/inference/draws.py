"""Values out: states decoded, what is barren drawn, everything back where the user's elements stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.distributions import Distribution

from graft.errors import GraftError
from graft.graph.nodes import Variable
from graft.graph.recurrence import schedule
from graft.inference.frame import Frame
from graft.inference.problem import Problem
from graft.inference.run import Runner
from graft.inference.settle import Situation
from graft.inference.store import Store
from graft.inference.sweep import Assignment
from graft.inference.values import Value


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draws repeatable by a seed, the global random state left as it was."""
    if seed is None:
        yield
        return
    if not isinstance(seed, int):
        raise GraftError(f"seed must be a whole number, not {seed!r}")
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def decoded(problem: Problem, states: Assignment) -> dict[str, Tensor]:
    """Values (draws, batch, axes, event) from states."""
    found = {}
    for name, index in states.items():
        support = problem.situation.graph.variables[name].support
        assert support is not None
        if problem.unknowns[name].axes == problem.situation.graph.variables[name].axes:
            found[name] = support.decode(index)
        else:  # units of their own
            found[name] = index.to(torch.get_default_dtype())
    return found


def outward(values: Mapping[str, Tensor], variables: Mapping[str, Variable], frame: Frame) -> dict[str, Tensor]:
    """Compact values as the user sees them: original places, 0 where nothing exists."""
    return {name: visible(value, variables[name].axes, frame) for name, value in values.items()}


def visible(value: Tensor, letters: tuple[str, ...], frame: Frame) -> Tensor:
    """One such value, (batch, letters, ...)."""
    mask = frame.exists(letters)
    if mask is None:
        return value
    mask = mask.reshape((*mask.shape, *(1,) * (value.dim() - mask.dim())))
    return frame.restore(torch.where(mask, value, torch.zeros((), dtype=value.dtype, device=value.device)), letters)


def complete(
    situation: Situation,
    chosen: Mapping[str, Tensor],
    shape: tuple[int, ...],
    draw: Callable[[Distribution], Tensor],
) -> dict[str, Tensor]:
    """Draw everything that is neither given nor chosen, in ancestral order.

    Args:
        situation: of the call.
        chosen: values drawn already, (shape, batch, axes, event), compact.
        shape: of the draws.
        draw: how.

    Returns:
        All random and computed variables that were not given, compact.
    """
    graph, frame = situation.graph, situation.frame.expanded(shape)
    store = Store(frame, graph.variables)
    holes = {n: g for n, g in situation.given.items() if g.cells is not None and n not in chosen}
    for name, given in situation.given.items():
        if given.value is not None and name not in chosen and name not in holes:
            store.values[name] = Value(given.value.expand((*shape, *given.value.shape)))
    for name, value in chosen.items():
        store.values[name] = Value(value)
    known = set(store.values)
    nodes = [
        node
        for name in (*graph.random, *graph.computed)
        if name not in known
        for node in (graph.variables[name].functions or graph.variables[name].conditionals)
    ]
    runner = Runner(store, draw, situation.ready, separate=frozenset(holes))
    runner.run(schedule(nodes, graph.variables))
    for name, given in holes.items():
        # cells are independent given the parents, so the known ones stand beside drawn ones
        assert given.cells is not None and given.value is not None
        store.values[name] = Value(torch.where(given.cells, store.values[name].tensor, given.value))
    names = [name for name in graph.variables if name not in graph.inputs]
    whole = {n for n, g in situation.given.items() if g.value is not None and g.cells is None}
    return {name: store.values[name].tensor for name in names if name not in whole and name in store.values}

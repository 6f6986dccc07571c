"""What every factor receives and returns, found by running the model once with a listener on its calls."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor
from torch.distributions import Distribution

from graft.factors.base import TablePotential
from graft.graph.nodes import Node
from graft.graph.recurrence import schedule
from graft.inference.domain import window
from graft.inference.run import Runner
from graft.inference.scoring import Scorer
from graft.inference.settle import Situation
from graft.inference.store import Store
from graft.inference.values import Value


@dataclass(frozen=True)
class Shape:
    """A shape in three parts.

    Attributes:
        batch: the batch dimensions.
        axes: those of the factor; size 1 where an input lacks one.
        event: axes read whole, then the event.
    """

    batch: tuple[int, ...]
    axes: tuple[int, ...]
    event: tuple[int, ...]

    def __str__(self) -> str:
        return " | ".join(",".join(map(str, part)) or "-" for part in (self.batch, self.axes, self.event))


@dataclass(frozen=True)
class Entry:
    """One factor's call.

    Attributes:
        formula: as written.
        receives: the shape of each input (and, for an opaque potential, of each left term), by term.
        returns: the shape of the value, distribution or table.
    """

    formula: str
    receives: tuple[tuple[str, Shape], ...]
    returns: Shape


@dataclass(frozen=True)
class ShapeReport:
    """All factors' calls, in the order of the model; `str` prints them as batch | axes | event.

    Attributes:
        entries: one per factor that stands somewhere.
    """

    entries: tuple[Entry, ...]

    def __getitem__(self, formula: str) -> Entry:
        return next(entry for entry in self.entries if entry.formula == formula)

    def __str__(self) -> str:
        table = Table("factor", "receives", "returns", title="batch | axes | event")
        for entry in self.entries:
            lines = "\n".join(f"{term}: {shape}" for term, shape in entry.receives)
            table.add_row(escape(entry.formula), escape(lines or "nothing"), escape(str(entry.returns)))
        out = StringIO()
        Console(file=out, width=110, force_terminal=False, color_system=None).print(table)
        return out.getvalue().rstrip()


class _Listener:
    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.rank = situation.frame.rank
        self.found: dict[Node, Entry] = {}

    def __call__(self, node: Node, inputs: tuple[Tensor, ...], out: Any, axes: int) -> None:
        opaque = node.kind == "potential" and not isinstance(node.module, TablePotential)
        terms = node.terms if opaque else node.reads
        receives = [(str(t), self._split(tuple(x.shape), axes)) for t, x in zip(terms, inputs, strict=False)]
        if isinstance(out, Distribution):
            shape = self._split(tuple(out.batch_shape), axes, tuple(out.event_shape))
        elif not node.reads and isinstance(node.module, TablePotential):
            shape = Shape((), (), tuple(out.shape))
        else:
            shape = self._split(tuple(out.shape), axes)
        self.found[node] = Entry(node.formula.text, tuple(receives), shape)

    def as_given(self, node: Node) -> None:
        """A factor of inputs alone: they arrive as given, the output carries the axes."""
        ready = self.situation.ready
        variables, receives = self.situation.graph.variables, []
        for term in node.reads:
            shape = tuple(ready.inputs[term.name].shape)
            receives.append((str(term), self._split(shape, len(variables[term.name].axes))))
        out = ready.output(node)
        event = tuple(out.event_shape) if isinstance(out, Distribution) else None
        shape = tuple(out.batch_shape if isinstance(out, Distribution) else out.shape)
        self.found[node] = Entry(node.formula.text, tuple(receives), self._split(shape, len(node.letters), event))

    def _split(self, shape: tuple[int, ...], axes: int, event: tuple[int, ...] | None = None) -> Shape:
        end = self.rank + axes
        if event is not None:
            # a distribution may leave out leading dimensions along which it does not vary
            shape = (1,) * (end - len(shape)) + shape
        return Shape(shape[: self.rank], shape[self.rank : end], shape[end:] if event is None else event)


def report(situation: Situation) -> ShapeReport:
    """Run every factor once.

    Args:
        situation: of the call; what it does not give is drawn, or (under potentials alone) in its first state.

    Raises:
        GraftError: as the run itself would.
    """
    graph, frame = situation.graph, situation.frame
    listener, store = _Listener(situation), Store(frame, graph.variables)
    store.listener = listener
    for name, given in situation.given.items():
        if given.value is not None:
            store.values[name] = Value(given.value)
    for name in graph.random:
        variable = graph.variables[name]
        if name not in store.values and not variable.conditionals and variable.support is not None:
            store.values[name] = _first(situation, name)
    nodes = [
        node
        for name in (*graph.random, *graph.computed)
        if name not in store.values
        for node in (graph.variables[name].functions or graph.variables[name].conditionals)
    ]
    with torch.no_grad():
        Runner(store, lambda dist: dist.sample(), situation.ready).run(schedule(nodes, graph.variables))
        scorer = Scorer(store, situation.ready, {}, short=False)
        for node in graph.nodes:
            where = window(node, graph.variables, frame)
            if node in situation.ready:
                listener.as_given(node)
            elif node.kind != "function" and where is not None:
                scorer.table(node, where, evidence=True)
    return ShapeReport(tuple(listener.found[node] for node in graph.nodes if node in listener.found))


def _first(situation: Situation, name: str) -> Value:
    """The first state (or zeros) at every element."""
    variable, frame = situation.graph.variables[name], situation.frame
    support = variable.support
    assert support is not None
    shape = frame.shape(variable.axes)
    if support.states is None:
        return Value(torch.zeros(*shape, *support.event_shape, dtype=frame.dtype, device=frame.device))
    return Value(support.decode(torch.zeros(shape, dtype=torch.long, device=frame.device)))

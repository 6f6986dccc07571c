"""A sum over plain tables in numbers, as compiled loops want them: worked out once for a model and what is known."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from torch import Tensor

from graft.distributions.supports import Finite
from graft.factors.categorical import Categorical
from graft.factors.tables import Table
from graft.graph.terms import Term
from graft.inference.plan import General, Plan
from graft.inference.problem import Problem, Sketch
from graft.ops.contraction.contract import laid_out
from graft.ops.contraction.layout import ROW, SHARED, Layout, offsets


@dataclass(frozen=True, eq=False)
class Source:
    """Where the numbers of a table come from.

    Attributes:
        module: whose parameter it is; None for evidence.
        shape: of the parameter.
        name: of the unknown, for evidence on its states.
    """

    module: Categorical | Table | None
    shape: tuple[int, ...]
    name: str = ""

    def tensor(self) -> Tensor | None:
        """The parameter, if it is what it was when the recipe was made."""
        module = self.module
        assert module is not None
        conditional = isinstance(module, Categorical)
        if conditional and module.net is not None:
            return None
        name = "table" if conditional else "values"
        # a network of many tables waits for how modules look up their attributes
        found: Tensor | None = module._parameters.get(name)
        if found is None:
            found = getattr(module, name)
        return found if found.shape == self.shape else None


@dataclass(eq=False)
class Recipe:
    """A sum over tables in numbers, as compiled loops want them.

    Attributes:
        plan: what it carries out; kept, so that no other can have its id.
        step: the one elimination of the plan.
        rows: of the batch.
        evidence: variables whose values pick entries, in the order of their numbers.
        sources: per table.
        tables: their descriptions, see `graft.ops.cpu.entries`.
        index: places within tables.
        knowns: known axes.
        widths: entries of a row of all tables that are its own, and of those that all rows share.
        whole: entries of the tables that are normalised beforehand.
    """

    plan: Plan
    step: General
    rows: int
    evidence: tuple[str, ...]
    sources: tuple[Source, ...]
    tables: np.ndarray
    index: np.ndarray
    knowns: np.ndarray
    widths: tuple[int, int]
    whole: int

    @cached_property
    def asking(self) -> Layout:
        """The contraction with all marginals."""
        return laid_out(self.step.tree, self.comes, self.step.order.keys)

    @cached_property
    def summing(self) -> Layout:
        """The contraction alone."""
        return laid_out(self.step.tree, self.comes, ())

    @cached_property
    def answers(self) -> tuple[list[str], list[int]]:
        """The unknowns in the order of their marginals, and their states."""
        keys, states = self.step.order.keys, self.step.tree.states
        return [key[0] for key in keys], [states[key] for key in keys]  # type: ignore[index]

    @cached_property
    def comes(self) -> tuple[int, ...]:
        from graft.ops.cpu import entries

        return tuple(ROW if own else SHARED for own in self.tables[: self.step.tree.inputs, entries.OWN])


def written(problem: Problem, plan: Plan) -> Recipe | None:
    """The recipe of a plan; None unless it is one elimination of plain tables over single variables."""
    return _Writer(problem, plan).recipe()


class _Writer:
    """Describes the tables of a problem in numbers."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self.problem, self.plan, self.rows = problem, plan, prod(problem.frame.batch)
        self.evidence: dict[str, int] = {}
        self.index: list[np.ndarray] = []
        self.knowns: list[tuple[int, int]] = []
        self.filled, self.whole, self.widths = 0, 0, [0, 0]

    def recipe(self) -> Recipe | None:
        step = self._only_step()
        if step is None:
            return None
        numbers = [*(instance.table for instance in step.instances), *self.plan.constants]
        sources = [self._source(self.problem.sketches[number]) for number in numbers]
        if any(source is None for source in sources):
            return None
        names = {term.name for number in numbers for term in self._terms(self.problem.sketches[number])}
        known = sorted(name for name in names if name not in self.problem.unknowns)
        self.evidence = {name: place for place, name in enumerate(known)}
        found = [s for s in sources if s is not None]
        tables = [self._table(self.problem.sketches[n], s) for n, s in zip(numbers, found, strict=True)]
        return Recipe(
            self.plan, step, self.rows, tuple(known), tuple(found), np.array(tables, np.int64),
            np.concatenate(self.index), np.array(self.knowns, np.int64).reshape(-1, 2),
            (self.widths[0], self.widths[1]), self.whole,
        )  # fmt: skip

    def _only_step(self) -> General | None:
        """The elimination, if it is all there is to do and every table stands in it as it is."""
        step = self.plan.steps[0] if len(self.plan.steps) == 1 else None
        if not isinstance(step, General) or self.problem.relevant.functions:
            return None
        whole = all(not i.at and not i.ends and None not in i.keys for i in step.instances)
        return step if whole and not step.common and not step.free else None

    def _terms(self, sketch: Sketch) -> tuple[Term, ...]:
        """The axes of a parameter, in order."""
        if sketch.node is None:
            return sketch.slots
        node = sketch.node
        return (*node.reads, node.head) if node.kind == "conditional" else node.formula.left

    def _source(self, sketch: Sketch) -> Source | None:
        """None if a table is not plain: a parameter over single variables of as many states."""
        node, terms = sketch.node, self._terms(sketch)
        if node is None:
            unknown = self.problem.unknowns[sketch.name]
            return None if unknown.axes else Source(None, (unknown.states,), sketch.name)
        module = node.module
        if type(module) is Categorical and module.net is None and node.kind == "conditional":
            source = Source(module, tuple(module.table.shape))
        elif type(module) is Table and not node.reads:
            source = Source(module, tuple(module.values.shape))
        else:
            return None
        fits = len(terms) == len(source.shape) and len({term.name for term in terms}) == len(terms)
        return source if fits and all(map(self._single, terms, source.shape)) else None

    def _single(self, term: Term, size: int) -> bool:
        """Whether a term is one random variable of so many states."""
        variable = self.problem.situation.graph.variables[term.name]
        support = variable.support
        finite = isinstance(support, Finite) and support.states == size and not support.event_rank
        return finite and not variable.axes and variable.is_random

    def _table(self, sketch: Sketch, source: Source) -> list[int]:
        names = [term.name for term in self._terms(sketch)]
        states: dict[Hashable, int] = dict(zip(names, source.shape, strict=True))
        slots = [slot.name for slot in sketch.slots]
        normalised = isinstance(source.module, Categorical)
        strides = {name: prod(source.shape[place + 1 :]) for place, name in enumerate(names)}
        child = names[-1] if normalised else None
        read = [name for name in slots if name != child]
        first = len(self.knowns)
        self.knowns += [(self.evidence[n], strides[n]) for n in names if n in self.evidence and n != child]
        if source.module is None:
            self.knowns.append((len(self.evidence), source.shape[0]))
        size, rows = prod(states[name] for name in slots), prod(states[name] for name in read)
        own = self.rows == 1 or len(self.knowns) > first or child in self.evidence
        whole = normalised and own and self.rows > 1 and self.rows * rows > prod(source.shape[:-1])
        return [
            int(normalised), states[child] if child else 1, rows, self._put(offsets(states, names, read)),
            self._put(offsets(states, slots, read)), self._step(slots, states, child), first,
            len(self.knowns) - first, self.evidence.get(child, -1) if child else -1, int(own),
            self._beside(own, size), size, self._whole(prod(source.shape)) if whole else -1, prod(source.shape),
        ]  # fmt: skip

    def _step(self, slots: Sequence[str], states: Mapping[Hashable, int], child: str | None) -> int:
        return prod(states[name] for name in slots[slots.index(child) + 1 :]) if child in slots else 1

    def _put(self, places: np.ndarray) -> int:
        self.index.append(places)
        self.filled += len(places)
        return self.filled - len(places)

    def _beside(self, own: bool, size: int) -> int:
        """The next place among the tables that come alike, in the order that layouts have too."""
        side = 0 if own else 1
        self.widths[side] += size
        return self.widths[side] - size

    def _whole(self, size: int) -> int:
        self.whole += size
        return self.whole - size

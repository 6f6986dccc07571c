"""From factors to log-tables: every conditional and potential at what is known, all states of what is not."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Categorical

from graft.distributions.marginal import log_prob, log_prob_observed
from graft.errors import GraftError, ShapeError
from graft.factors.base import TablePotential
from graft.graph.nodes import Node
from graft.graph.terms import Term
from graft.inference.calls import call_here, checked, fits, potential_here
from graft.inference.domain import Windows, natural, valid
from graft.inference.frame import Frame
from graft.inference.inputs_only import InputsOnly
from graft.inference.pieces import narrowed
from graft.inference.plain_tables import plain_table
from graft.inference.ready import Ready
from graft.inference.store import Store
from graft.inference.tables import LogTable
from graft.structured.checks import usable


class Scorer:
    """Turns factors into log-tables.

    Args:
        store: values of what is known, names of what is not.
        ready: outputs of factors that read only inputs.
        cells: missing cells of observed continuous variables, by name.
        short: take tables over single variables as they are, without a call of their factor.
    """

    def __init__(
        self, store: Store, ready: InputsOnly | dict[Node, Ready], cells: dict[str, Tensor], short: bool = True
    ) -> None:
        self.store, self.ready, self.cells, self.short = store, ready, cells, short

    def table(self, node: Node, where: Windows, evidence: bool) -> LogTable:
        """The log-table of one factor on its window."""
        store = self.store
        found = plain_table(node, store) if self.short and node not in self.ready and not self.cells else None
        if found is not None:
            table = LogTable(found[1], (), found[0], {}, None, evidence, True)
            _refuse_unusable(table, store.frame, node)
            return table
        if node.kind == "conditional":
            tensor, slots = self._conditional(node, where)
        elif isinstance(node.module, TablePotential):
            tensor, slots = self._table(node, where)
        else:
            tensor, slots = potential_here(node, store, where)
        tensor = _ranked(tensor, len(slots), lead_of(node, where, store.frame), node)
        mask = valid(node, store.variables, store.frame)
        table = LogTable(slots, node.letters, tensor, where, mask, evidence, natural(node, store.variables))
        _refuse_unusable(table, store.frame, node)
        return table

    def _conditional(self, node: Node, where: Windows) -> tuple[Tensor, tuple[Term, ...]]:
        store, variable = self.store, self.store.variables[node.head.name]
        if node in self.ready:
            return self._conditional_ready(node, where)
        out, parents = call_here(node, store, where)
        slot_sizes = tuple(self._states(slot) for slot in parents)
        dist = checked(out, node, slot_sizes + lead_of(node, where, store.frame), variable)
        if node.head.name in store.latent and isinstance(dist, Categorical):
            return _all_states(dist.logits, len(parents), store.frame, node), (node.head, *parents)
        value = store.read(node.head, node.letters, where)
        slots = (*(slot for slot in value.slots if slot not in parents), *parents)
        tensor = _some_state(value.aligned(slots))
        cells = self.cells.get(node.head.name)
        if cells is None:
            return log_prob(dist, tensor), slots
        there = store.read_cells(node, cells, where).aligned(slots)
        return log_prob_observed(dist, tensor, ~there, str(node)), slots

    def _conditional_ready(self, node: Node, where: Windows) -> tuple[Tensor, tuple[Term, ...]]:
        """The conditional was called on whole axes in the user's order: score there, then cut the window."""
        store, ready = self.store, self.ready[node]
        checked(ready.output, node, ready.base.shape(node.letters), store.variables[node.head.name])
        start = store.frame.rank
        if node.head.name in store.latent and isinstance(ready.output, Categorical):
            logits = ready.logits(store.frame)
            table = _all_states(narrowed(logits, node.letters, where, start), 0, store.frame, node)
            return table, (node.head,)
        whole = {x: (0, store.frame.sizes[x]) for x in node.letters}
        value = store.read(node.head, node.letters, whole)
        cells = self.cells.get(node.head.name)
        if cells is None:
            found = ready.log_prob(_some_state(value.tensor), len(value.slots), store.frame)
        else:
            there = store.read_cells(node, cells, whole)
            found = ready.log_prob_observed(value.tensor, ~there.tensor, store.frame, str(node))
        return narrowed(found, node.letters, where, len(value.slots) + start), value.slots

    def _table(self, node: Node, where: Windows) -> tuple[Tensor, tuple[Term, ...]]:
        """A table of potentials: unknown terms stay dimensions, known ones are looked up."""
        store, count = self.store, len(node.formula.left)
        if node in self.ready:
            table = narrowed(self.ready[node].tensor(store.frame), node.letters, where, store.frame.rank)
            parents: tuple[Term, ...] = ()
        else:
            table, parents = call_here(node, store, where)
        lead = len(parents) + (store.frame.rank + len(node.letters) if node.reads else 0)
        if table.dim() != lead + count:
            rule = f"{node}: the table has shape {tuple(table.shape)}, not leading dimensions {lead} and one axis"
            raise ShapeError(f"{rule} of states per left term ({count})")
        if not node.reads:
            shape = (1,) * (store.frame.rank + len(node.letters))
            table = table.reshape(*shape, *table.shape)
        _sizes(node, table, store)
        return _looked_up(node, table, parents, store, where)

    def _states(self, slot: Term) -> int:
        support = self.store.variables[slot.name].support
        assert support is not None and support.states is not None
        return support.states


def _some_state(value: Tensor) -> Tensor:
    """*No state* stands only where the factor does not; distributions would refuse it there too."""
    return value if value.is_floating_point() else value.clamp_min(0)


def _ranked(tensor: Tensor, slots: int, lead: tuple[int, ...], node: Node) -> Tensor:
    """A log-factor with all of its leading dimensions, size 1 where it does not vary."""
    missing = slots + len(lead) - tensor.dim()
    if missing > 0:
        tensor = tensor.reshape(*tensor.shape[:slots], *(1,) * missing, *tensor.shape[slots:])
    fits(tuple(tensor.shape[slots:]), lead, node, "log-factor")
    return tensor


def lead_of(node: Node, where: Windows, frame: Frame) -> tuple[int, ...]:
    """Batch, then the window's size of each axis."""
    return frame.batch + tuple(where[x][1] - where[x][0] for x in node.letters)


def _all_states(logits: Tensor, parents: int, frame: Frame, node: Node) -> Tensor:
    """(parents, batch, letters, states) with the states first and missing leading dimensions added."""
    rank = parents + frame.rank + len(node.letters)
    logits = logits.reshape(*(1,) * (rank + 1 - logits.dim()), *logits.shape)
    return logits.movedim(-1, 0)


def _sizes(node: Node, table: Tensor, store: Store) -> None:
    count = len(node.formula.left)
    for size, term in zip(table.shape[table.dim() - count :], node.formula.left, strict=True):
        support = store.variables[term.name].support
        if support is None or support.states != size:
            raise ShapeError(f"{node}: the table has {size} states for {term}, which is {support}")


def _looked_up(
    node: Node, table: Tensor, parents: tuple[Term, ...], store: Store, where: Windows
) -> tuple[Tensor, tuple[Term, ...]]:
    count = len(node.formula.left)
    unknown = [term for term in node.formula.left if term.name in store.latent]
    start = table.dim() - count
    if len(unknown) < count:
        index = []
        for place, term in enumerate(node.formula.left):
            support = store.variables[term.name].support
            assert support is not None and support.states is not None
            if term.name in store.latent:
                own = torch.arange(support.states, device=table.device)
                shape = [1] * count
                shape[place] = support.states
                index.append(own.reshape(*(1,) * start, *shape))
            else:
                value = support.encode(store.read(term, node.letters, where).tensor).clamp_min(0)
                index.append(value.reshape(*(1,) * len(parents), *value.shape, *(1,) * count))
        lead = [
            torch.arange(n, device=table.device).reshape(*(1,) * d, n, *(1,) * (table.dim() - d - 1))
            for d, n in enumerate(table.shape[:start])
        ]
        table = table[(*lead, *index)]
        known = [start + p for p, t in enumerate(node.formula.left) if t.name not in store.latent]
        table = table.squeeze(known)
    order = [table.dim() - len(unknown) + place for place in range(len(unknown))]
    rest = [d for d in range(table.dim()) if d not in order]
    return table.permute(
        (
            *order,
            *rest,
        )
    ), (*unknown, *parents)


def _refuse_unusable(table: LogTable, frame: Frame, node: Node) -> None:
    """Complain of NaN and plus infinity where the factor stands; elsewhere nobody looks."""
    if usable(table.tensor) or usable(found := table.dense(frame, frame.sizes)):
        return
    what = "NaN" if bool(found.isnan().any()) else "plus infinity"
    raise GraftError(f"{node}: the log-factor is {what} (a network's output, or a value outside the support?)")

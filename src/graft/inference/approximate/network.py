"""The flat form of a problem: elements as integers, tables of one shape side by side.

All elements with one number of states form a *layer*, all tables over the same numbers of states a *group*. States
lead, then the rows of the batch, then elements or tables, so that each operation runs over long contiguous rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graft.factors.messages import MessagePotential
from graft.inference.approximate.columns import columns
from graft.inference.approximate.pieces import Piece, cut, merged
from graft.inference.domain import valid
from graft.inference.plan import too_wide
from graft.inference.problem import Problem, Sketch
from graft.ops.modes import ordinary, plain


@dataclass(frozen=True, eq=False)
class Layer:
    """All elements with one number of states.

    Attributes:
        states: how many.
        offsets: the number of the first element of each variable, by name.
        weights: log-weights of single elements.
    """

    states: int
    offsets: Mapping[str, int]
    weights: Float[Tensor, "states batch elements"]

    @property
    def count(self) -> int:
        return self.weights.shape[-1]


@dataclass(frozen=True, eq=False)
class Group:
    """Tables over the same numbers of states.

    Attributes:
        layers: per slot, the number of its layer.
        places: per slot, the element of each table in that layer.
        table: (states of each slot, batch or 1, tables or 1): log-values; None if `sender` sends the messages.
        sender: a factor that defines its own messages.
    """

    layers: tuple[int, ...]
    places: tuple[Int[Tensor, " tables"], ...]
    table: Tensor | None
    sender: MessagePotential | None = None

    @property
    def count(self) -> int:
        return len(self.places[0])

    def dense(self) -> Tensor:
        """The tables, also of a factor that sends its own messages."""
        if self.table is not None:
            return self.table
        assert self.sender is not None
        table = self.sender.message_table()
        return table.reshape(*table.shape, 1, 1)


@dataclass(frozen=True, eq=False)
class Network:
    """A problem in flat form.

    Attributes:
        problem: what was flattened.
        batch: rows of evidence.
        layers: of elements.
        groups: of tables over two elements or more.
        constant: (batch): the log-factors without unknowns.
        zeros: whether a table or the evidence on an element could make all of an element's states impossible.
    """

    problem: Problem
    batch: int
    layers: tuple[Layer, ...]
    groups: tuple[Group, ...]
    constant: Float[Tensor, " batch"]
    zeros: bool

    @property
    def dtype(self) -> torch.dtype:
        return self.constant.dtype

    @property
    def starts(self) -> tuple[int, ...]:
        """The number of each layer's first element among all elements."""
        counts = [layer.count for layer in self.layers]
        return tuple(sum(counts[:i]) for i in range(len(counts)))

    @property
    def elements(self) -> int:
        return sum(layer.count for layer in self.layers)

    def layer_of(self, name: str) -> int:
        return next(i for i, layer in enumerate(self.layers) if name in layer.offsets)

    def unflat(self, found: Sequence[Tensor], name: str) -> Tensor:
        """The elements of one variable: (lead, batch, axes) from one tensor (lead, batch, elements) per layer."""
        layer = self.layers[self.layer_of(name)]
        tensor = found[self.layer_of(name)]
        sizes = [self.problem.sizes[x] for x in self.problem.unknowns[name].axes]
        mine = tensor.narrow(-1, layer.offsets[name], prod(sizes))
        return mine.reshape((*tensor.shape[:-2], *self.problem.frame.batch, *sizes))

    def by_row(self, found: Tensor) -> Tensor:
        """(batch) with the user's batch dimensions."""
        return found.reshape(self.problem.frame.batch)


def flatten(problem: Problem, budget: int, senders: bool = False) -> Network:
    """The flat form of a problem.

    Args:
        problem: what is asked.
        budget: bytes that the tables may take.
        senders: leave factors that define their own messages without a table.

    Raises:
        IntractableError: if the tables do not fit.
    """
    tabled, sending = affordable(problem, budget, senders)
    # the tables must outlive the mode they are made in: a posterior is asked again later
    with ordinary():
        tables = replace(problem, sketches=tabled).tables()
    dtype = problem.frame.dtype
    for table in tables:
        dtype = torch.promote_types(dtype, table.tensor.dtype)
    pieces = [piece for table in tables for piece in cut(problem, table.with_tensor(plain(table.tensor).to(dtype)))]
    layers, constant = _layers(problem, pieces, dtype)
    where = {name: i for i, layer in enumerate(layers) for name in layer.offsets}
    groups = [_group(side, layers, where) for side in merged(p for p in pieces if len(p.names) > 1)]
    groups += [_sending(problem, sketch, layers, where) for sketch in sending]
    return Network(problem, prod(problem.frame.batch), layers, tuple(groups), constant, _zeros(layers, groups))


def _sends(problem: Problem, sketch: Sketch) -> bool:
    """Whether a factor stands alike in all rows, on unknowns only, and knows how to send messages between them."""
    node = sketch.node
    if node is None or not isinstance(node.module, MessagePotential) or node.reads:
        return False
    if len(set(sketch.slots)) < len(node.formula.left) or any(slot.elements for slot in sketch.slots):
        return False
    return valid(node, problem.situation.graph.variables, problem.frame) is None


def affordable(problem: Problem, budget: int, senders: bool = False) -> tuple[list[Sketch], list[Sketch]]:
    """The factors to be tabulated, and those that send their own messages; before anything is allocated.

    Raises:
        IntractableError: if the tables do not fit.
    """
    sending = [sketch for sketch in problem.sketches if senders and _sends(problem, sketch)]
    tabled = [sketch for sketch in problem.sketches if sketch not in sending]
    rows, itemsize = prod(problem.frame.batch), problem.frame.dtype.itemsize
    for sketch in tabled:
        states = prod(problem.unknowns[slot.name].states for slot in sketch.slots)
        size = states * rows * prod(problem.sizes[x] for x in sketch.letters) * itemsize
        if size > budget:
            raise too_wide([str(slot) for slot in sketch.slots], states, size, budget, "tabulated")
    return tabled, sending


def _layers(problem: Problem, pieces: Sequence[Piece], dtype: torch.dtype) -> tuple[tuple[Layer, ...], Tensor]:
    """Elements by their number of states, with the tables of one element added up; and those of none."""
    rows, device = prod(problem.frame.batch), problem.frame.device
    names: dict[int, list[str]] = {}
    for name, unknown in problem.unknowns.items():
        names.setdefault(unknown.states, []).append(name)
    found = []
    for states, mine in sorted(names.items()):
        offsets, count = dict[str, int](), 0
        for name in mine:
            offsets[name] = count
            count += prod(problem.sizes[x] for x in problem.unknowns[name].axes)
        weights = torch.zeros(states, rows, count, dtype=dtype, device=device)
        for piece in pieces:
            if len(piece.names) == 1 and piece.names[0] in offsets:
                here = piece.numbers[0] + offsets[piece.names[0]]
                weights = weights.index_add(-1, here, piece.table.expand(-1, rows, len(here)))
        found.append(Layer(states, offsets, weights))
    constant = torch.zeros(rows, dtype=dtype, device=device)
    for piece in pieces:
        if not piece.names:
            constant = constant + piece.table.expand(rows, piece.count).sum(-1)
    return tuple(found), constant


def _group(pieces: Sequence[Piece], layers: Sequence[Layer], where: Mapping[str, int]) -> Group:
    """Pieces of one shape side by side; slots of equal states share a layer, so all pieces agree on layers."""
    mine = tuple(where[name] for name in pieces[0].names)
    places = []
    for slot, i in enumerate(mine):
        numbers = [piece.numbers[slot] + layers[i].offsets[piece.names[slot]] for piece in pieces]
        places.append(torch.cat(numbers))
    if len(pieces) == 1:
        return Group(mine, tuple(places), pieces[0].table)
    rows = max(piece.table.shape[-2] for piece in pieces)
    tables = [piece.table.expand((*piece.states, rows, piece.count)) for piece in pieces]
    return Group(mine, tuple(places), torch.cat(tables, -1))


def _sending(problem: Problem, sketch: Sketch, layers: Sequence[Layer], where: Mapping[str, int]) -> Group:
    assert sketch.node is not None and isinstance(sketch.node.module, MessagePotential)
    found = columns(problem, sketch.slots, sketch.letters, sketch.window)
    mine = tuple(where[slot.name] for slot in sketch.slots)
    places = zip(mine, sketch.slots, found.numbers, strict=True)
    return Group(mine, tuple(n + layers[i].offsets[slot.name] for i, slot, n in places), None, sketch.node.module)


def _zeros(layers: Sequence[Layer], groups: Sequence[Group]) -> bool:
    tables = any(g.sender is not None or bool((g.dense() == -torch.inf).any()) for g in groups)
    return tables or any(bool((layer.weights == -torch.inf).all(0).any()) for layer in layers if layer.count)

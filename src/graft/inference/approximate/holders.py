"""Which tables hold given elements together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
from jaxtyping import Int
from torch import Tensor

from graft.errors import GraftError
from graft.inference.approximate.network import Group, Network


@dataclass(frozen=True, eq=False)
class Held:
    """Tables of one group that hold some of the elements asked for.

    Attributes:
        group: its number.
        slots: which slots they are, in the order asked.
        asked: which of the columns asked for.
        tables: the table of each.
    """

    group: int
    slots: tuple[int, ...]
    asked: Int[Tensor, " found"]
    tables: Int[Tensor, " found"]


@dataclass(frozen=True, eq=False)
class Elements:
    """One element per column.

    Attributes:
        layer: of all of them.
        places: in that layer.
    """

    layer: int
    places: Int[Tensor, " columns"]


def holders(network: Network, wanted: Sequence[Elements], what: str) -> list[Held]:
    """For each column the table that holds its elements.

    Args:
        network: whose tables.
        wanted: per term, its elements.
        what: the terms, for the message.

    Raises:
        GraftError: if no table holds the elements of some column.
    """
    count = len(wanted[0].places)
    open_columns = torch.arange(count, device=wanted[0].places.device)
    found: list[Held] = []
    # a table of just these elements before one of more: their beliefs need not agree on pairs
    for number, group in sorted(enumerate(network.groups), key=lambda one: len(one[1].layers)):
        for slots in permutations(range(len(group.layers)), len(wanted)):
            if not len(open_columns):
                return found
            if any(group.layers[s] != one.layer for s, one in zip(slots, wanted, strict=True)):
                continue
            held = _held(network, group, slots, [one.places[open_columns] for one in wanted])
            here = held >= 0
            found.append(Held(number, slots, open_columns[here], held[here]))
            open_columns = open_columns[~here]
    if len(open_columns):
        raise GraftError(
            f"no factor holds {what} together: message passing has joint tables of terms that share a factor; exact "
            "inference and Gibbs() have those of any"
        )
    return found


def _held(network: Network, group: Group, slots: tuple[int, ...], asked: Sequence[Tensor]) -> Tensor:
    """Per column, the number of the table; -1 if there is none."""
    mine, theirs = _keys([group.places[s] for s in slots], asked, network.elements)
    ordered, order = mine.sort(stable=True)
    place = torch.searchsorted(ordered, theirs).clamp_max(len(ordered) - 1)
    return torch.where(ordered[place] == theirs, order[place], -1)


def _keys(mine: Sequence[Tensor], theirs: Sequence[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """One number per tuple of elements, the same for the same tuple."""
    split, key = len(mine[0]), torch.cat([mine[0], theirs[0]])
    for one, two in zip(mine[1:], theirs[1:], strict=True):
        # ranks instead of keys keep products within 64 bits however many elements there are
        _, key = (key * count + torch.cat([one, two])).unique(return_inverse=True)
    return key[:split], key[split:]

"""One random model with random evidence: what graft is asked, and the oracle's answer row by row."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from tests.reference.enumerate import Joint
from tests.reference.ground import Key, Piece, ground
from tests.reference.maker import Maker, binary
from torch import Tensor

import graft
from graft.distributions.supports import Binary, Finite, Real
from graft.inference.evidence import Missing, Partial, Soft

NEG_INF = -math.inf
Row = tuple[int, ...]


class Case:
    """A model, its evidence, and the joint of every row.

    Attributes:
        model: for graft.
        values: evidence and inputs, with rubbish at every removed element.
        options: lengths, mask and sizes, as a call takes them.
        weights: per discrete variable with evidence: its log-weights (batch, axes, states).
        known: the discrete variables that are given in full.
    """

    def __init__(self, maker: Maker, name: str) -> None:
        self.maker, self.name, self.space = maker, name, maker.space
        self.states, self.bits, self.pieces = maker.states, maker.bits, maker.pieces
        inputs = {x: Real(maker.clean[x].shape[-1]) for x in maker.clean}
        pairs = [(piece.text, piece.module) for piece in maker.pieces]
        support = {**inputs, **{x: self.support(x) for x in self.states}}
        self.model = graft.Model(pairs, support=support).double()
        self.weights: dict[str, Tensor] = {}
        self.posterior: Any = None
        self.known: set[str] = set()
        self.values: dict[str, Any] = {x: self._given(x) for x in maker.clean}
        self.options = self._options()
        for variable in self.states:
            self._observe(variable)
        if maker.batch and not self.values and not self.space.exists:
            self._soft(next(iter(self.states)))

    def support(self, name: str) -> Any:
        units = self.bits.get(name)
        return Finite(self.states[name]) if units is None else Binary(units) if units else Binary()

    def _options(self) -> dict[str, Any]:
        lengths, masks = {}, {}
        for letter, mask in self.space.exists.items():
            prefix = bool((mask.int().diff(dim=-1) <= 0).all())
            if prefix and self.maker.random.random() < 0.7:
                lengths[letter] = mask.sum(-1)
            else:
                masks[letter] = mask
        return {"lengths": lengths or None, "mask": masks or None, "sizes": dict(self.space.sizes)}

    def _given(self, name: str) -> Any:
        value = self.padded(self.maker.clean[name], name, math.nan)
        missing = self.maker.missing.get(name)
        if missing is None:
            return value
        return Missing(value.masked_fill(missing, math.nan), missing)

    def existing(self, name: str) -> Tensor:
        """(batch, axes): which elements of a variable exist."""
        axes = self.space.axes[name]
        found = torch.ones((*self.space.batch, *(self.space.sizes[x] for x in axes)), dtype=torch.bool)
        for letter, mask in self.space.exists.items():
            if letter in axes:
                have = (*self.space.left[letter], letter)
                shape = [self.space.sizes[x] if x in have else 1 for x in axes]
                order = sorted(range(len(have)), key=lambda i: axes.index(have[i]))
                rank = len(self.space.batch)
                moved = mask.permute((*range(rank), *(rank + i for i in order)))
                found = found & moved.reshape((*self.space.batch, *shape))
        return found

    def padded(self, value: Tensor, name: str, rubbish: float) -> Tensor:
        exists = self.existing(name)
        exists = exists.reshape((*exists.shape, *(1,) * (value.dim() - exists.dim())))
        return torch.where(exists, value, torch.tensor(rubbish, dtype=value.dtype))

    # evidence

    def _observe(self, name: str) -> None:
        kinds = ["none", "none", "none", "value", "holes", "partial", "soft"]
        if self.bits.get(name):
            kinds += ["holes", "holes"]
        getattr(self, "_" + self.maker.random.choice(kinds))(name)

    def _none(self, name: str) -> None:
        pass

    def _drawn(self, name: str) -> Tensor:
        shape = (*self.space.batch, *(self.space.sizes[x] for x in self.space.axes[name]))
        return torch.randint(0, self.states[name], shape, generator=self.maker.generator)

    def decoded(self, name: str, states: Tensor) -> Tensor:
        """States as values."""
        units = self.bits.get(name)
        if units is None:
            return states
        return states.to(torch.get_default_dtype()) if not units else binary(units).float()[states]

    def _value(self, name: str) -> None:
        states = self._drawn(name)
        value = self.decoded(name, states)
        self.values[name] = self.padded(value, name, math.nan if value.is_floating_point() else -100)
        self.weights[name] = one_hot(states, self.states[name])
        self.known.add(name)

    def _holes(self, name: str) -> None:
        """Some elements (or units) were not observed."""
        states, units = self._drawn(name), self.bits.get(name)
        value = self.decoded(name, states)
        missing = self.maker.coins(value.shape, 0.5)
        exists = self.existing(name)
        if not bool((missing & exists.reshape((*exists.shape, *(1,) * (missing.dim() - exists.dim())))).any()):
            self.known.add(name)
        rubbish = math.nan if value.is_floating_point() else -100
        if units:
            blank = value.masked_fill(missing, math.nan)
            self.values[name] = Missing(self.padded(blank, name, rubbish), missing)
            mine = binary(units).float()
            fits = ((value.unsqueeze(-2) == mine) | missing.unsqueeze(-2)).all(-1)
            self.weights[name] = torch.where(fits, 0.0, NEG_INF).double()
            return
        self.values[name] = self.padded(torch.where(missing, -torch.ones_like(value), value), name, rubbish)
        self.weights[name] = one_hot(states, self.states[name]).masked_fill(missing.unsqueeze(-1), 0.0)

    def _partial(self, name: str) -> None:
        shape = (*self._drawn(name).shape, self.states[name])
        allowed = self.maker.coins(shape, 0.6)
        allowed = allowed | ~allowed.any(-1, keepdim=True)
        self.values[name] = Partial(allowed & self.existing(name).unsqueeze(-1))
        self.weights[name] = torch.where(allowed, 0.0, NEG_INF).double()

    def _soft(self, name: str) -> None:
        weights = self.maker.normal(*self._drawn(name).shape, self.states[name])
        if self.maker.zeros:
            dead = self.maker.coins(weights.shape, 0.15)
            weights = weights.masked_fill(dead, NEG_INF)
        self.values[name] = Soft(self.padded(weights, name, math.nan))
        self.weights[name] = weights

    # the oracle

    @property
    def unknown(self) -> list[str]:
        """The discrete variables that are not given in full."""
        return [name for name in self.states if name not in self.known]

    @cached_property
    def rows(self) -> list[Row]:
        return self.space.rows()

    def elements(self, row: Row, name: str) -> list[Key]:
        letters = list(self.space.axes[name])
        return [(name, tuple(place[x] for x in letters)) for place in self.space.places(row, letters)]

    def keys(self, row: Row) -> dict[Key, int]:
        return {key: n for name, n in self.states.items() for key in self.elements(row, name)}

    def unaries(self, row: Row, more: dict[str, Tensor] | None = None) -> list[tuple[list[Key], Tensor]]:
        """The evidence as tables of single elements."""
        every = [*self.weights.items(), *(more or {}).items()]
        return [
            ([key], weights[(*row, *self.space.where(row, key))])
            for name, weights in every
            for key in self.elements(row, name)
        ]

    def factors(self, row: Row) -> list[tuple[list[Key], Tensor]]:
        return [(keys, table) for _, keys, table in ground(self.space, self.pieces, row)]

    def joint(self, row: Row, evidence: bool = True, more: dict[str, Tensor] | None = None) -> Joint:
        """The joint of one row, with its evidence and perhaps more."""
        weights = self.unaries(row, more) if evidence else []
        return Joint(self.keys(row), [*self.factors(row), *weights])

    @cached_property
    def joints(self) -> dict[Row, Joint]:
        with torch.no_grad():
            return {row: self.joint(row) for row in self.rows}

    def unweighed(self, row: Row) -> Joint:
        """The joint of one row without any evidence: leaves that are given sum to one, whatever they are."""
        kept = [piece for piece in self.pieces if piece.potential or piece.left[0][0] in self.states]
        tables = [(keys, table) for _, keys, table in ground(self.space, kept, row)]
        return Joint(self.keys(row), tables)

    def by_row(self, answer: Callable[[Row], Tensor], event: tuple[int, ...] = ()) -> Tensor:
        """One answer per row, as a tensor (batch, event)."""
        found = [answer(row) for row in self.rows]
        return torch.stack(found).reshape((*self.space.batch, *event))

    @cached_property
    def dead(self) -> list[Row]:
        """The rows of probability zero."""
        return [row for row, joint in self.joints.items() if not joint.possible]

    @cached_property
    def log_partition(self) -> Tensor:
        return self.by_row(lambda row: self.joints[row].log_partition)

    def directed(self) -> bool:
        return not any(piece.potential for piece in self.pieces)

    def assignment(self, row: Row, values: dict[str, Tensor]) -> dict[Key, int]:
        """States by element, of values (batch, axes, event) as graft returns them."""
        found = {}
        for key in self.keys(row):
            name = key[0]
            where = (*row, *self.space.where(row, key))
            found[key] = int(self.encoded(name, values[name])[where]) if name in values else self.fixed(row, key)
        return found

    def fixed(self, row: Row, key: Key) -> int:
        return int(self.weights[key[0]][(*row, *self.space.where(row, key))].argmax())

    def encoded(self, name: str, value: Tensor) -> Tensor:
        units = self.bits.get(name)
        if not units:
            return value.long()
        return (value.long() << torch.arange(units - 1, -1, -1)).sum(-1)

    def __repr__(self) -> str:
        return f"{self.name}: {', '.join(piece.text for piece in self.pieces)}; given {', '.join(self.values)}"


def one_hot(states: Tensor, count: int) -> Tensor:
    """Log-weights that allow one state."""
    return torch.where(states.unsqueeze(-1) == torch.arange(count), 0.0, NEG_INF).double()


def texts(pieces: list[Piece]) -> list[str]:
    return [piece.text for piece in pieces]

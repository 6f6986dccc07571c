"""A Gaussian part as a linear-Gaussian chain: the factors of each step composed to one move of one state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graft.inference.gaussian_factors import Conditional, Message
from graft.inference.gaussian_layout import Layout
from graft.ops.kalman_system import apply


@dataclass(frozen=True)
class Move:
    """A step into a state, z' = A z + b + N e with standard normal e.

    Attributes:
        matrix: A (rows or 1, K or 1, D, D).
        offset: b (rows or 1, K or 1, D).
        root: N (rows or 1, K or 1, D, noises).
    """

    matrix: Tensor
    offset: Tensor
    root: Tensor


class Steps:
    """Composes the conditionals of unknowns, for the first step or for all later ones.

    Args:
        layout: of the state.
        makers: the conditionals of each unknown.
        later: for the steps after the first.
        steps: how many there are in all.
    """

    def __init__(
        self, layout: Layout, makers: Mapping[str, Sequence[Conditional]], later: bool, steps: int, device: torch.device
    ) -> None:
        self.layout, self.makers, self.later, self.steps, self.device = layout, makers, later, steps, device
        self.rows: dict[str, Move] = {}

    def move(self) -> Move:
        """The move of the whole state."""
        parts = []
        for name in self.layout.names:
            self.rows[name] = self._row(name)
            parts.append(self.rows[name])
            parts += [self._shifted(name, back) for back in range(1, self.layout.depth[name])]
        return Move(*(_joined([getattr(part, what) for part in parts]) for what in ("matrix", "offset", "root")))

    def _row(self, name: str) -> Move:
        """What one unknown becomes."""
        if self.later and name in self.layout.still:
            return self._kept(name, 0)
        found = [(self._of(name, one), self._cut(one.stands)) for one in self.makers[name]]
        found = [(move, stands) for move, stands in found if stands is None or bool(stands.any())]
        if len(found) == 1 and found[0][1] is None:
            return found[0][0]
        absent = self._blank(name, own=True)
        masks = [stands for _, stands in found if stands is not None]
        if masks:
            covered = torch.stack(torch.broadcast_tensors(*masks)).any(0)
            found.append((absent, ~covered))
        else:
            return absent
        parts = []
        for what in ("matrix", "offset", "root"):
            total: Tensor | None = None
            for move, stands in found:
                value = getattr(move, what)
                assert stands is not None
                value = torch.where(_spread(stands, value), value, 0.0)
                total = value if total is None else total + value
            parts.append(total)
        return Move(*parts)  # type: ignore[arg-type]

    def _of(self, name: str, one: Conditional) -> Move:
        """One conditional, wherever it stands."""
        blank = self._blank(name)
        matrix, offset = blank.matrix, self._cut(one.offset)
        root = blank.root.clone()
        assert offset is not None
        own = self._cut(one.full_root)
        assert own is not None
        root = _placed(root, own, self.layout.noise(name))
        for term, back, weight in one.parents:
            if not back and (term.name in self.rows) and not (self.later and term.name in self.layout.still):
                parent = self.rows[term.name]
                matrix = matrix + weight @ parent.matrix
                root = root + weight @ parent.root
                offset = offset + apply(weight, parent.offset)
            elif self.later:
                block = self.layout.block(term.name, max((back or 0) - 1, 0))
                matrix = matrix + _placed(blank.matrix, self._since(weight, back), block)
        return Move(matrix, offset, root)

    def _since(self, weight: Tensor, back: int | None) -> Tensor:
        """A matrix on what lies some steps back, zero where that is before the first."""
        if back is None or back <= 1:
            return weight
        exists = torch.arange(1, self.steps, device=self.device) >= back
        return torch.where(exists[None, :, None, None], weight, 0.0)

    def _shifted(self, name: str, back: int) -> Move:
        return self._kept(name, back - 1) if self.later else self._blank(name)

    def _kept(self, name: str, back: int) -> Move:
        """What stood at a place of the state before."""
        blank = self._blank(name)
        eye = torch.eye(self.layout.dims[name], dtype=torch.float64, device=self.device)
        return Move(_placed(blank.matrix, eye[None, None], self.layout.block(name, back)), blank.offset, blank.root)

    def _blank(self, name: str, own: bool = False) -> Move:
        """Zero, or standard normal: what stands where nothing exists."""
        d, layout = self.layout.dims[name], self.layout
        zero = torch.zeros((), dtype=torch.float64, device=self.device)
        root = zero.expand(1, 1, d, layout.noises)
        if own:
            eye = torch.eye(d, dtype=torch.float64, device=self.device)
            root = _placed(root, eye[None, None], layout.noise(name))
        return Move(zero.expand(1, 1, d, layout.states), zero.expand(1, 1, d), root)

    def _cut(self, value: Tensor | None) -> Tensor | None:
        """The first step of something, or all later ones; a mask that is True throughout is none."""
        if value is None:
            return None
        if self.later:
            value = value[:, 1:] if value.shape[1] != 1 or (self.steps == 1 and value.dtype == torch.bool) else value
        else:
            value = value[:, :1]
        if value.dtype == torch.bool and bool(value.all()):
            return None
        return value


def _spread(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *(1,) * (like.dim() - 2))


def _placed(wide: Tensor, value: Tensor, columns: slice) -> Tensor:
    """A matrix with some of its columns replaced."""
    shape = (*torch.broadcast_shapes(wide.shape[:2], value.shape[:2]), wide.shape[2])
    left, right = wide[..., : columns.start], wide[..., columns.stop :]
    return torch.cat([x.expand(*shape, -1) for x in (left, value, right)], -1)


def _joined(parts: list[Tensor]) -> Tensor:
    """Parts of the state one below the other."""
    shape = torch.broadcast_shapes(*(part.shape[:2] for part in parts))
    return torch.cat([part.expand(*shape, *part.shape[2:]) for part in parts], 2)


def loading(layout: Layout, found: Conditional | Message, steps: int) -> Tensor:
    """What a factor reads of the state: (1, T or 1, d, D)."""
    if isinstance(found, Message):
        eye = torch.eye(layout.dims[found.term.name], dtype=torch.float64, device=found.shift.device)
        parents: Sequence = [(found.term, found.back, eye[None, None])]
    else:
        parents = found.parents
    cells = parents[0][2].shape[-2]
    total = torch.zeros(1, 1, cells, layout.states, dtype=torch.float64, device=parents[0][2].device)
    for term, back, weight in parents:
        if back:
            exists = torch.arange(steps, device=weight.device) >= back
            weight = torch.where(exists[None, :, None, None], weight, 0.0)
        blank = torch.zeros_like(total[:1, :1])
        total = total + _placed(blank, weight, layout.block(term.name, back or 0))
    return total

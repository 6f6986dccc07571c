"""The factors of a Gaussian part, evaluated: matrices on the unknowns, and everything known folded into an offset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal
from torch.nn.functional import pad

from graft.errors import IntractableError
from graft.factors.base import Call, encode
from graft.factors.gaussian_potential import GaussianPotential
from graft.factors.linear_gaussian import LinearGaussian
from graft.graph.nodes import Node
from graft.graph.terms import Term
from graft.inference.calls import arguments, call_here, checked, read_all
from graft.inference.domain import Windows, at_element, valid, window
from graft.inference.gaussian_parts import Part, lags
from graft.inference.pieces import narrowed
from graft.inference.ready import Ready
from graft.inference.scoring import lead_of
from graft.inference.store import Store

#: Per unknown that a factor reads: how many steps back (None: it lacks the axis), and its matrix.
Parents = tuple[tuple[Term, int | None, Tensor], ...]

#: (rows or 1, T or 1, ...): one flat batch of batch dimensions and common axes, then the axis of the part.
Flat = Tensor


@dataclass(frozen=True)
class Conditional:
    r"""$v = \sum_u W_u u + b + \mathcal{N}(0, L L^\top)$ of one factor.

    Attributes:
        node: the factor.
        stands: (rows or 1, T) where it stands; None if at all elements.
        parents: per unknown that it reads: how many steps back (None: no such axis), and W.
        offset: b (rows or 1, T or 1, d).
        root: L (rows or 1, T or 1, d, d), or the standard deviations (rows or 1, T or 1, d).
    """

    node: Node
    stands: Bool[Tensor, "#rows t"] | None
    parents: Parents
    offset: Float[Tensor, "#rows #t d"]
    root: Float[Tensor, "#rows #t d d"] | Float[Tensor, "#rows #t d"]

    @property
    def diagonal(self) -> bool:
        return self.root.dim() == self.offset.dim()

    @property
    def full_root(self) -> Tensor:
        return torch.diag_embed(self.root) if self.diagonal else self.root


@dataclass(frozen=True)
class Message:
    """Log-quadratic evidence of one potential on one unknown, `back` steps before where it stands."""

    node: Node
    stands: Bool[Tensor, "#rows t"] | None
    term: Term
    back: int | None
    precision: Float[Tensor, "#rows #t d"]
    shift: Float[Tensor, "#rows #t d"]


class Evaluator:
    """Calls the factors of one part.

    Args:
        part: whose factors.
        store: values of all that is known, zeros for the unknowns.
        ready: outputs of factors that read only inputs.
        cells: missing cells of observed variables, by name.

    Attributes:
        lead: the sizes of the batch and of the common axes.
        rows: their product.
        steps: the size of the axis of the part, at least 1.
    """

    def __init__(self, part: Part, store: Store, ready: Mapping[Node, Ready], cells: Mapping[str, Tensor]) -> None:
        self.part, self.store, self.ready, self.cells = part, store, ready, cells
        frame = store.frame
        self.lead = frame.batch + tuple(frame.sizes[x] for x in part.common)
        self.rows = prod(self.lead)
        self.steps = 1 if part.letter is None else max(frame.sizes[part.letter], 1)
        self.letters = part.common if part.letter is None else (*part.common, part.letter)

    def conditional(self, node: Node) -> Conditional | None:
        """One conditional; None if it stands nowhere."""
        where = window(node, self.store.variables, self.store.frame)
        if where is None:
            return None
        dist = self._distribution(node, where)
        location, root, full = self._parameters(dist, node, where)
        if type(node.module) is LinearGaussian:  # one for all rows
            root = node.module.noise() if full else node.module.noise().diagonal()
        anchor, backs = lags(self.store.variables, self.part, node)
        rank = len(dist.event_shape)
        return Conditional(
            node,
            self._stands(node, where, anchor),
            self._parents(node, where, backs),
            self.flat(location, node.letters, rank, where),
            self.flat(root, node.letters, 2 if full else rank, where),
        )

    def message(self, node: Node) -> Message | None:
        """One potential; None if it stands nowhere."""
        where = window(node, self.store.variables, self.store.frame)
        if where is None:
            return None
        assert isinstance(node.module, GaussianPotential)
        inputs, _ = read_all(node, self.store, where)
        leading = self.store.frame.rank + len(node.letters) if node.reads else 0
        shift, precision = node.module.natural(inputs, Call(leading, arguments(node.reads, self.store.variables)))
        anchor, backs = lags(self.store.variables, self.part, node)
        parts = (self.flat(x, node.letters, 1, where) for x in (precision, shift))
        return Message(node, self._stands(node, where, anchor), node.head, backs[node.head], *parts)

    def value(self, node: Node) -> tuple[Tensor, Tensor | None]:
        """The observed value of a conditional, (rows or 1, T or 1, d), and which of its cells were seen."""
        where = window(node, self.store.variables, self.store.frame)
        assert where is not None
        value = self.store.read(node.head, node.letters, where).tensor
        rank = value.dim() - self.store.frame.rank - len(node.letters)
        cells = self.cells.get(node.head.name)
        if cells is None:
            return self.flat(value, node.letters, rank, where), None
        there = self.store.read_cells(node, cells, where).tensor
        return tuple(self.flat(x, node.letters, rank, where) for x in (value, ~there))  # type: ignore[return-value]

    def flat(self, tensor: Tensor, have: tuple[str, ...], rank: int, where: Windows | None = None) -> Flat:
        """A (batch, axes, event) tensor, of a window or whole, with events of rank 0 as vectors of one."""
        frame, letter = self.store.frame, self.part.letter
        lead = frame.rank + len(have)
        tensor = tensor.reshape((1,) * (lead + rank - tensor.dim()) + tuple(tensor.shape))
        tensor = frame.spread(thin(tensor, lead), have, self.letters)
        tensor = tensor.unsqueeze(-1) if rank == 0 else tensor
        place = frame.rank + len(self.part.common)
        if letter is None:
            tensor = tensor.unsqueeze(place)
        elif where is not None and letter in have and tensor.shape[place] == where[letter][1] - where[letter][0]:
            before, after = where[letter][0], frame.sizes[letter] - where[letter][1]
            if before or after:
                tensor = pad(tensor, (0, 0) * (tensor.dim() - place - 1) + (before, after))
        tail = tuple(tensor.shape[place:])
        if all(size == 1 for size in tensor.shape[:place]) and self.rows:
            return _double(tensor.reshape(1, *tail))
        return _double(tensor.expand(*self.lead, *tail).reshape(self.rows, *tail))

    def _distribution(self, node: Node, where: Windows) -> Distribution:
        store, variable = self.store, self.store.variables[node.head.name]
        if node in self.ready:
            out, lead = self.ready[node].output, self.ready[node].base.shape(node.letters)
        else:
            (out, _), lead = call_here(node, store, where), lead_of(node, where, store.frame)
        return checked(out, node, lead, variable)

    def _parameters(self, dist: Distribution, node: Node, where: Windows) -> tuple[Tensor, Tensor, bool]:
        """Location, scale or Cholesky factor, and which of the two; of the window, in compact order."""
        location, root, full = _parameters(dist, node)
        if node in self.ready:
            # such a factor was called on whole axes, in the user's order
            frame, rank = self.store.frame, len(dist.event_shape)
            lead = frame.rank + len(node.letters)
            ranks = rank, 2 if full else rank
            wide = (
                x.reshape((1,) * (lead + r - x.dim()) + x.shape) for x, r in zip((location, root), ranks, strict=True)
            )
            moved = (narrowed(frame.compact(x, node.letters), node.letters, where, frame.rank) for x in wide)
            location, root = moved
        return location, root, full

    def _parents(self, node: Node, where: Windows, backs: Mapping[Term, int | None]) -> Parents:
        """The columns of W that belong to each unknown."""
        if not isinstance(node.module, LinearGaussian) or not backs:
            return ()
        inputs, _ = read_all(node, self.store, where)
        leading, start, found = self.store.frame.rank + len(node.letters), 0, []
        weight = node.module.linear.weight.double()[None, None]
        for term, value, told in zip(node.reads, inputs, arguments(node.reads, self.store.variables), strict=True):
            width = prod(encode(value, told).shape[leading:])
            if term.name in self.part.names:
                found.append((term, backs[term], weight[..., start : start + width]))
            start += width
        return tuple(found)

    def _stands(self, node: Node, where: Windows, anchor: int | None) -> Tensor | None:
        """(rows or 1, T): at which elements a factor stands."""
        frame, letter = self.store.frame, self.part.letter
        found = valid(node, self.store.variables, frame)
        mask = None if found is None else self._mask(found, node.letters)
        if letter is None:
            return mask
        steps = torch.arange(self.steps, device=frame.device)
        if letter in node.letters:
            low, high = where[letter]
            here = None if (low, high) == (0, self.steps) else ((steps >= low) & (steps < high))[None]
        elif anchor is None:  # it touches only what lacks the axis
            here = (steps == 0)[None]
        else:
            here = self._mask(at_element(anchor, self.letters, frame, steps, letter), self.letters)
        if mask is None or here is None:
            return mask if here is None else here
        return mask & here

    def _mask(self, mask: Tensor, have: tuple[str, ...]) -> Tensor:
        frame = self.store.frame
        mask = mask.reshape((1,) * (frame.rank + len(have) - mask.dim()) + tuple(mask.shape))
        return self.flat(mask, have, 0)[..., 0]


def thin(tensor: Tensor, lead: int) -> Tensor:
    """The tensor with size 1 along leading dimensions that were only expanded."""
    for dim in range(lead):
        if tensor.stride(dim) == 0 and tensor.shape[dim] > 1:
            tensor = tensor.narrow(dim, 0, 1)
    return tensor


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _parameters(dist: Distribution, node: Node) -> tuple[Tensor, Tensor, bool]:
    """Location, scale or Cholesky factor, and which of the two.

    Raises:
        IntractableError: it is no Gaussian.
    """
    if isinstance(dist, MultivariateNormal):
        return dist.loc, dist.scale_tril, True
    base = dist.base_dist if isinstance(dist, Independent) else dist
    if not isinstance(base, Normal):
        raise IntractableError(
            f"{node} is a {type(base).__name__}: only Gaussians are integrated out exactly; give {node.head.name} as "
            "values"
        )
    return base.loc, base.scale, False

"""Building one random model piece by piece: every factor as a module for graft and as a table for the oracle."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import torch
from tests.reference.ground import Piece, Space, terms_of
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from graft.factors import Bernoulli, Bias, Bilinear, Categorical, Gaussian, Mixture, Scores, Select, Table

NEG_INF = -math.inf
EXISTENCE = ("none", "lengths", "left", "holes")


class Head(nn.Module):
    """A linear network with some outputs forbidden for good."""

    def __init__(self, linear: nn.Linear, shape: Sequence[int], forbidden: Tensor) -> None:
        super().__init__()
        self.linear, self.shape = linear, tuple(shape)
        self.register_buffer("forbidden", forbidden)

    def forward(self, x: Tensor) -> Tensor:
        out = self.linear(x.to(self.linear.weight.dtype))
        return out.reshape(out.shape[:-1] + self.shape).masked_fill(self.forbidden, NEG_INF)


class Joined(nn.Module):
    """Rows of features, whatever was read whole."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Maker:
    """Collects axes, variables and factors.

    Args:
        seed: decides everything; odd ones have hard zeros.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.zeros = 0.2 if seed % 2 else 0.0
        self.batch = self.random.choice([(), (), (2,), (3,), (2, 2), (1, 2)])
        self.space = Space(self.batch, {}, {})
        self.pieces: list[Piece] = []
        self.states: dict[str, int] = {}
        self.bits: dict[str, int] = {}
        self.clean: dict[str, Tensor] = {}
        self.missing: dict[str, Tensor] = {}

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def coins(self, shape: Sequence[int], chance: float) -> Tensor:
        return torch.rand(tuple(shape), generator=self.generator) < chance

    def some(self, least: int, most: int) -> int:
        return self.random.randint(least, most)

    # axes and variables

    def axis(self, letter: str, size: int, left: tuple[str, ...] = (), kinds: Sequence[str] = EXISTENCE) -> None:
        self.space.sizes[letter] = size
        kind = self.random.choice(kinds)
        if kind == "none":
            return
        shape = (*self.batch, *(self.space.sizes[x] for x in left))
        lengths = torch.randint(0, size + 1, shape, generator=self.generator)
        if kind == "holes":
            mask = self.coins((*shape, size), 0.7)
        else:
            steps = torch.arange(size)
            mask = (steps if kind == "lengths" else size - 1 - steps) < lengths.unsqueeze(-1)
        self.space.exists[letter], self.space.left[letter] = mask, left

    def variable(self, name: str, states: int, *axes: str) -> None:
        self.space.axes[name], self.states[name] = axes, states

    def binary(self, name: str, units: int, *axes: str) -> None:
        """A scalar binary variable (units 0) or a vector of units."""
        self.variable(name, 2 ** max(units, 1), *axes)
        self.bits[name] = units

    def observed(self, name: str, axes: tuple[str, ...], dim: int) -> Tensor:
        """A continuous value, an input or a leaf."""
        self.space.axes[name] = axes
        self.clean[name] = self.normal(*self.batch, *(self.space.sizes[x] for x in axes), dim)
        return self.clean[name]

    def read(self, name: str, row: tuple[int, ...], at: dict[str, int]) -> Tensor:
        return self.clean[name][(*row, *(at[x] for x in self.space.axes[name]))]

    # factors

    def sizes(self, terms: str) -> list[int]:
        return [self.states[name] for name, _ in terms_of(terms)]

    def add(self, text: str, module: nn.Module, table: Callable | None, **options: object) -> None:
        self.pieces.append(Piece(text, module, table, **options))  # type: ignore[arg-type]

    def given(self, text: str) -> None:
        """A conditional table, of the kind the variable on the left wants."""
        left, _, right = text.partition("|")
        (name, _), parents = terms_of(left)[0], self.sizes(right)
        if name in self.bits:
            self._binary(text, self.bits[name], parents)
            return
        module = Categorical(logits=self.logits((*parents, self.states[name])))
        self.add(text, module, lambda row, at: module.table.log_softmax(-1).movedim(-1, 0))

    def logits(self, shape: Sequence[int]) -> Tensor:
        table = self.normal(*shape)
        dead = self.coins(shape, self.zeros)
        dead &= ~dead.all(-1, keepdim=True)
        return table.masked_fill(dead, NEG_INF)

    def _binary(self, text: str, units: int, parents: list[int]) -> None:
        probs = torch.sigmoid(self.normal(*parents, *([units] if units else [])))
        probs = torch.where(self.coins(probs.shape, self.zeros / 2), self.coins(probs.shape, 0.5).double(), probs)
        module = Bernoulli(probs=probs, given=tuple(parents), dim=units or None)

        def table(row: tuple[int, ...], at: dict[str, int]) -> Tensor:
            both = torch.stack([nn.functional.logsigmoid(x) for x in (-module.table, module.table)])
            return both if not units else by_state(both)

        self.add(text, module, table)

    def potential(self, text: str) -> None:
        shape = self.sizes(text)
        values = self.normal(*shape).masked_fill(self.coins(shape, self.zeros), NEG_INF)
        module = Table(values=values)
        self.add(text, module, lambda row, at: module.values, potential=True)

    def scores(self, text: str, dim: int = 2) -> None:
        """Potentials from a network that reads one input."""
        left, _, right = text.partition("|")
        (name, index), shape = terms_of(right)[0], self.sizes(left)
        if name not in self.clean:
            self.observed(name, tuple(i[0] for i in index), dim)
        head = self.head(dim, shape)
        module = Scores(head, states=tuple(shape))
        self.add(text, module, lambda row, at: head(self.read(name, row, at)), terms=left, potential=True)

    def head(self, dim: int, shape: Sequence[int], rows: bool = False) -> Head:
        """A linear network; with `rows`, every row keeps a finite entry."""
        dead = self.coins(shape, self.zeros)
        if rows:
            dead &= ~dead.all(-1, keepdim=True)
        linear = nn.Linear(dim, math.prod(shape), dtype=torch.float64)
        with torch.no_grad():
            for parameter in linear.parameters():
                parameter.copy_(self.normal(*parameter.shape))
        return Head(linear, shape, dead)

    def network(self, text: str, reads: str | None = None) -> None:
        """A categorical from a network of one-hot parents; *no state* is a row of zeros."""
        left, _, right = text.partition("|")
        sizes = self.sizes(reads or right)
        states = self.states[terms_of(left)[0][0]]
        head = self.head(sum(sizes), (states,), rows=True)
        rows = [torch.cat([torch.eye(n), torch.zeros(1, n)]).double() for n in sizes]

        def table(row: tuple[int, ...], at: dict[str, int]) -> Tensor:
            grids = torch.meshgrid(*(torch.arange(n + 1) for n in sizes), indexing="ij")
            joined = torch.cat([rows[i][g] for i, g in enumerate(grids)], -1)
            return head(joined).log_softmax(-1).movedim(-1, 0)

        module = Categorical(nn.Sequential(Joined(), head), states)
        self.add(text, module, table, terms=f"{left}, {reads or right}", past=True)

    def gaussian(self, text: str, dim: int, covariance: str = "diag", terms: str | None = None) -> None:
        """A Gaussian leaf, observed but for some cells."""
        left, _, right = text.partition("|")
        (name, index), parents = terms_of(left)[0], self.sizes(terms or right)
        self.leaf(name, tuple(i[0] for i in index), dim)
        module = Gaussian(dim=dim, given=tuple(parents), covariance=covariance).double()
        self.scatter(module)

        def table(row: tuple[int, ...], at: dict[str, int]) -> Tensor:
            return self.density(name, row, at, module.loc, factor(module.raw_scale, covariance))

        self.add(text, module, table, terms=terms or right)

    def mixture(self, text: str, components: int, dim: int, covariance: str = "diag") -> None:
        left, _, right = text.partition("|")
        (name, index), parents = terms_of(left)[0], self.sizes(right)
        self.leaf(name, tuple(i[0] for i in index), dim)
        module = Mixture(components, dim=dim, given=tuple(parents), covariance=covariance).double()
        self.scatter(module)

        def table(row: tuple[int, ...], at: dict[str, int]) -> Tensor:
            parts = self.density(name, row, at, module.loc, factor(module.raw_scale, covariance))
            return (module.logits.log_softmax(-1) + parts).logsumexp(-1)

        self.add(text, module, table, terms=right)

    def leaf(self, name: str, axes: tuple[str, ...], dim: int) -> None:
        self.observed(name, axes, dim)
        if self.random.random() < 0.5:
            self.missing[name] = self.coins(self.clean[name].shape, 0.4)

    def standard(self, text: str, dim: int) -> None:
        """A standard Gaussian whose value is known."""
        (name, index) = terms_of(text)[0]
        self.observed(name, tuple(i[0] for i in index), dim)

        def table(row: tuple[int, ...], at: dict[str, int]) -> Tensor:
            value = self.read(name, row, at)
            return -0.5 * (value @ value + dim * math.log(2 * math.pi))

        self.add(text, Gaussian(dim=dim).double(), table, terms="")

    def scatter(self, module: nn.Module) -> None:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(0.5 * self.normal(*parameter.shape))

    def density(self, name: str, row: tuple[int, ...], at: dict[str, int], loc: Tensor, root: Tensor) -> Tensor:
        """The log-density of the cells that were seen, for every state of the parents."""
        place = (*row, *(at[x] for x in self.space.axes[name]))
        missing = self.missing.get(name)
        seen = (missing[place] if missing is not None else torch.zeros(loc.shape[-1], dtype=torch.bool)).logical_not()
        if not bool(seen.any()):
            return torch.zeros(loc.shape[:-1], dtype=torch.float64)
        spread = (root @ root.mT)[..., seen, :][..., seen]
        return MultivariateNormal(loc[..., seen], spread, validate_args=False).log_prob(self.clean[name][place][seen])

    def bilinear(self, text: str) -> None:
        one, two = (binary(self.bits[name]) for name, _ in terms_of(text))
        module = Bilinear(one.shape[1], two.shape[1]).double()
        self.scatter(module)
        self.add(text, module, lambda row, at: one @ module.weight @ two.T, potential=True)

    def bias(self, text: str) -> None:
        states = binary(self.bits[terms_of(text)[0][0]])
        module = Bias(states.shape[1]).double()
        self.scatter(module)
        self.add(text, module, lambda row, at: states @ module.bias, potential=True)

    def select(self, text: str, dim: int) -> None:
        """``z[n] | c[n], mu``: both z and mu are given."""
        left, _, right = text.partition("|")
        (name, index), ((chooser, where), (rows, _)) = terms_of(left)[0], terms_of(right)
        self.observed(name, tuple(i[0] for i in index), dim)
        module = Select(Gaussian(nn.Identity(), scale=0.5)).double()

        def table(row: tuple[int, ...], at: dict[str, int]) -> Tensor:
            means, root = self.clean[rows][row], 0.5 * torch.eye(dim, dtype=torch.float64)
            return self.density(name, row, at, means, root.expand(len(means), -1, -1))

        place = ",".join(letter for letter, _ in where)
        self.add(text, module, table, terms=f"{chooser}[{place}]" if place else chooser)


def binary(units: int) -> Tensor:
    """The values of all states of a vector of units, the first unit the most significant."""
    places = torch.arange(units - 1, -1, -1)
    return ((torch.arange(2**units).unsqueeze(-1) >> places) & 1).double()


def by_state(both: Tensor) -> Tensor:
    """(2, parents, units), the log-probability of each unit being off and on, to (states, parents)."""
    on = binary(both.shape[-1])
    off, up = (side.masked_fill(side == NEG_INF, 0.0) for side in both)
    total = torch.tensordot(1 - on, off, dims=([1], [-1])) + torch.tensordot(on, up, dims=([1], [-1]))
    dead = torch.tensordot(1 - on, (both[0] == NEG_INF).double(), dims=([1], [-1]))
    dead = dead + torch.tensordot(on, (both[1] == NEG_INF).double(), dims=([1], [-1]))
    return total.masked_fill(dead > 0, NEG_INF)


def factor(raw: Tensor, covariance: str) -> Tensor:
    """The Cholesky factor that graft's unconstrained scales stand for."""
    if covariance == "diag":
        return torch.diag_embed(raw.exp())
    return raw.tril(-1) + torch.diag_embed(raw.diagonal(dim1=-2, dim2=-1).exp())

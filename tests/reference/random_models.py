"""Families of small random models, one function each; `case("hmm", 3)` is always the same model and evidence."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import combinations
from zlib import crc32

from tests.reference.case import Case
from tests.reference.ground import Piece
from tests.reference.maker import Maker
from torch import nn

FAMILIES: dict[str, Callable[[Maker], None]] = {}


def family(build: Callable[[Maker], None]) -> Callable[[Maker], None]:
    FAMILIES[build.__name__] = build
    return build


@cache
def case(name: str, seed: int) -> Case:
    maker = Maker(2 * crc32(name.encode()) + seed)
    FAMILIES[name](maker)
    return Case(maker, f"{name} {seed}")


# directed, without time


@family
def dag(m: Maker) -> None:
    """A random Bayesian network, some of its variables scalar Bernoullis."""
    names = "abcd"[: m.some(2, 4)]
    for place, name in enumerate(names):
        if m.random.random() < 0.3:
            m.binary(name, 0)
        else:
            m.variable(name, m.some(1, 3))
        parents = m.random.sample(names[:place], m.some(0, min(place, 2)))
        m.given(f"{name} | {', '.join(parents)}" if parents else name)


@family
def dag_leaves(m: Maker) -> None:
    """Discrete causes of observed Gaussians and mixtures."""
    m.variable("a", m.some(1, 3))
    m.variable("b", m.some(2, 3))
    m.given("a")
    m.given("b | a")
    m.gaussian("x | b", m.some(1, 3), m.random.choice(["diag", "full"]))
    m.mixture("y | a, b", 2, m.some(1, 2), m.random.choice(["diag", "full"]))


@family
def plate(m: Maker) -> None:
    """A global variable read on a plate, with a leaf there."""
    m.axis("n", m.some(0, 3))
    m.variable("c", m.some(1, 3))
    m.variable("x", m.some(1, 3), "n")
    m.given("c")
    m.given("x[n] | c")
    m.gaussian("y[n] | x[n]", 2, m.random.choice(["diag", "full"]))
    if m.random.random() < 0.5:
        m.potential("x[n], c")


@family
def nested(m: Maker) -> None:
    """Plates in plates."""
    m.axis("n", m.some(1, 2))
    m.axis("k", m.some(0, 2), ("n",))
    m.variable("g", 2)
    m.variable("x", m.some(2, 3), "n")
    m.variable("z", 2, "n", "k")
    m.given("g")
    m.given("x[n] | g")
    m.given("z[n,k] | x[n]")
    if m.random.random() < 0.4:
        m.potential("z[n,k], g")


@family
def selected(m: Maker) -> None:
    """A mixture whose means are on a plate of their own."""
    m.axis("n", m.some(1, 3), kinds=("none", "lengths", "left"))
    m.axis("k", m.some(1, 3), kinds=("none",))
    m.variable("c", m.space.sizes["k"], "n")
    m.given("c[n]")
    m.standard("mu[k]", 2)
    m.select("z[n] | c[n], mu", 2)


@family
def flowing(m: Maker) -> None:
    """A function of an unknown, read by what is observed."""
    m.variable("c", m.some(1, 3))
    m.variable("d", 2)
    m.variable("e", m.some(2, 3))
    m.given("c")
    m.given("d | c")
    m.pieces.append(Piece("f = c", _Wide(m.states["c"]), None))
    m.network("e | f, d", "c, d")


class _Wide(nn.Module):
    """States as one-hot vectors, by hand."""

    def __init__(self, states: int) -> None:
        super().__init__()
        self.states = states

    def forward(self, c):
        return nn.functional.one_hot(c.long(), self.states).double()


@family
def read_whole(m: Maker) -> None:
    """A network reads all elements of an unknown at once."""
    m.axis("n", m.some(1, 3), kinds=("none",))
    m.variable("s", m.some(1, 2), "n")
    m.variable("c", m.some(2, 3))
    m.given("s[n]")
    whole = ", ".join(f"s[{i}]" for i in range(m.space.sizes["n"]))
    m.network("c | s", whole)


# directed, with time


@family
def hmm(m: Maker) -> None:
    m.axis("t", m.some(0, 4))
    m.variable("s", m.some(1, 3), "t")
    m.given("s[0]")
    m.given("s[t] | s[t-1]")
    _emission(m, "t")


def _emission(m: Maker, axes: str) -> None:
    kind = m.random.choice(["discrete", "diag", "full", "mixture"])
    if kind == "discrete":
        m.variable("w", 2, *axes.split(","))
        m.given(f"w[{axes}] | s[{axes}]")
    elif kind == "mixture":
        m.mixture(f"y[{axes}] | s[{axes}]", 2, 2, m.random.choice(["diag", "full"]))
    else:
        m.gaussian(f"y[{axes}] | s[{axes}]", 2, kind)


@family
def backward_hmm(m: Maker) -> None:
    m.axis("t", m.some(1, 4))
    m.variable("s", m.some(1, 3), "t")
    m.given("s[-1]")
    m.given("s[t] | s[t+1]")
    _emission(m, "t")


@family
def local_latent(m: Maker) -> None:
    """The classical hybrid: a component beside every state."""
    m.axis("t", m.some(1, 3))
    m.variable("s", m.some(2, 3), "t")
    m.variable("m", 2, "t")
    m.given("s[0]")
    m.given("s[t] | s[t-1]")
    m.given("m[t] | s[t]")
    m.gaussian("y[t] | s[t], m[t]", 2, m.random.choice(["diag", "full"]))


@family
def chain_in_plate(m: Maker) -> None:
    m.axis("n", m.some(1, 2))
    m.axis("t", m.some(1, 3), ("n",))
    m.variable("s", 2, "n", "t")
    m.given("s[n,0]")
    m.given("s[n,t] | s[n,t-1]")
    m.gaussian("y[n,t] | s[n,t]", 1)


@family
def coupled(m: Maker) -> None:
    """Two chains that read each other."""
    m.axis("t", m.some(1, 3))
    m.variable("a", 2, "t")
    m.variable("b", m.some(1, 2), "t")
    m.given("a[0]")
    m.given("b[0] | a[0]")
    m.given("a[t] | a[t-1], b[t-1]")
    m.given("b[t] | b[t-1], a[t]")
    m.gaussian("y[t] | a[t], b[t]", 2)


@family
def second_order(m: Maker) -> None:
    m.axis("t", m.some(1, 4))
    m.variable("s", m.some(1, 3), "t")
    m.given("s[0]")
    m.given("s[1] | s[0]")
    m.given("s[t] | s[t-1], s[t-2]")
    m.gaussian("y[t] | s[t]", 1)


@family
def no_state(m: Maker) -> None:
    """A network reads the state before the first."""
    m.axis("t", m.some(1, 3))
    m.variable("s", 2, "t")
    m.variable("w", m.some(2, 3), "t")
    m.given("s[0]")
    m.given("s[t] | s[t-1]")
    m.network("w[t] | s[t-1]")


@family
def read_at_end(m: Maker) -> None:
    """The last state decides a label."""
    m.axis("t", m.some(1, 4))
    m.variable("s", m.some(1, 3), "t")
    m.variable("e", 2)
    m.given("s[0]")
    m.given("s[t] | s[t-1]")
    m.network("e | s[-1]")


@family
def global_in_chain(m: Maker) -> None:
    """One unknown that every step of a chain reads."""
    m.axis("t", m.some(1, 3))
    m.variable("g", 2)
    m.variable("s", 2, "t")
    m.given("g")
    m.given("s[0] | g")
    m.given("s[t] | s[t-1], g")
    _emission(m, "t")


@family
def first_and_last(m: Maker) -> None:
    """Factors of their own at both ends."""
    m.axis("t", m.some(1, 4))
    m.variable("s", m.some(1, 3), "t")
    m.given("s[0]")
    m.given("s[-1]")
    m.given("s[t] | s[t-1]")
    m.gaussian("y[t] | s[t]", 1)


@family
def scored(m: Maker) -> None:
    """A network's outputs as the observations of a chain."""
    m.axis("t", m.some(1, 3), kinds=("none", "lengths", "left"))
    m.variable("s", m.some(1, 3), "t")
    m.given("s[0]")
    m.given("s[t] | s[t-1]")
    m.gaussian("y[t] | s[t]", 2, m.random.choice(["diag", "full"]))
    m.missing.clear()
    m.clean["frames"], m.space.axes["frames"] = m.clean["y"], ("t",)
    m.clean["y"] = 2 * m.clean["frames"]
    m.pieces.append(Piece("y[t] = frames[t]", _Double(), None))
    m.computed = {"y"}


class _Double(nn.Module):
    def forward(self, frames):
        return 2 * frames


# undirected


@family
def field(m: Maker) -> None:
    """A random Markov random field of tables over one to three variables."""
    names = "abcd"[: m.some(2, 4)]
    for name in names:
        m.variable(name, m.some(1, 3))
    scopes = [scope for size in (1, 2, 3) for scope in combinations(names, size)]
    for scope in m.random.sample(scopes, min(len(scopes), m.some(2, 5))):
        m.potential(", ".join(m.random.sample(scope, len(scope))))
    used = {name for piece in m.pieces for name, _ in piece.left}
    for name in set(names) - used:
        m.potential(name)


@family
def crf(m: Maker) -> None:
    m.axis("t", m.some(0, 4))
    m.variable("y", m.some(1, 3), "t")
    m.potential("y[t-1], y[t]")
    m.scores("y[t] | x[t]")
    m.potential("y[0]")
    m.potential("y[-1]")


@family
def forward_crf(m: Maker) -> None:
    """The same with the later element first, and inputs on the transitions."""
    m.axis("t", m.some(1, 4))
    m.variable("y", m.some(1, 3), "t")
    m.potential("y[t+1], y[t]")
    m.scores("y[t-1], y[t] | x[t]")
    m.scores("y[t] | x[t]")


@family
def second_order_crf(m: Maker) -> None:
    m.axis("t", m.some(1, 4))
    m.variable("y", m.some(1, 3), "t")
    m.potential("y[t-2], y[t-1], y[t]")
    m.potential("y[t-2], y[t]")
    m.scores("y[t] | x[t]")


@family
def ring(m: Maker) -> None:
    """A chain whose ends meet."""
    m.axis("t", m.some(1, 4))
    m.variable("y", m.some(1, 3), "t")
    m.potential("y[t-1], y[t]")
    m.potential("y[0], y[-1]")
    m.scores("y[t] | x[t]")


@family
def grid(m: Maker) -> None:
    m.axis("i", m.some(1, 3), kinds=("none",))
    m.axis("j", m.some(1, 3), kinds=("none",))
    m.variable("y", 2, "i", "j")
    m.potential("y[i-1,j], y[i,j]")
    m.potential("y[i,j-1], y[i,j]")
    m.scores("y[i,j] | x[i,j]")


@family
def ragged_grid(m: Maker) -> None:
    """Existence on two axes."""
    m.axis("i", m.some(1, 3), kinds=("none", "lengths"))
    m.axis("j", m.some(1, 3), ("i",), kinds=("lengths",))
    m.variable("y", 2, "i", "j")
    m.potential("y[i-1,j], y[i,j]")
    m.potential("y[i,j-1], y[i,j]")
    m.potential("y[i,j]")


@family
def chain_in_chain(m: Maker) -> None:
    """Rows of chains with holes along one axis."""
    m.axis("n", m.some(1, 2))
    m.axis("t", m.some(1, 3), ("n",))
    m.variable("y", 2, "n", "t")
    m.potential("y[n,t-1], y[n,t]")
    m.potential("y[n,0]")
    m.potential("y[n,-1]")


@family
def boltzmann(m: Maker) -> None:
    """A restricted Boltzmann machine."""
    m.binary("v", m.some(1, 3))
    m.binary("h", m.some(1, 3))
    m.bilinear("v, h")
    m.bias("v")
    m.bias("h")


@family
def boltzmann_plate(m: Maker) -> None:
    """One on every element of a plate, its visible units' biases a table's."""
    m.axis("n", m.some(0, 2))
    m.binary("v", m.some(1, 2), "n")
    m.binary("h", m.some(1, 2), "n")
    m.bilinear("v[n], h[n]")
    m.bias("h[n]")


@family
def deep_boltzmann(m: Maker) -> None:
    for name in ("v", "g", "h"):
        m.binary(name, m.some(1, 2))
    m.bilinear("v, g")
    m.bilinear("g, h")
    m.bias("h")


@family
def units_on_chain(m: Maker) -> None:
    """Vectors of units that a chain's states switch on."""
    m.axis("t", m.some(1, 2))
    m.variable("s", m.some(1, 2), "t")
    m.binary("h", m.some(1, 2), "t")
    m.given("s[0]")
    m.given("s[t] | s[t-1]")
    m.given("h[t] | s[t]")
    if m.random.random() < 0.5:
        m.bias("h[t]")


# mixed


@family
def mixed(m: Maker) -> None:
    """A Bayesian network with potentials on top."""
    for name in "abc":
        m.variable(name, m.some(1, 3))
    m.given("a")
    m.given("b | a")
    m.given("c | a, b")
    m.potential("b, c")
    m.potential("a")


@family
def belief_on_field(m: Maker) -> None:
    """A leaf below a Markov random field, as in a deep belief net."""
    m.variable("a", m.some(2, 3))
    m.variable("b", m.some(1, 3))
    m.variable("c", 2)
    m.potential("a, b")
    m.given("c | b")
    m.gaussian("x | a", 2, "full")


@family
def tagged_chain(m: Maker) -> None:
    """A directed chain with potentials on its pairs and on its last element."""
    m.axis("t", m.some(1, 4))
    m.variable("s", m.some(1, 3), "t")
    m.given("s[0]")
    m.given("s[t] | s[t-1]")
    m.potential("s[t-1], s[t]")
    m.potential("s[-1]")


@family
def factorial(m: Maker) -> None:
    """Two undirected chains tied at every step."""
    m.axis("t", m.some(1, 3))
    m.variable("a", 2, "t")
    m.variable("b", m.some(1, 2), "t")
    m.potential("a[t-1], a[t]")
    m.potential("b[t-1], b[t]")
    m.potential("a[t], b[t]")
    m.scores("a[t] | x[t]")


@family
def global_potential(m: Maker) -> None:
    """A Markov random field that touches a global variable at every step and at one."""
    m.axis("t", m.some(1, 3))
    m.variable("g", 2)
    m.variable("y", 2, "t")
    m.potential("y[t-1], y[t]")
    m.potential("y[t], g")
    m.potential("g, y[0]")

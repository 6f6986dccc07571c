"""Random networks by their scopes: one model a name, many rows of random log-potentials in one batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import torch
from torch import Tensor, nn

import graft
from graft.distributions.supports import Finite, Real
from graft.factors import Scores

#: Random potentials per network and law: rows of one batch.
ROWS = 10


@dataclass(frozen=True)
class Net:
    """Scopes over variables with so many states.

    Attributes:
        scopes: of the tables.
        states: by variable.
        strength: standard deviation of the log-potentials.
        zeros: the share of hard zeros.
    """

    scopes: tuple[tuple[str, ...], ...]
    states: dict[str, int]
    strength: float = 1.0
    zeros: float = 0.0

    @property
    def is_tree(self) -> bool:
        joints = sum(len(scope) for scope in self.scopes)
        return joints == len(self.scopes) + len(self.states) - self.parts

    @property
    def parts(self) -> int:
        groups = [{name} for name in self.states]
        for scope in self.scopes:
            mine = [g for g in groups if g & set(scope)]
            groups = [g for g in groups if not g & set(scope)] + [set().union(*mine)]
        return len(groups)

    def model(self) -> graft.Model:
        factors = [(f"{', '.join(scope)} | w{i}", Scores(Hardened(self.zeros))) for i, scope in enumerate(self.scopes)]
        inputs = {f"w{i}": Real(*(self.states[x] for x in scope)) for i, scope in enumerate(self.scopes)}
        return graft.Model(factors, support={**inputs, **{x: Finite(n) for x, n in self.states.items()}}).double()

    def values(self, seed: int, rows: int = ROWS) -> dict[str, Tensor]:
        made = torch.Generator().manual_seed(seed)
        shapes = [(rows, *(self.states[x] for x in scope)) for scope in self.scopes]
        return {
            f"w{i}": self.strength * torch.randn(shape, generator=made, dtype=torch.float64)
            for i, shape in enumerate(shapes)
        }


class Hardened(nn.Module):
    """Log-potentials of which a share, those least in size, are hard zeros; never the first."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        x = self.scale * x
        if not self.share:
            return x
        size = x.abs() / x.abs().flatten(1).amax(1).reshape(-1, *(1,) * (x.dim() - 1))
        hard = size < torch.quantile(size, self.share)
        hard[(slice(None), *(0,) * (x.dim() - 1))] = False
        return x.masked_fill(hard, -math.inf)


def pairs(edges: str, states: int | Sequence[int] = 2, **more: float) -> Net:
    """Edges as "ab bc", every variable with a table of its own too."""
    names = sorted(set(edges) - {" "})
    counts = [states] * len(names) if isinstance(states, int) else list(states)
    scopes = [tuple(edge) for edge in edges.split()] + [(name,) for name in names]
    return Net(tuple(scopes), dict(zip(names, counts, strict=True)), **more)


def box(height: int, width: int, states: int = 2, **more: float) -> Net:
    """A grid."""
    name = {(i, j): f"x{i}{j}" for i, j in product(range(height), range(width))}
    down = [(name[i, j], name[i + 1, j]) for i, j in name if (i + 1, j) in name]
    across = [(name[i, j], name[i, j + 1]) for i, j in name if (i, j + 1) in name]
    scopes = [*down, *across, *((one,) for one in name.values())]
    return Net(tuple(scopes), dict.fromkeys(name.values(), states), **more)


COMPLETE = " ".join("".join(pair) for pair in combinations("abcdef", 2))

NETS = {
    "one element": pairs("a", 3),
    "one pair": pairs("ab", (2, 3)),
    "chain": pairs("ab bc cd de", 3),
    "star of unlike states": pairs("ab ac ad ae", (2, 3, 4, 2, 3)),
    "two trees": pairs("ab bc de", (2, 3, 2, 2, 4)),
    "tree of triples": Net(
        (("a", "b", "c"), ("c", "d", "e"), ("e",)), dict(zip("abcde", (2, 3, 2, 3, 2), strict=True))
    ),
    "chain with hard zeros": pairs("ab bc cd", 3, zeros=0.3),
    "tree of strong couplings": pairs("ab bc bd de", 3, strength=6.0),
    "ring": pairs("ab bc cd da", (2, 3, 2, 3)),
    "triangle twice": pairs("ab bc ca ab", 2),
    "weak grid": box(3, 4, strength=0.4),
    "grid": box(3, 3),
    "grid of three states": box(2, 3, 3),
    "strong grid": box(3, 3, strength=2.0),
    "complete": pairs(COMPLETE, 2, strength=0.7),
    "strong complete": pairs(COMPLETE, 2, strength=2.0),
    "triples in loops": Net(
        (("a", "b", "c"), ("b", "c", "d"), ("a", "d"), ("d", "e", "a"), ("b",)),
        dict(zip("abcde", (2, 2, 3, 2, 3), strict=True)),
    ),
    "ring with hard zeros": pairs("ab bc cd da", 3, zeros=0.25),
    "grid with hard zeros": box(2, 3, 3, zeros=0.2),
}
TREES = [name for name, net in NETS.items() if net.is_tree]


def exact(net: Net, values: dict[str, Tensor]) -> graft.Posterior:
    return net.model().given(values)


def torus() -> tuple[dict[str, Tensor], graft.Model]:
    """A 4x4 torus of binary elements: the tables of `tests/testfast.fg` of libDAI, with a model that reads them.

    From libDAI (J. M. Mooij, "libDAI: a free and open source C++ library for discrete approximate inference in
    graphical models", JMLR 11, 2010), which is under the BSD 2-clause licence. Every table there is (v, 1/v; 1/v, v)
    for a pair and (v, 1/v) for an element; only v is kept here.
    """
    names = [f"x{i}" for i in range(16)]
    scopes = [(names[int(a)], names[int(b)]) for a, b, _ in COUPLINGS] + [(name,) for name in names]
    net = Net(tuple(scopes), dict.fromkeys(names, 2))
    values = {}
    for i, (_, _, v) in enumerate(COUPLINGS):
        values[f"w{i}"] = math.log(v) * torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]], dtype=torch.float64)
    for i, v in enumerate(FIELDS):
        values[f"w{len(COUPLINGS) + i}"] = math.log(v) * torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    return values, net.model()


COUPLINGS = [
    (0, 1, 0.50642682706079),
    (0, 3, 1.2352015396046),
    (0, 4, 0.56767940536294),
    (0, 12, 0.55052656590526),
    (1, 2, 0.43898294556867),
    (1, 5, 1.831064078623),
    (1, 13, 1.3903485747176),
    (2, 3, 0.58481531122247),
    (2, 6, 1.5596330646909),
    (2, 14, 0.89768153552837),
    (3, 7, 1.0462432557883),
    (3, 15, 0.77279470413231),
    (4, 5, 1.3105292388585),
    (4, 7, 0.97355416145559),
    (4, 8, 0.4047606195496),
    (5, 6, 0.43500831412106),
    (5, 9, 0.76229363075105),
    (6, 7, 0.64752760170748),
    (6, 10, 2.0478590660831),
    (7, 11, 0.80739864245046),
    (8, 9, 2.6310917043359),
    (8, 11, 1.6723443743364),
    (8, 12, 2.0658398413315),
    (9, 10, 0.54424622899323),
    (9, 13, 1.9870315102311),
    (10, 11, 1.2190979644608),
    (10, 14, 2.0968141189151),
    (11, 15, 2.1866755921376),
    (12, 13, 0.3686715885806),
    (12, 15, 1.7567863273152),
    (13, 14, 0.97446683998919),
    (14, 15, 0.50751730577226),
]
FIELDS = [
    0.79829293324787,
    1.5037120707519,
    0.75949272564564,
    0.952586483626,
    1.0129167360496,
    0.3884658377108,
    1.5143199063099,
    0.58116800722508,
    0.94791545998362,
    0.58284868496538,
    1.2208444069734,
    0.45700593414142,
    1.542447604411,
    1.3432382535607,
    0.54039818081703,
    0.43255190550874,
]

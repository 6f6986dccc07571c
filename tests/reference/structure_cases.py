"""Named examples of distributions over structures: how to make one, and the same by listing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import torch
from tests.reference.structures import Cuts, HiddenCuts, Labelled, Listed, Spanning
from torch import Tensor

from graft.structured.hidden_semi_markov import HiddenSemiMarkov
from graft.structured.segmentation import Segmentation
from graft.structured.semi_markov import SemiMarkov
from graft.structured.spanning_tree import SpanningTree
from graft.structured.tree import Tree

NEG_INF = float("-inf")


@dataclass(frozen=True)
class Case:
    """How to make one distribution; `zeros` is a share of `-inf`, `of` names tables and how they are shared."""

    family: str
    batch: tuple[int, ...] = (5,)
    length: int = 4
    states: int = 2
    longest: int = 3
    existence: str = "none"  # none, lengths, left (padding), holes
    zeros: float = 0.0
    of: dict[str, str] = field(default_factory=dict)
    censored: bool = False
    single: bool = False


@dataclass(frozen=True)
class Family:
    """A kind of structure.

    `leaves` draws potentials, `build` makes the distribution of them, `row` lists one row; a structure is a tuple of
    integer tensors to the laws: `pack` and `unpack` go from it to what the distribution takes, and back.
    """

    leaves: Callable[[Case, torch.Generator, Tensor], dict[str, Tensor]]
    build: Callable[..., object]
    row: Callable[..., Listed]
    pack: Callable[[tuple[Tensor, ...]], object]
    unpack: Callable[[object], tuple[Tensor, ...]]
    #: Leaves that have elements (or steps between them) as their first dimension, as the row wants them.
    steps: tuple[str, ...]
    #: Which dimensions a leaf has at least.
    core: dict[str, int]


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def with_zeros(x: Tensor, share: float, kept: tuple, generator: torch.Generator) -> Tensor:
    """Some entries forbidden, never those at `kept`."""
    gone = torch.rand(x.shape, generator=generator) < share
    gone[kept] = False
    return x.masked_fill(gone, NEG_INF)


def table(case: Case, how: str, steps: int, lines: int, generator: torch.Generator) -> Tensor:
    lead = {"table": (), "one": (*case.batch, 1), "shared": (steps,), "each": (*case.batch, steps)}[how]
    x = normal(*lead, lines, case.states, generator=generator)
    return with_zeros(x, case.zeros, (..., 0, 0), generator)


def cut_leaves(case: Case, generator: torch.Generator, exists: Tensor) -> dict[str, Tensor]:
    """Segments of one element and label 0 are always possible."""
    found = {}
    for name, how in case.of.items():
        lines = case.states if name == "transitions" else case.longest
        steps = max(case.length - 1, 0) if name == "transitions" else case.length
        if name in ("unary", "starts"):
            x = normal(*(case.batch if how == "each" else ()), case.length, case.states, generator=generator)
            found[name] = with_zeros(x, case.zeros, (..., 0), generator)
        else:
            found[name] = table(case, how, steps, lines, generator)
    return found


def hidden_leaves(case: Case, generator: torch.Generator, exists: Tensor) -> dict[str, Tensor]:
    lead = case.batch if case.of.get("tables") == "each" else ()
    shapes = {"initial": (), "transitions": (case.states,), "durations": (case.longest,)}
    found = {}
    for name, lines in shapes.items():
        x = normal(*lead, *lines, case.states, generator=generator)
        x = with_zeros(x, case.zeros, (..., 0) if name != "durations" else (..., 0, slice(None)), generator)
        found[name] = x.log_softmax(-2 if name == "durations" else -1)
    x = normal(*case.batch, case.length, case.states, generator=generator)
    return found | {"emissions": with_zeros(x, case.zeros, (..., 0), generator)}


def tree_leaves(case: Case, generator: torch.Generator, exists: Tensor) -> dict[str, Tensor]:
    unary = with_zeros(
        normal(*case.batch, case.length, case.states, generator=generator), case.zeros, (..., 0), generator
    )
    pairwise = table(case, case.of["pairwise"], case.length, case.states, generator)
    order = torch.rand(exists.shape, generator=generator).where(exists, 2.0).argsort(-1)
    place = (torch.rand(exists.shape, generator=generator) * torch.arange(case.length)).long()
    above = torch.where(torch.rand(exists.shape, generator=generator) < 0.2, -1, order.gather(-1, place))
    above[..., :1] = -1
    parents = torch.full_like(above, -7).scatter(-1, order, above)
    return {"unary": unary, "pairwise": pairwise, "parents": parents.where(exists, 99)}


def spanning_leaves(case: Case, generator: torch.Generator, exists: Tensor) -> dict[str, Tensor]:
    """Each node may always have an earlier one as head."""
    arcs = normal(*case.batch, case.length, case.length, generator=generator) * 2
    kept = torch.ones(case.length, case.length, dtype=torch.bool).triu()
    gone = (torch.rand(arcs.shape, generator=generator) < case.zeros) & ~kept
    roots = normal(*case.batch, case.length, generator=generator)
    if case.existence == "none":
        roots = with_zeros(roots, case.zeros, (..., slice(1)), generator)
    return {"arcs": arcs.masked_fill(gone, NEG_INF), "roots": roots}


def build_cuts(case: Case, leaves: dict[str, Tensor], **existence) -> SemiMarkov:
    return SemiMarkov(**leaves, **existence)


def build_hidden(case: Case, leaves: dict[str, Tensor], **existence) -> HiddenSemiMarkov:
    return HiddenSemiMarkov(**leaves, **existence, censored=case.censored)


def build_tree(case: Case, leaves: dict[str, Tensor], **existence) -> Tree:
    return Tree(**leaves, **existence)


def build_spanning(case: Case, leaves: dict[str, Tensor], **existence) -> SpanningTree:
    return SpanningTree(**leaves, **existence, single_root=case.single)


def hidden_row(case: Case, exists, **leaves) -> Listed:
    return HiddenCuts(exists, **leaves, censored=case.censored)


CUT_CORE = {"segments": 3, "transitions": 3, "unary": 2, "starts": 2, "last": 3}
FAMILIES = {
    "semi-Markov": Family(
        cut_leaves,
        build_cuts,
        lambda case, exists, **leaves: Cuts(exists, **leaves),
        lambda y: Segmentation(*y),
        tuple,
        ("segments", "transitions", "last"),
        CUT_CORE,
    ),
    "hidden semi-Markov": Family(
        hidden_leaves,
        build_hidden,
        hidden_row,
        lambda y: Segmentation(*y),
        tuple,
        (),
        {"initial": 1, "transitions": 2, "durations": 2, "emissions": 2},
    ),
    "tree": Family(
        tree_leaves,
        build_tree,
        lambda case, exists, **leaves: Labelled(exists, **leaves),
        lambda y: y[0],
        lambda y: (y,),
        ("pairwise",),
        {"unary": 2, "pairwise": 3, "parents": 1},
    ),
    "spanning tree": Family(
        spanning_leaves,
        build_spanning,
        lambda case, exists, **leaves: Spanning(exists, **leaves, single=case.single),
        lambda y: y[0],
        lambda y: (y,),
        (),
        {"arcs": 2, "roots": 1},
    ),
}

STREAM = {"segments": "table", "transitions": "table", "unary": "each"}
EVERY = {"segments": "each", "transitions": "each", "unary": "each", "starts": "each", "last": "each"}
CASES = {
    "durations and elements": Case("semi-Markov", of=STREAM),
    "no batch": Case("semi-Markov", batch=(), length=5, of=STREAM),
    "two batch dims": Case("semi-Markov", batch=(2, 3), of={**STREAM, "starts": "shared"}),
    "empty batch": Case("semi-Markov", batch=(0,), of=STREAM),
    "segments of a network": Case("semi-Markov", of={"segments": "each", "transitions": "table"}),
    "everything": Case("semi-Markov", of=EVERY),
    "everything shared": Case("semi-Markov", of={**dict.fromkeys(EVERY, "shared"), "unary": "each"}),
    "tables by row": Case("semi-Markov", of={**dict.fromkeys(EVERY, "one"), "unary": "each", "starts": "each"}),
    "last segment": Case("semi-Markov", of={**STREAM, "last": "table"}, existence="lengths"),
    "longer than the row": Case("semi-Markov", longest=6, length=3, of=STREAM),
    "one duration": Case("semi-Markov", longest=1, of=STREAM),
    "one label": Case("semi-Markov", states=1, length=6, of=STREAM),
    "three labels": Case("semi-Markov", states=3, length=3, of=STREAM),
    "one element": Case("semi-Markov", length=1, existence="lengths", of=EVERY),
    "no element": Case("semi-Markov", length=0, of=STREAM),
    "no element, everything": Case("semi-Markov", length=0, of=EVERY, existence="holes"),
    "lengths": Case("semi-Markov", length=5, existence="lengths", batch=(8,), of=STREAM),
    "lengths, everything": Case("semi-Markov", existence="lengths", batch=(8,), of=EVERY),
    "lengths, segments": Case("semi-Markov", existence="lengths", of={"segments": "shared", "transitions": "one"}),
    "left padding": Case("semi-Markov", existence="left", batch=(8,), of=EVERY),
    "holes": Case("semi-Markov", length=5, existence="holes", batch=(8,), of=STREAM),
    "holes, everything": Case("semi-Markov", existence="holes", batch=(8,), of=EVERY),
    "holes, shared": Case(
        "semi-Markov", existence="holes", batch=(8,), of={**dict.fromkeys(EVERY, "shared"), "unary": "each"}
    ),
    "zeros": Case("semi-Markov", zeros=0.4, batch=(10,), of=STREAM),
    "zeros, everything": Case("semi-Markov", zeros=0.3, batch=(10,), of=EVERY, existence="lengths"),
    "zeros, holes": Case("semi-Markov", zeros=0.4, batch=(10,), of=EVERY, existence="holes"),
    "one segmentation": Case("semi-Markov", zeros=1.0, of=EVERY),
    "small, everything": Case("semi-Markov", batch=(1,), length=3, longest=2, zeros=0.3, of=EVERY, existence="holes"),
    "small, shared": Case("semi-Markov", batch=(2,), length=3, longest=2, existence="lengths", of=STREAM),
    "hidden": Case("hidden semi-Markov"),
    "hidden, censored": Case("hidden semi-Markov", censored=True, existence="lengths"),
    "hidden, by row": Case("hidden semi-Markov", of={"tables": "each"}, censored=True),
    "hidden, holes": Case("hidden semi-Markov", existence="holes", batch=(8,), censored=True),
    "hidden, zeros": Case("hidden semi-Markov", zeros=0.4, censored=True, existence="lengths"),
    "hidden, no batch": Case("hidden semi-Markov", batch=(), states=3, length=3, longest=2),
    "trees": Case("tree", length=5, of={"pairwise": "each"}),
    "trees, one table": Case("tree", length=5, of={"pairwise": "table"}),
    "trees, a table by row": Case("tree", of={"pairwise": "one"}),
    "trees, shared tables": Case("tree", states=3, of={"pairwise": "shared"}),
    "one tree": Case("tree", batch=(), length=6, of={"pairwise": "each"}),
    "trees, two batch dims": Case("tree", batch=(2, 3), of={"pairwise": "each"}),
    "trees, empty batch": Case("tree", batch=(0,), of={"pairwise": "each"}),
    "trees, one node": Case("tree", length=1, existence="lengths", of={"pairwise": "each"}),
    "trees, no node": Case("tree", length=0, of={"pairwise": "table"}),
    "trees, one state": Case("tree", states=1, of={"pairwise": "table"}),
    "trees, small": Case("tree", batch=(2,), length=3, zeros=0.3, of={"pairwise": "each"}, existence="holes"),
    "trees, lengths": Case("tree", length=5, existence="lengths", batch=(8,), of={"pairwise": "each"}),
    "trees, holes": Case("tree", length=5, existence="holes", batch=(8,), of={"pairwise": "shared"}),
    "trees, zeros": Case("tree", length=5, zeros=0.4, batch=(8,), of={"pairwise": "each"}),
    "spanning trees": Case("spanning tree"),
    "spanning trees, one root": Case("spanning tree", single=True),
    "spanning tree, no batch": Case("spanning tree", batch=()),
    "spanning trees, two batch dims": Case("spanning tree", batch=(2, 2), length=3, single=True),
    "spanning trees, empty batch": Case("spanning tree", batch=(0,), single=True),
    "spanning trees, no node": Case("spanning tree", length=0),
    "spanning trees, one node": Case("spanning tree", length=1, existence="lengths", single=True),
    "spanning trees, lengths": Case("spanning tree", existence="lengths", batch=(6,)),
    "spanning trees, one root, lengths": Case("spanning tree", existence="lengths", batch=(6,), single=True),
    "spanning trees, zeros": Case("spanning tree", zeros=0.5, batch=(5,)),
    "spanning trees, one root, zeros": Case("spanning tree", zeros=0.5, batch=(5,), single=True),
    "spanning trees, holes": Case("spanning tree", zeros=0.5, batch=(6,), existence="holes"),
    "spanning trees, one root, holes": Case("spanning tree", zeros=0.5, batch=(6,), existence="holes", single=True),
    "spanning trees, small": Case("spanning tree", zeros=0.5, batch=(1,), length=3, existence="lengths"),
    "spanning trees, one root, small": Case("spanning tree", zeros=0.5, batch=(1,), length=3, single=True),
    "trees, zeros and holes": Case("tree", length=5, zeros=0.4, batch=(8,), existence="holes", of={"pairwise": "one"}),
}


def existence(case: Case, generator: torch.Generator) -> Tensor:
    shape, time = (*case.batch, case.length), torch.arange(case.length)
    lengths = torch.randint(0, case.length + 1, case.batch, generator=generator)
    if case.existence == "none":
        return torch.ones(shape, dtype=torch.bool)
    if case.existence == "holes":
        return torch.rand(shape, generator=generator) < 0.6
    return time < lengths[..., None] if case.existence == "lengths" else time >= lengths[..., None]


@cache
def make(name: str, seed: int = 0) -> tuple[dict[str, Tensor], Tensor]:
    """The leaves of a case and which elements exist; the same elements and trees for every seed."""
    case = CASES[name]
    exists = existence(case, torch.Generator().manual_seed(len(name)))
    leaves = FAMILIES[case.family].leaves(case, torch.Generator().manual_seed(len(name) + seed), exists)
    fixed = FAMILIES[case.family].leaves(case, torch.Generator().manual_seed(len(name)), exists)
    return {k: x if x.is_floating_point() else fixed[k] for k, x in leaves.items()}, exists


def told(case: Case, exists: Tensor) -> dict[str, Tensor]:
    """How the distribution is told what exists."""
    if case.existence == "lengths":
        return {"lengths": exists.sum(-1)}
    return {} if case.existence == "none" else {"mask": exists}


def build(name: str, leaves: dict[str, Tensor] | None = None, seed: int = 0):
    """The distribution of a case."""
    own, exists = make(name, seed)
    return FAMILIES[CASES[name].family].build(
        CASES[name], own if leaves is None else leaves, **told(CASES[name], exists)
    )


def of_row(name: str, leaf: str, x: Tensor, row: int) -> Tensor:
    """What one row sees of a leaf, without batch dimensions."""
    case, core = CASES[name], FAMILIES[CASES[name].family].core[leaf]
    shared = x.dim() <= core
    if shared:
        return x
    return x.expand(*case.batch, *x.shape[len(case.batch) :]).reshape(
        math.prod(case.batch), *x.shape[len(case.batch) :]
    )[row]


@cache
def rows(name: str, seed: int = 0) -> list[Listed]:
    """The same, row by row, by listing."""
    case, (leaves, exists) = CASES[name], make(name, seed)
    family, flat = FAMILIES[case.family], exists.reshape(math.prod(case.batch), case.length)
    found = []
    for row in range(len(flat)):
        own = {}
        for leaf, x in leaves.items():
            x = of_row(name, leaf, x, row)
            if leaf in family.steps:
                steps = max(case.length - (leaf == "transitions"), 0)
                x = (x if x.dim() > 2 else x[None]).expand(steps, -1, -1)
            own[leaf] = x.tolist()
        found.append(family.row(case, flat[row].tolist(), **own))
    return found

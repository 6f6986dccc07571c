"""How far the guide is from the model's conditionals, variable by variable."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.evaluation.drawing import Drawing, cells, draws, over_states
from graft.evaluation.figure import Figure
from graft.evaluation.kinds import Kind
from graft.evaluation.likelihood import several
from graft.evaluation.moments import Moments
from graft.evaluation.rows import Rows, at_once, at_rest, portions
from graft.graph.nodes import Node
from graft.inference.draws import seeded
from graft.objectives.base import total
from graft.objectives.guided import Run


def divergences(
    model: Any, guide: Any, batch: Any, samples: int = 1000, chunk: int | None = None, seed: int | None = None
) -> dict[str, Figure]:
    r"""$E_q[\log q(v \mid \cdot) - \log p(v \mid \cdot)]$ of every variable v that the guide draws, in nats.

    Their sum is what the evidence lower bound subtracts from $E_q[\log p(x \mid z)]$. The term of a variable is its
    divergence in closed form where torch has one and nothing that it reads comes later, and the mean of that over draws
    of what it reads; states of discrete variables with few are gone through. A figure that needs no draws is exact.

    Where guide and model read different variables (`z2 | z1` and `z1 | z2`), a term alone is no divergence and may be
    negative; the sum never is.

    Args:
        model: p, of conditionals alone.
        guide: q.
        batch: values and evidence by name, and possibly `lengths`, `mask` or `sizes`.
        samples: draws of the guide for each row, at least two.
        chunk: draws that one run holds, samples times rows.
        seed: makes the draws repeatable without touching the global random state.

    Returns:
        A figure by name, in the guide's order.

    Raises:
        FormulaError: if the guide does not fit the model.
        GraftError: wrong names, shapes or values; an empty batch; a model with potentials; a conditional of the model
            that reads what the guide leaves out.

    Source: Kingma & Welling 2014, eq. 3, variable by variable.

    Example:
        >>> from graft.factors import Gaussian
        >>> from graft.model import Model
        >>> from torch import nn
        >>> p = Model({"z": Gaussian(dim=2), "x | z": Gaussian(nn.Linear(2, 3), dim=3, scale=1.0)})
        >>> q = Model({"z | x": Gaussian(nn.Linear(3, 4), dim=2)})
        >>> with torch.no_grad():
        ...     for one in q.parameters():
        ...         _ = one.zero_()
        ...     _ = q.factors[0].net.bias[0] = 1.0
        >>> print(divergences(p, q, {"x": torch.zeros(5, 3)})["z"])
        KL(z): 0.5 nats (exact, 5 rows)
    """
    objective = Drawing(model, guide, "divergences", enumerating=True)
    if not objective.program.model.directed:
        raise GraftError("divergences: a model with potentials has no conditional of each variable")
    count = several(samples)
    with at_rest(model, guide), seeded(seed):
        rows = Rows(model, batch, "divergences")
        most = at_once(chunk, rows.width * cells(objective))
        size = max(1, most // count)
        found = [_of_piece(objective, rows.take(*piece), count, max(1, most // size)) for piece in rows.pieces(size)]
    return {name: _figure(name, rows, [piece[name] for piece in found]) for name in found[0]}


#: The sums of a piece of rows, and whether draws had a part in them.
Piece = dict[str, tuple[Moments, bool]]


def _of_piece(objective: Drawing, batch: Any, samples: int, most: int) -> Piece:
    found: Piece = {}
    for count in portions(samples, most):
        run = objective.run(batch, samples=count)
        drawn = draws(objective, run.known)
        for name in objective.names:
            if name in run.known:
                continue
            value, depends = _term(run, name)
            moments, _ = found.setdefault(name, (Moments(), bool(depends & drawn)))
            each = over_states(run, value)
            moments.add(each.reshape(len(each), -1))
        if not any(noisy for _, noisy in found.values()):
            break
    if not found:
        raise GraftError("divergences: the guide draws nothing that the batch does not give")
    return found


def _term(run: Run, name: str) -> tuple[Tensor, frozenset[str]]:
    """The term of a variable, (extra, batch) or broadcast to it, and the draws that it depends on."""
    trace, reached = run.trace, run.objective.reached(run.known)
    theirs = [node for node in trace.model if node.head.name == name]
    _all_drawn(run, name, theirs)
    parts, depends = [], frozenset[str]()
    for node in run.nodes(name):
        twin = next((other for other in theirs if other.head.indices == node.head.indices), None)
        closed = trace.kl(node, twin) if twin is not None and reached.settled(twin) else None
        if closed is not None and twin is not None:
            theirs.remove(twin)
            parts.append(closed)
            depends |= reached.of(node, head=False) | reached.of(twin, head=False)
        else:
            parts.append(trace.log_q(node))
            depends |= reached.of(node) | {name}
    for node in theirs:
        parts.append(-trace.log_p(node))
        depends |= reached.of(node) | {name}
    return total(parts), depends


def _all_drawn(run: Run, name: str, nodes: list[Node]) -> None:
    """Whether what the model's conditionals read is known at every draw.

    Raises:
        GraftError: naming what is not.
    """
    for node in nodes:
        for term in node.reads:
            if term.name in run.trace.unknown:
                raise GraftError(f"divergences: p({node}) of {name} reads {term.name}, which the guide leaves out")


def _figure(name: str, rows: Rows, pieces: list[tuple[Moments, bool]]) -> Figure:
    noisy = any(drawn for _, drawn in pieces)
    mean = rows.back(torch.cat([one.mean.reshape(-1) for one, _ in pieces]))
    if not noisy:
        return Figure(f"KL({name})", Kind.EXACT, mean, torch.zeros_like(mean))
    return Figure(f"KL({name})", Kind.ESTIMATE, mean, rows.back(torch.cat([one.error for one, _ in pieces])))

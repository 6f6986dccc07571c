"""Joint moments of several terms of one Gaussian part, such as `z[t-1], z[t]`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from graft.errors import GraftError
from graft.factors.events import validation
from graft.graph.nodes import index_of
from graft.graph.terms import Axis, Term
from graft.inference.draws import visible
from graft.inference.gaussian_solved import Solved
from graft.structured.gaussian_normals import factor


def joint(solved: Solved, terms: Sequence[Term], text: str) -> MultivariateNormal:
    """The terms' values one after the other, at every element at which all stand; as `marginals["y[t-1], y[t]"]`.

    Elements that do not exist are standard normal.

    Raises:
        GraftError: the terms differ in their axes, lie too far apart, or have no joint density.
    """
    offsets = [_offset(solved, term, text) for term in terms]
    if len(set(zip((term.name for term in terms), offsets, strict=True))) < len(terms):
        raise GraftError("a joint marginal needs different terms")
    mean, covariance, alive = _picked(solved, terms, [max(offsets) - offset for offset in offsets], text)
    part, frame = solved.found.part, solved.found.frame
    axes = solved.found.variables[terms[0].name].axes
    wide = [solved.found.restored(x) for x in (mean, covariance, alive.expand(solved.system.rows, -1))]
    if part.letter is None:
        wide = [x.select(frame.rank + len(part.common), 0) for x in wide]
    mean, covariance, alive = (frame.spread(x, solved.found.letters, axes) for x in wide)
    exists = frame.exists(axes)
    alive = alive if exists is None else alive & exists
    scale = factor(covariance, alive, f"the joint marginal {text!r}")
    mean = torch.where(alive[..., None], mean, 0.0)
    if part.letter is None:
        return _normal(mean, scale, frame.dtype)
    place = frame.rank + axes.index(part.letter)
    # entries stand where the letter itself points, as those of tables do
    low, high = max(0, -min(offsets)), frame.sizes[part.letter or ""] - max(0, *offsets)
    moved = [x.roll(-max(offsets), place) for x in (mean, scale, alive.to(mean.dtype))]
    mean, scale, there = (visible(x, axes, frame).narrow(place, min(low, high), max(high - low, 0)) for x in moved)
    eye = torch.eye(scale.shape[-1], dtype=scale.dtype, device=scale.device)
    scale = torch.where(there[..., None, None] > 0, scale, eye)
    return _normal(mean, scale, frame.dtype)


def _offset(solved: Solved, term: Term, text: str) -> int:
    """How far from the letter of the part a term stands."""
    variable, letters = solved.found.variables[term.name], solved.found.letters
    if set(variable.axes) != set(letters) or not all(isinstance(index, Axis) for index in term.indices):
        raise GraftError(f"{text!r}: joint marginals are of terms along the axes {', '.join(letters) or 'none'}")
    index = index_of(term, variable, solved.found.part.letter or "")
    return index.offset if isinstance(index, Axis) else 0


def _picked(solved: Solved, terms: Sequence[Term], backs: Sequence[int], text: str) -> tuple[Tensor, Tensor, Tensor]:
    """Moments of the terms where the latest of them stands, (rows, T, d) and (rows, T, d, d), and where all exist."""
    layout, width = solved.layout, solved.system.states
    columns = []
    for term, back in zip(terms, backs, strict=True):
        depth = layout.depth[term.name]
        if back > depth:
            raise GraftError(f"{text!r} spans {back} steps; joint marginals span as many as the factors, {depth}")
        block = layout.block(term.name, min(back, depth - 1))
        columns += [i + width * (back == depth) for i in range(block.start, block.stop)]
    mean, covariance = _with_past(solved)
    index = torch.tensor(columns, device=mean.device)
    steps = torch.arange(solved.system.steps, device=mean.device)
    return mean[..., index], covariance[..., index, :][..., index], steps >= max(backs)


def _with_past(solved: Solved) -> tuple[Tensor, Tensor]:
    """Moments of each state and the one before it, one below the other; zeros before the first."""
    mean, covariance = solved.smoothed
    cross = solved.backward.gain[:, :-1] @ covariance[:, 1:]
    before, zero = torch.cat([torch.zeros_like(mean[:, :1]), mean[:, :-1]], 1), torch.zeros_like(covariance[:, :1])
    past = torch.cat([zero, covariance[:, :-1]], 1)
    cross = torch.cat([zero, cross], 1)
    rows = torch.cat([torch.cat([covariance, cross.mT], -1), torch.cat([cross, past], -1)], -2)
    return torch.cat([mean, before], -1), rows


def _normal(mean: Tensor, scale: Tensor, dtype: torch.dtype) -> MultivariateNormal:
    return MultivariateNormal(mean.to(dtype), scale_tril=scale.to(dtype), validate_args=validation(mean))

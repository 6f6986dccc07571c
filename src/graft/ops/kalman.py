"""Kalman filtering of a `System`: a loop over time, or a scan of logarithmic depth, to the same numbers."""

from __future__ import annotations

from math import log, pi
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from graft.errors import GraftError
from graft.ops.kalman_scan import Element, filtering_product, scan
from graft.ops.kalman_system import Readings, System, apply, read, symmetric, weigh
from graft.ops.logspace import NEG_INF

Method = Literal["sequential", "parallel"]


class Beliefs(NamedTuple):
    """Means (b, T, D) and covariances (b or 1, T, D, D) of all states."""

    mean: Float[Tensor, "b t d"]
    covariance: Float[Tensor, "#b t d d"]


def filtered(system: System, method: Method | None = None) -> Beliefs:
    """The states given evidence up to and at each.

    Args:
        system: what is filtered.
        method: how; by default what `chosen` says.

    Raises:
        GraftError: `method` is parallel and cannot be, since a reading is noiseless in some direction.
    """
    if method is None:
        method = chosen(system)
    elif method == "parallel" and not _scannable(system):
        raise GraftError("in parallel, readings need noise in all directions: C Q C' + R is singular at some step")
    mean, covariance = _scanned(system) if method == "parallel" else _looped(system)
    return Beliefs(mean.expand(system.rows, -1, -1), covariance)


def chosen(system: System) -> Method:
    """The faster method, by what was measured (see `docs/kalman.md`): a scan does several times the work of a loop, in
    far fewer calls.

    Where evidence tells far more than the start, a filter's differences lose their digits, and a scan, which composes
    evidence before it meets the start, keeps them: it is then taken whatever the size.

    A loop costs about the same per step until a step's matrices hold some thousand numbers; a scan wins where the
    sequence is long and a step is small.
    """
    if system.steps > 1 and _diffuse(system) and _scannable(system):
        return "parallel"
    small = system.matrix_rows * system.states**2 + system.rows * system.states <= SMALL_STEP
    device = system.mean.device.type != "cpu"
    if system.steps < LONG or not (small or device):
        return "sequential"
    return "parallel" if _scannable(system) else "sequential"


#: Fewest steps for which a scan is worth its set-up, and the numbers in one step up to which its extra work is.
LONG, SMALL_STEP = 32, 2048

#: The variance of a first state in units of the noise it is read with, above which a loop is right to 1e-8 no more.
DIFFUSE = 1e8


def _diffuse(system: System) -> bool:
    """Whether the first state is known so much worse than its evidence tells it."""
    covariance, found = system.covariance.detach(), []
    if system.readings is not None:
        loading, noise = system.readings.loading[:, 0].detach(), system.readings.noise[:, 0].detach()
        before = (loading @ covariance @ loading.mT).diagonal(dim1=-2, dim2=-1)
        noise = noise.diagonal(dim1=-2, dim2=-1)
        found.append((before > DIFFUSE * noise) & (noise > 0))
    if system.weights is not None:
        precision = system.weights.precision[:, 0].detach().diagonal(dim1=-2, dim2=-1)
        found.append(covariance.diagonal(dim1=-2, dim2=-1) * precision > DIFFUSE)
    return any(bool(x.any()) for x in found)


def _scannable(system: System) -> bool:
    """Whether a step's readings have noise in all directions even if the state before is known."""
    readings = system.readings
    if readings is None or system.steps == 1:
        return True
    loading, noise = _later(readings.loading), _later(readings.noise)
    spread = symmetric(loading @ system.noise @ loading.mT) + noise
    scale, failed = torch.linalg.cholesky_ex(spread.detach())
    pivots = scale.diagonal(dim1=-2, dim2=-1).square() / spread.detach().diagonal(dim1=-2, dim2=-1)
    return not bool(failed.any()) and (pivots.numel() == 0 or bool((pivots > 1e-12).all()))


def _later(x: Tensor) -> Tensor:
    """Entries of the steps after the first."""
    return x if x.shape[1] == 1 else x[:, 1:]


def _series(x: Tensor, steps: int) -> list[Tensor]:
    return [x[:, 0]] * steps if x.shape[1] == 1 else list(x.unbind(1))


def _looped(system: System) -> tuple[Tensor, Tensor]:
    steps = system.steps
    moves = [_series(x, steps - 1) for x in (system.transition, system.offset, system.noise)]
    readings, weights = system.readings, system.weights
    told = [] if readings is None else [_series(x, steps) for x in (readings.loading, readings.value, readings.noise)]
    pulls = [] if weights is None else [_series(x, steps) for x in (weights.precision, weights.shift)]
    mean, covariance = system.mean, system.covariance
    means, covariances = [], []
    for t in range(steps):
        if t:
            step = moves[0][t - 1]
            mean = apply(step, mean) + moves[1][t - 1]
            covariance = step @ covariance @ step.mT + moves[2][t - 1]
        if told:
            mean, covariance = read(told[0][t], told[1][t], told[2][t], mean, covariance)
        if pulls:
            mean, covariance = weigh(pulls[0][t], pulls[1][t], mean, covariance)
        means.append(mean.expand(system.rows, -1))
        covariances.append(covariance.expand(system.matrix_rows, -1, -1))
    return torch.stack(means, 1), torch.stack(covariances, 1)


def _scanned(system: System) -> tuple[Tensor, Tensor]:
    _, mean, covariance, _, _ = scan(filtering_product, _elements(system))
    return mean, covariance


def _elements(system: System) -> Element:
    """One element per state: its step with its evidence."""
    first, later = _first(system), _rest(system)
    rows = [system.matrix_rows, system.rows, system.matrix_rows, system.rows, system.matrix_rows]
    found = []
    for a, b, count in zip(first, later, rows, strict=True):
        tail = b.expand(count, system.steps - 1, *b.shape[2:])
        found.append(torch.cat([a.expand(count, 1, *a.shape[2:]), tail], 1))
    return tuple(found)


def _first(system: System) -> Element:
    """The first state, which nothing comes before."""
    mean, covariance = system.mean, system.covariance
    readings, weights = system.readings, system.weights
    if readings is not None:
        mean, covariance = read(readings.loading[:, 0], readings.value[:, 0], readings.noise[:, 0], mean, covariance)
    if weights is not None:
        mean, covariance = weigh(weights.precision[:, 0], weights.shift[:, 0], mean, covariance)
    none = torch.zeros_like(covariance)
    return tuple(x.unsqueeze(1) for x in (none, mean, covariance, torch.zeros_like(mean), none))


def _rest(system: System) -> Element:
    """Steps into later states: with readings alone, then with the weights as an element of their own composed on."""
    a, b, c = system.transition, system.offset, system.noise
    zero = torch.zeros((), dtype=a.dtype, device=a.device)
    shift, precision = zero.expand(b.shape), zero.expand(a.shape)
    readings, weights = system.readings, system.weights
    if readings is not None:
        loading, value, noise = _later(readings.loading), _later(readings.value), _later(readings.noise)
        scale = torch.linalg.cholesky_ex(symmetric(loading @ c @ loading.mT) + noise)[0]
        error = value - apply(loading, b)
        known = torch.cholesky_solve(loading, scale)
        shift = apply(a.mT, apply(known.mT, error))
        precision = symmetric(a.mT @ loading.mT @ known @ a)
        b, c = read(loading, value, noise, b, c)
        eye = torch.eye(system.states, dtype=a.dtype, device=a.device)
        a = a - system.noise @ known.mT @ loading @ a if loading.shape[-2] else eye @ a
    if weights is not None:
        j, h = _later(weights.precision), _later(weights.shift)
        eye = torch.eye(system.states, dtype=a.dtype, device=a.device).expand(j.shape)
        none = zero.expand(j.shape)
        return filtering_product((a, b, c, shift, precision), (eye, zero.expand(h.shape), none, h, j))
    return a, b, c, shift, precision


def predicted(system: System, found: Beliefs) -> Beliefs:
    """The states given evidence before each, from the filtered ones."""
    step = system.transition
    mean = apply(step, found.mean[:, :-1]) + system.offset
    covariance = symmetric(step @ found.covariance[:, :-1] @ step.mT) + system.noise
    rows, wide = system.rows, system.matrix_rows
    first = system.mean.expand(rows, -1)[:, None], system.covariance.expand(wide, -1, -1)[:, None]
    later = mean.expand(rows, system.steps - 1, -1), covariance.expand(wide, system.steps - 1, -1, -1)
    return Beliefs(torch.cat([first[0], later[0]], 1), torch.cat([first[1], later[1]], 1))


def log_likelihoods(system: System, before: Beliefs) -> Float[Tensor, "b t"]:
    r"""$\log p(\text{evidence}_t \mid \text{evidence}_{<t})$ of each step, from the predicted states; their sum is
    $\log Z$.

    Raises:
        GraftError: a reading is noiseless in a direction in which the state is known already, or numbers overflow.
    """
    mean, covariance = before
    total = mean.new_zeros(system.rows, system.steps)
    if system.readings is not None:
        total = total + _reading(system.readings, mean, covariance)
        if system.weights is not None:
            mean, covariance = read(
                system.readings.loading, system.readings.value, system.readings.noise, mean, covariance
            )
    if system.weights is not None:
        weights = system.weights
        total = total + weights.constant + _weighing(weights.precision, weights.shift, mean, covariance)
    return total if not bool(total.detach().isnan().any()) else _overflown(system, total)


def _overflown(system: System, total: Tensor) -> Tensor:
    """Log-densities of which some are NaN: `-inf` from where evidence is so far off that its square is infinite.

    Raises:
        GraftError: elsewhere, naming the step.
    """
    beyond = total == NEG_INF
    if system.weights is not None:
        beyond = beyond | (system.weights.constant == NEG_INF)
    total = total.masked_fill(total.isnan() & (beyond.cumsum(1) > 0), NEG_INF)
    refuse_overflow(total.detach().isnan(), "the density of the evidence")
    return total


def refuse_overflow(bad: Bool[Tensor, "b t"], what: str) -> None:
    """Raises where numbers are beyond the range of double precision.

    Args:
        bad: by row and step.
        what: they are.

    Raises:
        GraftError: naming the step.
    """
    if bool(bad.any()):
        step = int(bad.any(0).nonzero()[0])
        raise GraftError(f"{what} overflows at step {step}: the system grows beyond the range of double precision")


def _reading(readings: Readings, mean: Tensor, covariance: Tensor) -> Tensor:
    spread = symmetric(readings.loading @ covariance @ readings.loading.mT) + readings.noise
    scale, failed = torch.linalg.cholesky_ex(spread)
    if bool(failed.any()):
        step = int(failed.any(0).nonzero()[0])
        raise GraftError(
            f"the observation at step {step} has no density: its covariance C P C' + R is singular there (a noiseless "
            "observation of a state that is known already); give its noise a positive variance"
        )
    error = (readings.value - apply(readings.loading, mean)).unsqueeze(-1)
    white = torch.linalg.solve_triangular(scale, error, upper=False).squeeze(-1)
    half = scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * white.square().sum(-1) - half - 0.5 * log(2 * pi) * readings.seen


def _weighing(precision: Tensor, shift: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    r"""$\log \int \mathcal{N}(z; m, P) \, e^{h^\top z - \frac12 z^\top J z} \, dz$."""
    eye = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
    wide = eye + covariance @ precision
    pull = shift - apply(precision, mean)
    spread = torch.linalg.solve(wide, apply(covariance, pull).unsqueeze(-1)).squeeze(-1)
    linear = (shift * mean).sum(-1) - 0.5 * (mean * apply(precision, mean)).sum(-1)
    return linear + 0.5 * (pull * spread).sum(-1) - 0.5 * torch.linalg.slogdet(wide)[1]

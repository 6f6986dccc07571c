r"""Gaussians of independent dimensions in EM, K of them over D dimensions.

About a centre they are linear in $(x, x^2)$, and in the cells that are there where some are missing. Scales come as
logarithms, (K, D) or (K, 1) where all dimensions have one. Everything is in double precision.
"""

from __future__ import annotations

import math
from typing import Any, no_type_check

from graft.ops.cells import HALF_LOG_2PI
from graft.ops.cpu.compile import compiled


@compiled
@no_type_check
def measure(x: Any, centre: Any, widest: Any) -> None:
    """The mean of rows (N, D), and the greatest squares about it; what is not finite leaves something not finite."""
    count, width = x.shape
    centre[:], widest[:] = 0.0, 0.0
    for n in range(count):
        for d in range(width):
            centre[d] += x[n, d]
    for d in range(width):
        centre[d] /= max(count, 1)
    for n in range(count):
        for d in range(width):
            off = x[n, d] - centre[d]
            widest[d] = max(widest[d], off * off)
    for d in range(width):
        # the maximum passes by what is no number, the mean does not
        widest[d] += 0.0 * centre[d]


@compiled
@no_type_check
def natural(
    loc: Any, raw: Any, centre: Any, widest: Any, weights: Any, holes: bool, eta: Any, constants: Any
) -> float:  # fmt: skip
    """Natural parameters and constants; returns the greatest sum that products with features take differences of.

    Args:
        loc: (K, D).
        raw: logarithms of scales.
        centre, widest: (D), of the data, and their greatest squares about it.
        weights: (K), added to the constants.
        holes: whether cells are missing: the constants of each dimension are then features' parameters, too.
        eta: (K, 2 D or 3 D), overwritten.
        constants: (K), overwritten.
    """
    states, width = loc.shape
    worst, single = 0.0, raw.shape[1] < width
    for k in range(states):
        reach, norm = 0.0, 0.0
        for d in range(width):
            m, r = loc[k, d] - centre[d], raw[k, 0 if single else d]
            half, square = -0.5 * math.exp(-2.0 * r), m * m
            # a maximum passes by what is no number
            reach -= 2.0 * half * max(widest[d], square) + 0.0 * square
            eta[k, d], eta[k, width + d] = -2.0 * half * m, half
            part = square * half - r - HALF_LOG_2PI
            if holes:
                eta[k, 2 * width + d] = part
            else:
                norm += part
        constants[k] = norm + weights[k]
        # what is no number stays
        worst = reach if reach > worst or reach != reach else worst
    return worst


@compiled
@no_type_check
def moved(
    mass: Any, moments: Any, origin: Any, centre: Any, least: float, cancelled: float, holes: bool, each: Any,
    first: Any, second: Any,
) -> bool:  # fmt: skip
    """Moments about the centre as moments about origins; returns whether digits were lost.

    Args:
        mass: (K).
        moments: (K, 2 D or 3 D).
        origin: (K, D).
        centre: (D).
        least: no variance falls below it: digits far below are not missed.
        cancelled: the share of a square below which its digits are lost.
        holes: whether cells are missing.
        each, first, second: (K, D), overwritten.
    """
    states, width = origin.shape
    lost = False
    for k in range(states):
        for d in range(width):
            s, plain, square = origin[k, d] - centre[d], moments[k, d], moments[k, width + d]
            m = moments[k, 2 * width + d] if holes else mass[k]
            by = m * s
            around, bound = by * s, cancelled * max(square, by * s)
            two = square - 2 * s * plain + around
            each[k, d], first[k, d], second[k, d] = m, plain - by, two
            lost = lost or (two < bound and least * m < bound)
    return lost


@compiled
@no_type_check
def best(
    mass: Any, first: Any, second: Any, origin: Any, prior_loc: Any, scatter: Any, weight: float, degrees: float,
    added: float, floor: float, moves: bool, spherical: bool, loc: Any, raw: Any,
) -> bool:  # fmt: skip
    """The M-step, in place; returns whether a number is NaN.

    Args:
        mass, first, second, origin: (K, D), see `graft.factors.maximise_best.Moments`.
        prior_loc, scatter: (K, D), of the prior; empty if it is flat.
        weight, degrees, added: of the prior.
        floor: no variance falls below it.
        moves: whether locations may.
        spherical: all dimensions have one variance.
        loc, raw: the present ones, and then the best; what has no mass stays as it is.
    """
    states, width = loc.shape
    columns, prior, bad = raw.shape[1], prior_loc.size > 0, False
    for k in range(states):
        over, under = 0.0, 0.0
        for d in range(width):
            total, pull = mass[k, d] + weight, first[k, d]
            if weight > 0.0:
                pull += weight * (prior_loc[k, d] - origin[k, d])
            if moves and total > 0.0:
                loc[k, d] = origin[k, d] + pull / total
            by = origin[k, d] - loc[k, d]
            top, every = second[k, d] + by * (2.0 * first[k, d] + mass[k, d] * by), mass[k, d]
            top = 0.0 if top < 0.0 else top
            if prior:
                off = prior_loc[k, d] - loc[k, d]
                top, every = top + scatter[k, d] + weight * off * off, every + degrees
            over, under = over + top, under + every
            if not spherical and every > 0.0:
                raw[k, d] = _log_scale(top / every + added, floor)
            bad = bad or loc[k, d] != loc[k, d]
        for d in range(columns):
            if spherical and under > 0.0:
                raw[k, d] = _log_scale(over / under + added, floor)
            bad = bad or raw[k, d] != raw[k, d]
    return bad


@compiled
@no_type_check
def _log_scale(variance: float, floor: float) -> float:
    """Half the logarithm of a variance that stays above the floor."""
    return 0.5 * math.log(floor if variance < floor else variance)

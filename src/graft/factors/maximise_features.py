"""Learnable emissions as exponential families: parameters, features of the data, and statistics from their moments."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped

from graft.factors.maximise import Cases, Maximiser, Statistics
from graft.factors.maximise_gaussian import GaussianMaximiser
from graft.factors.maximise_mixture import MixtureMaximiser
from graft.factors.maximise_moments import CANCELLED
from graft.factors.maximise_points import TOLERANCE, Points
from graft.factors.maximise_tables import CategoricalMaximiser

#: Numbers per element that features may take; a full covariance of more goes state by state.
WIDEST = 256
EPS = np.finfo(np.float64).eps
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
#: What a family gives of each component: natural parameters (K, F), and constants (K).
Natural = tuple[np.ndarray, np.ndarray]


class Features(ABC):
    r"""$\log p(x \mid k) = c_k + \eta_k^\top \phi(x)$ for the components k of all states, one state after the other.

    Attributes:
        values: the $\phi(x)$ of all elements, (N, F) in double precision; or symbols (N), whole numbers.
    """

    values: np.ndarray

    @abstractmethod
    def natural(self) -> Natural | None:
        """The present $\\eta$ and c; None if the products would lose digits."""

    @abstractmethod
    def statistics(self, mass: Float[np.ndarray, " k"], moments: Float[np.ndarray, "k f"]) -> Statistics | None:
        r"""What the M-step takes, from $\sum_n r_{kn}$ and $\sum_n r_{kn} \phi(x_n)$; None if digits would be lost.

        Asked after `natural`, whose parameters gave the r.
        """


class Symbols(Features):
    """A table of symbols: the feature is the symbol itself, and $\\eta$ the log-probabilities of all."""

    def __init__(self, own: CategoricalMaximiser, symbols: Shaped[np.ndarray, " n"]) -> None:
        self.own, self.values = own, symbols

    def natural(self) -> Natural:
        found = log_probabilities(self.own.factor.table)
        return found, np.zeros(len(found))

    def statistics(self, mass: Float[np.ndarray, " k"], moments: Float[np.ndarray, "k f"]) -> Statistics:
        return {"counts": torch.from_numpy(np.ascontiguousarray(moments))}


class _Normals(Features):
    """Gaussians, or mixtures of them, about the mean of all points."""

    def __init__(self, own: GaussianMaximiser | MixtureMaximiser, at: Points) -> None:
        self.own, self.centre = own, at.centre.numpy()
        self.widest = at.widest.numpy()
        self.origin = self.shift = np.empty(0)

    def _present(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Locations about the centre, raw scales, and log-weights in mixtures; `statistics` reads the locations."""
        loc, raw = self.own.tables()
        self.origin = loc.copy()
        self.shift = loc - self.centre
        logits: Any = self.own.factor.logits if self._mixed else None
        weights = np.zeros(len(loc)) if logits is None else log_probabilities(logits).reshape(-1)
        return self.shift, raw, weights

    @property
    def _mixed(self) -> bool:
        return isinstance(self.own, MixtureMaximiser)

    @property
    def _least(self) -> float:
        """No variance falls below it: digits that a scatter loses far below are not missed."""
        prior = self.own.prior.components if self._mixed else self.own.prior
        return max(prior.floor, prior.added)

    def _told(self, found: dict[str, np.ndarray], mass: np.ndarray) -> Statistics:
        counts = {"counts": torch.from_numpy(mass.reshape(self.own.factor.logits.shape))} if self._mixed else {}
        return {**counts, **{name: torch.from_numpy(one) for name, one in found.items()}}


class Diagonal(_Normals):
    r"""$\phi(x) = (x, x^2)$ about a centre, and where cells are missing $(x, x^2, 1)$ of those that are there."""

    def __init__(self, own: GaussianMaximiser | MixtureMaximiser, at: Points) -> None:
        super().__init__(own, at)
        x, width, self.holes = at.x.numpy(), at.x.shape[1], at.seen is not None
        self.values = np.empty((len(x), (2 + self.holes) * width))
        self.values[:, :width] = x
        np.multiply(x, x, out=self.values[:, width : 2 * width])
        if at.seen is not None:
            self.values[:, 2 * width :] = at.seen.numpy()

    def natural(self) -> Natural | None:
        shift, raw, weights = self._present()
        width = shift.shape[1]
        half, squares = -0.5 * np.exp(-2.0 * raw), shift * shift
        if not -2.0 * (half * np.maximum(self.widest, squares)).sum(1).min(initial=0.0) * EPS < TOLERANCE:
            return None
        eta = np.empty((len(shift), (2 + self.holes) * width))
        np.multiply(shift, -2.0 * half, out=eta[:, :width])
        eta[:, width : 2 * width] = half
        norm = squares * half - raw - _HALF_LOG_2PI
        if self.holes:
            eta[:, 2 * width :] = norm
            return eta, weights
        return eta, norm.sum(1) + weights

    def statistics(self, mass: Float[np.ndarray, " k"], moments: Float[np.ndarray, "k f"]) -> Statistics | None:
        shift, width = self.shift, self.shift.shape[1]
        plain, squares = moments[:, :width], moments[:, width : 2 * width]
        each = moments[:, 2 * width :] if self.holes else np.repeat(mass[:, None], width, 1)
        by = each * shift
        first, moved = plain - by, by * shift
        second = squares - 2 * shift * plain + moved
        if (np.maximum(second, self._least * each) < CANCELLED * np.maximum(squares, moved)).any():
            return None
        found = {"origin": self.origin, "mass": np.ascontiguousarray(each), "first": first, "second": second}
        return self._told(found, mass)


class Full(_Normals):
    r"""$\phi(x) = (x, x x^\top)$ about a centre, of the products those on and above the diagonal."""

    def __init__(self, own: GaussianMaximiser | MixtureMaximiser, at: Points) -> None:
        super().__init__(own, at)
        x = at.x.numpy()
        self.upper = np.triu_indices(x.shape[1])
        self.values = np.concatenate([x, x[:, self.upper[0]] * x[:, self.upper[1]]], 1)

    def natural(self) -> Natural | None:
        shift, raw, weights = self._present()
        logs = np.diagonal(raw, axis1=1, axis2=2)
        root = np.linalg.inv(np.tril(raw, -1) + np.exp(logs)[:, :, None] * np.eye(shift.shape[1]))
        precision = np.broadcast_to(np.swapaxes(root, 1, 2) @ root, (*shift.shape, shift.shape[1]))
        reach = np.sqrt(np.maximum(self.widest, shift * shift))
        worst = (np.abs(precision) * reach[:, :, None] * reach[:, None, :]).sum((1, 2))
        if not (worst * EPS < TOLERANCE).all():
            return None
        linear = (precision @ shift[:, :, None])[:, :, 0]
        norm = logs.sum(1) + 0.5 * shift.shape[1] * math.log(2 * math.pi)
        twice = np.where(self.upper[0] == self.upper[1], 0.5, 1.0)
        products = -twice * precision[:, self.upper[0], self.upper[1]]
        return np.concatenate([linear, products], 1), weights - norm - 0.5 * (linear * shift).sum(1)

    def statistics(self, mass: Float[np.ndarray, " k"], moments: Float[np.ndarray, "k f"]) -> Statistics | None:
        shift, (count, width) = self.shift, self.shift.shape
        plain, square = moments[:, :width], np.zeros((count, width, width))
        square[:, self.upper[0], self.upper[1]] = moments[:, width:]
        square[:, self.upper[1], self.upper[0]] = moments[:, width:]
        cross, moved = plain[:, :, None] * shift[:, None, :], mass[:, None, None] * shift[:, :, None] * shift[:, None]
        second = square - cross - np.swapaxes(cross, 1, 2) + moved
        least = np.maximum(np.linalg.eigvalsh(second)[:, 0], self._least * mass)
        if (least < CANCELLED * np.maximum(np.abs(square), np.abs(moved)).max((1, 2))).any():
            return None
        first = plain - mass[:, None] * shift
        return self._told({"origin": self.origin, "mass": mass.copy(), "first": first, "second": second}, mass)


def log_probabilities(table: torch.Tensor) -> np.ndarray:
    """Of logits on the last axis, in double precision."""
    found: np.ndarray = table.detach().double().log_softmax(-1).numpy()
    return found


def features(own: Maximiser, cases: Cases) -> Features | None:
    """The features of an observed value; None if there are none for this kind of factor, or too many.

    Example:
        >>> from graft.factors.gaussian import Gaussian
        >>> cases = Cases((2, 3), 1, torch.arange(2)[:, None], torch.tensor([[[1.0], [2.0], [3.0]]]), 1)
        >>> features(GaussianMaximiser(Gaussian(dim=1, given=2)), cases).values.T
        array([[-1.,  0.,  1.],
               [ 1.,  0.,  1.]])
    """
    rows = _table(own)
    if rows is None or not cases.constant or cases.listed != rows:
        return None
    if isinstance(own, CategoricalMaximiser):
        symbols = cases.value.reshape(cases.value.shape[cases.slots :])
        return Symbols(own, symbols.expand(cases.lead[cases.slots :]).reshape(-1).numpy())
    assert isinstance(own, GaussianMaximiser | MixtureMaximiser)
    if own.factor.covariance in ("diag", "spherical"):
        return Diagonal(own, cases.points)
    width = cases.points.x.shape[1]
    if cases.seen is not None or width + width * (width + 1) // 2 > WIDEST:
        return None
    return Full(own, cases.points)


def _table(own: Any) -> int | None:
    """How many states the emission has, if it is of a kind that has features."""
    if isinstance(own, CategoricalMaximiser):
        return own.factor.table.shape[0] if own.factor.table.dim() == 2 else None
    if isinstance(own, GaussianMaximiser):
        return own.factor.loc.shape[0] if len(own.factor.given or ()) == 1 else None
    if isinstance(own, MixtureMaximiser):
        return own.factor.logits.shape[0] if own.factor.logits.dim() == 2 else None
    return None

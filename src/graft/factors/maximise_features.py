"""Learnable emissions as exponential families: parameters, features of the data, and statistics from their moments."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped

from graft.factors.maximise import Cases, Maximiser, Statistics
from graft.factors.maximise_compiled import log_probabilities
from graft.factors.maximise_gaussian import GaussianMaximiser
from graft.factors.maximise_mixture import MixtureMaximiser
from graft.factors.maximise_moments import CANCELLED
from graft.factors.maximise_points import TOLERANCE, Points, refuse_great
from graft.factors.maximise_tables import CategoricalMaximiser
from graft.ops.cpu.chain_sums import Squares

#: Numbers per element that features may take; a full covariance of more goes state by state.
WIDEST = 256
EPS = np.finfo(np.float64).eps
#: What a family gives of each component: natural parameters (K, F), and constants (K).
Natural = tuple[np.ndarray, np.ndarray]


class Features(ABC):
    r"""$\log p(x \mid k) = c_k + \eta_k^\top \phi(x)$ for the components k of all states, one state after the other.

    Attributes:
        values: the $\phi(x)$ of all elements, (N, F) in double precision; or symbols (N), whole numbers.
    """

    values: np.ndarray

    def rows(self, count: int) -> np.ndarray | Squares:
        """The features of all elements in so many rows, as `graft.ops.baum_welch.BaumWelch` takes them."""
        return self.values.reshape(count, len(self.values) // count, *self.values.shape[1:])

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
        found = log_probabilities(self.own.held.read("table"))
        return found, np.zeros(len(found))

    def statistics(self, mass: Float[np.ndarray, " k"], moments: Float[np.ndarray, "k f"]) -> Statistics:
        return {"counts": torch.from_numpy(np.ascontiguousarray(moments))}


class _Normals(Features):
    """Gaussians, or mixtures of them, about the mean of all points."""

    def __init__(self, own: GaussianMaximiser | MixtureMaximiser, centre: np.ndarray, widest: np.ndarray) -> None:
        self.own, self.centre, self.widest = own, centre, widest
        self.origin = np.empty(0)

    def _present(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Locations, raw scales, and log-weights in mixtures; `statistics` reads the locations."""
        loc, raw = self.own.tables()
        self.origin = loc.copy()
        weights = log_probabilities(self.own.held.read("logits")).reshape(-1) if self._mixed else np.zeros(len(loc))
        return self.origin, raw, weights

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

    def __init__(self, own: GaussianMaximiser | MixtureMaximiser, cases: Cases) -> None:
        from graft.ops.cpu import normals

        self.kernel, self.holes = normals, cases.seen is not None
        if self.holes:
            at = cases.points
            super().__init__(own, at.centre.numpy(), at.widest.numpy())
            parts = (at.x, at.squares, at.seen)
            self.values = np.concatenate([part.numpy() for part in parts if part is not None], 1)
            return
        value = cases.value.detach()
        self.values = np.ascontiguousarray(
            cases.rows(value if value.dtype == torch.float32 else value.double()).numpy()
        )
        centre, widest = np.empty((2, self.values.shape[1]))
        normals.measure(self.values, centre, widest)
        refuse_great(bool(np.isfinite(widest).all()))
        super().__init__(own, centre, widest)

    def rows(self, count: int) -> np.ndarray | Squares:
        found = super().rows(count)
        return found if self.holes or isinstance(found, Squares) else Squares(found, self.centre)

    def natural(self) -> Natural | None:
        loc, raw, weights = self._present()
        eta, constants = np.empty((len(loc), (2 + self.holes) * loc.shape[1])), np.empty(len(loc))
        worst = self.kernel.natural(loc, raw, self.centre, self.widest, weights, self.holes, eta, constants)
        return (eta, constants) if worst * EPS < TOLERANCE else None

    def statistics(self, mass: Float[np.ndarray, " k"], moments: Float[np.ndarray, "k f"]) -> Statistics | None:
        each, first, second = np.empty((3, *self.origin.shape))
        lost = self.kernel.moved(
            mass, moments, self.origin, self.centre, self._least, CANCELLED, self.holes, each, first, second
        )
        if lost:
            return None
        return self._told({"origin": self.origin, "mass": each, "first": first, "second": second}, mass)


class Full(_Normals):
    r"""$\phi(x) = (x, x x^\top)$ about a centre, of the products those on and above the diagonal."""

    def __init__(self, own: GaussianMaximiser | MixtureMaximiser, at: Points) -> None:
        super().__init__(own, at.centre.numpy(), at.widest.numpy())
        x = at.x.numpy()
        self.upper = np.triu_indices(x.shape[1])
        self.values = np.concatenate([x, x[:, self.upper[0]] * x[:, self.upper[1]]], 1)

    def natural(self) -> Natural | None:
        loc, raw, weights = self._present()
        shift, logs = loc - self.centre, np.diagonal(raw, axis1=1, axis2=2)
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
        shift, (count, width) = self.origin - self.centre, self.origin.shape
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


def features(own: Maximiser, cases: Cases) -> Features | None:
    """The features of an observed value; None if there are none for this kind of factor, or too many.

    Example:
        >>> from graft.factors.gaussian import Gaussian
        >>> cases = Cases((2, 3), 1, torch.arange(2)[:, None], torch.tensor([[[1.0], [2.0], [3.0]]]), 1)
        >>> features(GaussianMaximiser(Gaussian(dim=1, given=2)), cases).rows(1).whole()[0].T
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
        return Diagonal(own, cases)
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

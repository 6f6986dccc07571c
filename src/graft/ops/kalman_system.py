"""A linear-Gaussian state-space model as flat tensors, and what one piece of evidence does to a Gaussian."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Readings:
    r"""Linear observations $r_t = C_t z_t + \mathcal{N}(0, R_t)$, missing cells taken out by `seen_only`.

    Attributes:
        loading: C (b or 1, T or 1, E, D).
        value: r (b or 1, T or 1, E).
        noise: R (b or 1, T or 1, E, E).
        seen: how many cells were observed (b or 1, T or 1).
    """

    loading: Float[Tensor, "#b #t e d"]
    value: Float[Tensor, "#b #t e"]
    noise: Float[Tensor, "#b #t e e"]
    seen: Float[Tensor, "#b #t"]


@dataclass(frozen=True)
class Weights:
    r"""Log-quadratic evidence $\exp(c_t + h_t^\top z_t - \tfrac12 z_t^\top J_t z_t)$, J positive semidefinite.

    Attributes:
        precision: J (b or 1, T or 1, D, D).
        shift: h (b or 1, T or 1, D).
        constant: c (b or 1, T or 1).
    """

    precision: Float[Tensor, "#b #t d d"]
    shift: Float[Tensor, "#b #t d"]
    constant: Float[Tensor, "#b #t"]


@dataclass(frozen=True)
class System:
    r"""$z_0 \sim \mathcal{N}(m_0, P_0)$, $z_t = A_t z_{t-1} + b_t + \mathcal{N}(0, Q_t)$, and evidence on each state.

    Matrices keep a batch of one where all rows share them, so that their part of a filter is computed once.

    Attributes:
        mean: $m_0$ (b or 1, D).
        covariance: $P_0$ (b or 1, D, D).
        transition: A (b or 1, T-1 or 1, D, D); entry k leads into state k+1.
        offset: b (b or 1, T-1 or 1, D).
        noise: Q (b or 1, T-1 or 1, D, D).
        steps: T, at least 1.
        rows: b.
        readings: linear observations, if any.
        weights: log-quadratic evidence, if any; it comes after the readings.
    """

    mean: Float[Tensor, "#b d"]
    covariance: Float[Tensor, "#b d d"]
    transition: Float[Tensor, "#b #k d d"]
    offset: Float[Tensor, "#b #k d"]
    noise: Float[Tensor, "#b #k d d"]
    steps: int
    rows: int
    readings: Readings | None = None
    weights: Weights | None = None

    @property
    def states(self) -> int:
        return self.mean.shape[-1]

    @property
    def matrix_rows(self) -> int:
        """The batch that covariances need: 1 if the matrices of all rows are the same."""
        found = [self.covariance, self.transition, self.noise]
        if self.readings is not None:
            found += [self.readings.loading, self.readings.noise]
        if self.weights is not None:
            found.append(self.weights.precision)
        return self.rows if any(x.shape[0] != 1 for x in found) else 1

    def without_evidence(self) -> System:
        return replace(self, readings=None, weights=None)

    def forgetting(self, alive: Bool[Tensor, "b t"]) -> System:
        """The same with states that do not exist apart from all others: standard normal, without evidence.

        Nothing grows where nothing exists, whatever the dynamics; what is read there stays with the caller to mask.
        """
        eye = torch.eye(self.states, dtype=self.mean.dtype, device=self.mean.device)
        first, later = alive[:, 0], alive[:, 1:]
        readings, weights = self.readings, self.weights
        if readings is not None:
            cells = alive[:, :, None].expand(-1, -1, readings.value.shape[-1])
            readings = seen_only(readings, cells)
        if weights is not None:
            weights = Weights(
                torch.where(alive[:, :, None, None], weights.precision, 0.0),
                torch.where(alive[:, :, None], weights.shift, 0.0),
                torch.where(alive, weights.constant, 0.0),
            )
        return System(
            torch.where(first[:, None], self.mean, 0.0),
            torch.where(first[:, None, None], self.covariance, eye),
            torch.where(later[:, :, None, None], self.transition, 0.0),
            torch.where(later[:, :, None], self.offset, 0.0),
            torch.where(later[:, :, None, None], self.noise, eye),
            self.steps,
            self.rows,
            readings,
            weights,
        )


def seen_only(readings: Readings, seen: Bool[Tensor, "#b #t e"]) -> Readings:
    """Readings with the cells that were not seen integrated out, exactly.

    Such a cell becomes a unit Gaussian of its own that says nothing; its constant is not counted.
    """
    both = seen[..., :, None] & seen[..., None, :]
    eye = torch.eye(seen.shape[-1], dtype=readings.noise.dtype, device=seen.device)
    blank = eye * (~seen).to(readings.noise.dtype)[..., None]
    return Readings(
        torch.where(seen[..., None], readings.loading, 0.0),
        torch.where(seen, readings.value, 0.0),
        torch.where(both, readings.noise, 0.0) + blank,
        seen.sum(-1).to(readings.noise.dtype).minimum(readings.seen),
    )


def apply(matrix: Float[Tensor, "*_ i j"], vector: Float[Tensor, "*_ j"]) -> Tensor:
    """The product, over whatever leads."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def symmetric(matrix: Float[Tensor, "*n d d"]) -> Float[Tensor, "*n d d"]:
    """The matrix, rid of what rounding made of its symmetry."""
    return (matrix + matrix.mT) / 2


def read(loading: Tensor, value: Tensor, noise: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """A Gaussian given one linear reading, by the Kalman gain in Joseph's form (which keeps covariances positive)."""
    cross = covariance @ loading.mT
    scale = torch.linalg.cholesky_ex(symmetric(loading @ cross) + noise)[0]
    gain = torch.cholesky_solve(cross.mT, scale).mT
    keep = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device) - gain @ loading
    mean = mean + apply(gain, value - apply(loading, mean))
    return mean, symmetric(keep @ covariance @ keep.mT + gain @ noise @ gain.mT)


def weigh(precision: Tensor, shift: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """A Gaussian given log-quadratic evidence; its covariance may be singular."""
    eye = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
    keep = torch.linalg.inv(eye + covariance @ precision)
    mean = apply(keep, mean + apply(covariance, shift))
    # the form that stays positive, as Joseph's does
    return mean, symmetric(keep @ (covariance + covariance @ precision @ covariance) @ keep.mT)

"""The parameters of a linear-Gaussian chain, as the user writes them: `Dynamics`, `Emission`, `GaussianEvidence`."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Shaped
from torch import Tensor


@dataclass(frozen=True)
class Dynamics:
    r"""How the state moves, $z_0 \sim \mathcal{N}(m_0, P_0)$ and
    $z_t = A_t z_{t-1} + b_t + \mathcal{N}(0, Q_t)$.

    Matrices have two dimensions (vectors one) if all steps share them; with more, the last but two (but one) is that
    of the T-1 steps, or 1, and batch dimensions stand before it. Entry k leads into state k+1.

    Attributes:
        initial_mean: $m_0$ (..., D).
        initial_covariance: $P_0$ (..., D, D).
        transition: A, (D, D) or (..., T-1, D, D).
        noise: Q, covariances, (D, D) or (..., T-1, D, D).
        offset: b, (D,) or (..., T-1, D); zero if not given.

    Example:
        >>> import torch
        >>> Dynamics(torch.zeros(2), torch.eye(2), 0.9 * torch.eye(2), 0.1 * torch.eye(2)).transition.shape
        torch.Size([2, 2])
    """

    initial_mean: Shaped[Tensor, " ..."]
    initial_covariance: Shaped[Tensor, " ..."]
    transition: Shaped[Tensor, " ..."]
    noise: Shaped[Tensor, " ..."]
    offset: Shaped[Tensor, " ..."] | None = None


@dataclass(frozen=True)
class Emission:
    r"""What is seen of the state, $x_t = C_t z_t + d_t + \mathcal{N}(0, R_t)$.

    Attributes:
        loading: C, (E, D) or (..., T, E, D).
        noise: R, covariances, (E, E) or (..., T, E, E).
        offset: d, (E,) or (..., T, E); zero if not given.

    Example:
        >>> import torch
        >>> Emission(torch.tensor([[1.0, 0.0]]), torch.eye(1)).loading.shape
        torch.Size([1, 2])
    """

    loading: Shaped[Tensor, " ..."]
    noise: Shaped[Tensor, " ..."]
    offset: Shaped[Tensor, " ..."] | None = None


@dataclass(frozen=True)
class GaussianEvidence:
    r"""Log-quadratic evidence on each state, $\exp(h_t^\top z_t - \tfrac12 z_t^\top J_t z_t)$: a network's message.

    Attributes:
        precision: J, positive semidefinite (..., T, D, D), or its diagonal (..., T, D).
        shift: h (..., T, D).

    Source: M. J. Johnson et al., Composing graphical models with neural networks for structured representations and
    fast inference, NeurIPS 2016, section 4.

    Example:
        >>> import torch
        >>> GaussianEvidence(torch.ones(5, 2), torch.zeros(5, 2)).shift.shape
        torch.Size([5, 2])
    """

    precision: Shaped[Tensor, " ..."]
    shift: Shaped[Tensor, " ..."]

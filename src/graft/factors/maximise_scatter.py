"""The scatter of a Gaussian's prior, in the shape of the covariances that it is of."""

from __future__ import annotations

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.factors.maximise_prior import spread_over

#: Asymmetry and negative eigenvalues below this share of the largest entry are rounding.
ROUNDING = 1e-10


def scatter_over(scatter: Tensor, shape: tuple[int, ...]) -> Tensor:
    r"""The scatter $\Psi$ of every covariance.

    Args:
        scatter: a number, which stands for a multiple of the identity, or what broadcasts to the shape; of full
            covariances at least (D, D).
        shape: (K, D) of variances, or (K, D, D) of matrices; K is 1 where all share one.

    Raises:
        GraftError: it does not broadcast, is negative, not symmetric or not positive semidefinite.

    Example:
        >>> scatter_over(torch.tensor(3.0), (1, 2, 2))
        tensor([[[3., 0.],
                 [0., 3.]]])
    """
    what = "scatter of a prior"
    if len(shape) == 2:
        if bool((scatter < 0).any()):
            raise GraftError(f"{what} is negative somewhere: of variances it is at least 0")
        return spread_over(scatter, shape, what)
    if scatter.dim() == 0:
        return (scatter * torch.eye(shape[-1], dtype=scatter.dtype, device=scatter.device)).expand(shape)
    if scatter.dim() == 1:
        raise GraftError(f"{what} of shape {tuple(scatter.shape)} is of variances: covariances here are {shape}")
    found = spread_over(scatter, shape, what)
    _refuse_indefinite(scatter, what)
    return found


def _refuse_indefinite(matrices: Tensor, what: str) -> None:
    slack = ROUNDING * matrices.abs().amax((-2, -1))
    if bool(((matrices - matrices.mT).abs().amax((-2, -1)) > slack).any()):
        raise GraftError(f"{what} is not symmetric")
    least = torch.linalg.eigvalsh(matrices)[..., 0]
    if bool((least < -slack * matrices.shape[-1]).any()):
        raise GraftError(f"{what} is not positive semidefinite: it has the eigenvalue {float(least.min()):.3g}")

"""A Gaussian whose location is linear in its parents."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from graft.distributions.supports import Real
from graft.errors import ShapeError
from graft.factors.base import Call, Conditional, apply_network
from graft.factors.events import check_event
from graft.factors.spread import Covariance, normal, spread, spread_shape


class LinearGaussian(Conditional):
    r"""Linear in its parents with Gaussian noise, $y = W x + b + \varepsilon$,
    $\varepsilon \sim \mathcal{N}(0, L L^\top)$.

    Unknowns that are joined by such factors alone are integrated out exactly: a model
    `z[0]`, `z[t] | z[t-1]`, `x[t] | z[t]` is a Kalman filter.

    Several parents are joined to one vector x. All of W, b and L are learnable: `linear.weight` (dim,
    given_dim), `linear.bias` (dim,) and `noise()`.

    Args:
        dim: the length of y.
        given_dim: the length of x.
        covariance: of the noise, `"diag"` or `"full"`.

    Raises:
        ShapeError: at a call, if the parents do not have `given_dim` elements in all.

    Example:
        >>> from graft.factors.base import Argument
        >>> transition = LinearGaussian(2, 3)
        >>> call = Call(1, (Argument("z[t-1]", Real(3)),))
        >>> transition.distribution((torch.zeros(7, 3),), call).batch_shape
        torch.Size([7])
    """

    def __init__(self, dim: int, given_dim: int, *, covariance: Covariance = "diag") -> None:
        super().__init__()
        self.dim, self.given_dim, self.covariance = dim, given_dim, covariance
        self.linear = nn.Linear(given_dim, dim)
        self.raw_scale = nn.Parameter(torch.zeros(spread_shape((dim,), covariance)))
        self.support = Real(dim)

    def noise(self) -> Tensor:
        """The noise's Cholesky factor L, of shape (dim, dim)."""
        scale = spread(self.raw_scale, self.covariance)
        return torch.diag_embed(scale) if self.covariance == "diag" else scale

    def distribution(self, inputs: tuple[Tensor, ...], call: Call) -> Distribution:
        loc = apply_network(self._location, inputs, call)
        check_event(loc, (self.dim,), call, f"LinearGaussian({self.dim}, {self.given_dim})")
        return normal(loc, spread(self.raw_scale, self.covariance), 1, self.covariance)

    def _location(self, *joined: Tensor) -> Tensor:
        if len(joined) != 1 or joined[0].shape[-1:] != (self.given_dim,):
            shapes = ", ".join(str(tuple(x.shape)) for x in joined)
            raise ShapeError(
                f"LinearGaussian({self.dim}, {self.given_dim}) needs {self.given_dim} elements of its "
                f"parents; joined they have shape {shapes or '()'}"
            )
        return self.linear(joined[0])

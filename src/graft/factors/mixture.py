"""Mixtures of Gaussians: one per state of the parents, or with a network's output (an MDN head)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch import distributions as td

from graft.distributions.supports import Real
from graft.errors import GraftError
from graft.factors.base import Call, Conditional, apply_network
from graft.factors.events import check_event, validation
from graft.factors.lookup import look_up, parent_sizes
from graft.factors.spread import Covariance, normal, spread, spread_shape


class Mixture(Conditional):
    r"""A mixture of K Gaussians, $p(y \mid x) = \sum_k \pi_k(x) \, \mathcal{N}(y; \mu_k(x), \Sigma_k(x))$.

    `Mixture(5, dim=12, given=8)` learns one mixture per state of its parents.
    `Mixture(net, components=5, dim=12)` is a mixture density network: the last axis of the output holds
    K logits, then K locations, then K log-scales.

    Source: C. M. Bishop, Mixture density networks, 1994 (there with spherical components).

    Args:
        source: the number of components, or a network.
        components: the number of components, after a network.
        dim: the length of y.
        given: the number of states of each parent.
        covariance: of each component, `"diag"` or `"full"` (a network's is diagonal).
        onehot: give a network its categorical inputs one-hot.
        concat: give a network its inputs joined on the last axis.

    Raises:
        GraftError: if options contradict each other.
        ShapeError: at a call, if parents or a network's output do not fit.

    Example:
        >>> from graft.factors.base import Argument
        >>> head = Mixture(nn.Linear(4, 5 * (1 + 2 * 2)), components=5, dim=2)
        >>> head.distribution((torch.zeros(7, 4),), Call(1, (Argument("x", Real(4)),))).event_shape
        torch.Size([2])
    """

    def __init__(
        self,
        source: nn.Module | int | None = None,
        components: int | None = None,
        *,
        dim: int,
        given: int | tuple[int, ...] | None = None,
        covariance: Covariance = "diag",
        onehot: bool = True,
        concat: bool = True,
    ) -> None:
        super().__init__()
        self.dim, self.covariance, self.onehot, self.concat = dim, covariance, onehot, concat
        self.components = _components(source, components)
        self.net = source if isinstance(source, nn.Module) else None
        self.support = Real(dim)
        if self.net is None:
            self._start_table(parent_sizes(given))
        elif given is not None or covariance != "diag":
            raise GraftError("a network leaves no room for given= or a full covariance")

    def _start_table(self, given: tuple[int, ...]) -> None:
        self.given = given
        self.indexes = bool(given)
        rows = (*given, self.components)
        self.logits = nn.Parameter(0.1 * torch.randn(rows))
        # locations of unit spread: components that start together stay together
        self.loc = nn.Parameter(torch.randn(*rows, self.dim))
        self.raw_scale = nn.Parameter(torch.zeros(*rows, *spread_shape((self.dim,), self.covariance)))

    def parts(self, inputs: tuple[Tensor, ...], call: Call) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (..., K), locations (..., K, dim), scales (..., K, dim) or Cholesky factors (..., K, dim,
        dim)."""
        if self.net is not None:
            return self._from_network(inputs, call)
        tables = (self.logits, self.loc, spread(self.raw_scale, self.covariance))
        logits, loc, scale = (look_up(table, self.given or (), inputs, call) for table in tables)
        return logits, loc, scale

    def _from_network(self, inputs: tuple[Tensor, ...], call: Call) -> tuple[Tensor, Tensor, Tensor]:
        assert self.net is not None
        count, wide = self.components, self.components * self.dim
        out = apply_network(self.net, inputs, call, onehot=self.onehot, concat=self.concat)
        check_event(out, (count + 2 * wide,), call, f"Mixture(net) of {count} x {self.dim}")
        logits, loc, log_scale = out.split((count, wide, wide), -1)
        shape = (count, self.dim)
        return logits, loc.unflatten(-1, shape), log_scale.exp().unflatten(-1, shape)

    def distribution(self, inputs: tuple[Tensor, ...], call: Call) -> td.MixtureSameFamily:
        logits, loc, scale = self.parts(inputs, call)
        weights = td.Categorical(logits=logits, validate_args=validation(logits))
        return td.MixtureSameFamily(weights, normal(loc, scale, 1, self.covariance))


def _components(source: nn.Module | int | None, components: int | None) -> int:
    count = source if isinstance(source, int) else components
    if count is None or (isinstance(source, int) and components is not None):
        raise GraftError("say once how many components there are: Mixture(5, dim=2), Mixture(net, 5, dim=2)")
    return count

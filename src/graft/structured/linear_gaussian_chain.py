"""Distributions over sequences of real vectors that move linearly with Gaussian noise: `LinearGaussianChain`."""

from __future__ import annotations

from math import log, pi, prod
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.distributions import MultivariateNormal

from graft.errors import GraftError, ShapeError
from graft.ops.kalman import Beliefs, Method, chosen, filtered, log_likelihoods, predicted, refuse_overflow
from graft.ops.kalman_smooth import Backward, backward, drawn, smoothed
from graft.ops.kalman_system import apply
from graft.structured.checks import draws_shape
from graft.structured.gaussian_forecast import Forecast, forecast, simulated
from graft.structured.gaussian_normals import density, log_determinants, normals
from graft.structured.gaussian_parameters import Dynamics, Emission, GaussianEvidence
from graft.structured.gaussian_system import GaussianSystem


class Moments(NamedTuple):
    """Means (..., T, D) and covariances (..., T, D, D); 0 at removed elements."""

    mean: Float[Tensor, "*batch t d"]
    covariance: Float[Tensor, "*batch t d d"]


class LinearGaussianChain(GaussianSystem):
    r"""The posterior of the states of a linear-Gaussian state-space model: Kalman filter and smoother.

    $$ z_0 \sim \mathcal{N}(m_0, P_0), \quad z_t = A_t z_{t-1} + b_t + \mathcal{N}(0, Q_t), \quad
       x_t = C_t z_t + d_t + \mathcal{N}(0, R_t). $$

    Evidence is observations x, some or all cells of which may be missing (they are integrated out), log-quadratic
    messages $\exp(h_t^\top z_t - \tfrac12 z_t^\top J_t z_t)$, or both; without any this is the prior.

    All is computed in float64 and returned in the type of the arguments. Queries are differentiable to any order and
    take $O(T (D^3 + E^3))$ time per row, in a loop over time or in parallel, by associative scans of depth
    $O(\log T)$; both give the same numbers. Covariances may be singular. What is removed by `lengths`, or missing,
    may hold anything, NaN included; its gradient is zero.

    Args:
        dynamics: how the state moves.
        emission: what is seen of it.
        observations: x (..., T, E).
        missing: True where a cell, or a whole step, was not observed: bool (..., T, E) or (..., T), of the shape of
            `observations`.
        evidence: log-quadratic messages.
        lengths: how many elements exist at the front of each row, integers (...).
        length: T, where neither observations nor evidence tell it.
        method: "sequential" or "parallel"; by default the faster one.

    Raises:
        ShapeError: the shapes do not fit.
        GraftError: what is used is NaN or infinite, a covariance is not symmetric positive semidefinite, a type is
            wrong, or a length is outside 0..T; by queries, states grow beyond the range of double precision.

    Source: Kalman, *A new approach to linear filtering and prediction problems* (1960); Rauch, Tung and Striebel,
    *Maximum likelihood estimates of linear dynamic systems* (1965); Sarkka and Garcia-Fernandez, *Temporal
    parallelization of Bayesian smoothers* (2021).

    Example:
        >>> walk = Dynamics(torch.zeros(1), torch.eye(1), torch.eye(1), torch.eye(1))
        >>> chain = LinearGaussianChain(walk, Emission(torch.eye(1), torch.eye(1)), torch.tensor([[1.0], [3.0]]))
        >>> chain.log_partition
        tensor(-4.1426)
        >>> chain.mode().flatten()
        tensor([1., 2.])
    """

    def __init__(
        self,
        dynamics: Dynamics,
        emission: Emission | None = None,
        observations: Shaped[Tensor, " ..."] | None = None,
        *,
        missing: Shaped[Tensor, " ..."] | None = None,
        evidence: GaussianEvidence | None = None,
        lengths: Shaped[Tensor, " ..."] | None = None,
        length: int | None = None,
        method: str | None = None,
    ) -> None:
        super().__init__(
            dynamics, emission, observations, missing=missing, evidence=evidence, lengths=lengths, length=length
        )
        if method not in ("sequential", "parallel", None):
            raise GraftError(f'method is "sequential" or "parallel", not {method!r}')
        self.method: Method = chosen(self._system) if method is None else cast(Method, method)
        self._kept: Beliefs | None = None

    def __repr__(self) -> str:
        batch = tuple(self.batch_shape)
        return f"LinearGaussianChain(batch_shape={batch}, length={self.length}, states={self.states})"

    @property
    def log_partition(self) -> Float[Tensor, "*batch"]:
        r"""$\log p(x)$ of the observed cells (...), or the log of the normaliser with other evidence; 0 without any.

        Example:
            >>> walk = Dynamics(torch.zeros(1), torch.eye(1), torch.eye(1), torch.eye(1))
            >>> LinearGaussianChain(walk, length=9).log_partition
            tensor(0.)
        """
        found = log_likelihoods(self._system, predicted(self._system, self._filter()))
        return torch.where(self._alive, found, 0.0).sum(-1).reshape(self.batch_shape).to(self.dtype)

    @property
    def marginals(self) -> MultivariateNormal:
        """Each state given all evidence, batch shape (..., T), standard normal at removed elements.

        Raises:
            GraftError: a covariance is singular, so that there is no density; `moments` has it.

        Example:
            >>> walk = Dynamics(torch.zeros(2), torch.eye(2), torch.eye(2), torch.eye(2))
            >>> LinearGaussianChain(walk, length=3).marginals.batch_shape
            torch.Size([3])
        """
        return self._normals(self._smooth(), "smoothed")

    @property
    def filtered(self) -> MultivariateNormal:
        """Each state given the evidence up to it, and there; as `marginals`."""
        return self._normals(self._finite(self._filter(), "filtered"), "filtered")

    @property
    def predicted(self) -> MultivariateNormal:
        """Each state given the evidence before it; as `marginals`."""
        return self._normals(self._predicted(), "predicted")

    def moments(self, which: str = "smoothed") -> Moments:
        """Means and covariances, also where these are singular; 0 at removed elements.

        Args:
            which: given all evidence, that up to the element, or that before it.

        Example:
            >>> still = Dynamics(torch.zeros(1), torch.eye(1), torch.eye(1), torch.zeros(1, 1))
            >>> LinearGaussianChain(still, length=2).moments().covariance.flatten()
            tensor([1., 1.])
        """
        if which == "smoothed":
            found = self._smooth()
        elif which == "filtered":
            found = self._finite(self._filter(), which)
        elif which == "predicted":
            found = self._predicted()
        else:
            raise GraftError(f'moments are "smoothed", "filtered" or "predicted", not {which!r}')
        return Moments(self._by_row(found.mean), self._by_row(found.covariance))

    @property
    def cross_covariance(self) -> Float[Tensor, "*batch pairs d d"]:
        r"""$\operatorname{Cov}(z_t, z_{t+1})$ given all evidence (..., T-1, D, D); 0 where either is removed.

        Example:
            >>> still = Dynamics(torch.zeros(1), torch.eye(1), torch.eye(1), torch.eye(1))
            >>> LinearGaussianChain(still, length=3).cross_covariance.flatten()
            tensor([1., 2.])
        """
        chain = backward(self._system, self._filter())
        found = chain.gain[:, :-1] @ smoothed(chain, self.method).covariance[:, 1:]
        found = torch.where(self._alive[:, 1:, None, None], found, 0.0)
        return found.reshape(*self.batch_shape, *found.shape[1:]).to(self.dtype)

    def entropy(self) -> Float[Tensor, "*batch"]:
        r"""The entropy of all states given the evidence (...), in nats.

        It is summed from conditional entropies $H(z_t \mid z_{t+1})$.

        Raises:
            GraftError: the states have no joint density, since some covariance is singular.

        Example:
            >>> walk = Dynamics(torch.zeros(1), torch.eye(1), torch.eye(1), torch.eye(1))
            >>> LinearGaussianChain(walk, length=2).entropy()
            tensor(2.8379)
        """
        half = 0.5 * log_determinants(self._backward().spread, self._alive, "the states given the evidence")
        each = half + 0.5 * self.states * (1 + log(2 * pi))
        return torch.where(self._alive, each, 0.0).sum(-1).reshape(self.batch_shape).to(self.dtype)

    def mode(self) -> Float[Tensor, "*batch t d"]:
        """The most probable sequence of states (..., T, D): the smoothed means.

        Example:
            >>> walk = Dynamics(torch.ones(1), torch.eye(1), torch.eye(1), torch.eye(1))
            >>> LinearGaussianChain(walk, length=2).mode().flatten()
            tensor([1., 1.])
        """
        return self._by_row(self._smooth().mean)

    def sample(self, shape: Any = (), generator: torch.Generator | None = None) -> Float[Tensor, "*shape_batch t d"]:
        """Independent joint draws of all states, `shape` + (..., T, D), by filtering forward and sampling backward.

        Args:
            shape: how many draws.
            generator: the source of randomness; torch's global one if none is given.

        Example:
            >>> walk = Dynamics(torch.zeros(2), torch.eye(2), torch.eye(2), torch.eye(2))
            >>> LinearGaussianChain(walk, length=7).sample((10,)).shape
            torch.Size([10, 7, 2])
        """
        with torch.no_grad():
            return self._draws(shape, generator, exact=True)

    def rsample(self, shape: Any = (), generator: torch.Generator | None = None) -> Float[Tensor, "*shape_batch t d"]:
        """As `sample`, with gradients through the draws (for evidence lower bounds).

        Raises:
            GraftError: the states have no joint density, since some covariance is singular.
        """
        log_determinants(self._backward().spread.detach(), self._alive, "the states given the evidence")
        return self._draws(shape, generator, exact=False)

    def simulate(
        self, shape: Any = (), generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "*shape_batch t d"], Float[Tensor, "*shape_batch t e"] | None]:
        """States (..., T, D) and observations (..., T, E) drawn from the prior, as if nothing had been seen.

        Args:
            shape: how many draws.
            generator: the source of randomness; torch's global one if none is given.

        Returns:
            States, and observations if there is an emission; 0 at removed elements.

        Example:
            >>> walk = Dynamics(torch.zeros(2), torch.eye(2), torch.eye(2), torch.eye(2))
            >>> z, x = LinearGaussianChain(walk, Emission(torch.ones(1, 2), torch.eye(1)), length=7).simulate(5)
            >>> z.shape, x.shape
            (torch.Size([5, 7, 2]), torch.Size([5, 7, 1]))
        """
        shape = draws_shape(shape)
        with torch.no_grad():
            states, seen = simulated(self, prod(shape), generator)
        return self._outward(states, shape), None if seen is None else self._outward(seen, shape)

    def forecast(self, steps: int) -> Forecast:
        """States and observations after the last element of each row, given all evidence.

        The parameters must be shared by all steps; where they are not, append missing steps instead.

        Args:
            steps: how many.

        Returns:
            `states` and `observations` (None without an emission): distributions of batch shape (..., steps).

        Raises:
            GraftError: parameters differ from step to step, or `steps` is no positive whole number.

        Example:
            >>> walk = Dynamics(torch.zeros(1), torch.eye(1), torch.eye(1), torch.eye(1))
            >>> chain = LinearGaussianChain(walk, Emission(torch.eye(1), torch.eye(1)), torch.tensor([[2.0]]))
            >>> chain.forecast(2).observations.variance.flatten()
            tensor([2.5000, 3.5000])
        """
        return forecast(self, self._filter(), steps)

    def log_prob(self, states: Shaped[Tensor, " ..."]) -> Float[Tensor, "*sample_batch"]:
        """The log-density of states (..., T, D) given the evidence.

        Args:
            states: broadcast against the batch; more dimensions may lead. Anything may stand at removed elements.

        Raises:
            ShapeError: the last dimensions are not T and D, or the others do not broadcast with the batch.
            GraftError: the states have no joint density, since some covariance is singular.

        Example:
            >>> walk = Dynamics(torch.zeros(1), torch.eye(1), torch.eye(1), torch.eye(1))
            >>> LinearGaussianChain(walk, length=2).log_prob(torch.zeros(2, 1))
            tensor(-1.8379)
        """
        dtype = torch.promote_types(self.dtype, states.dtype)
        states, lead = self._states_in(states)
        if self.length == 0:
            return torch.zeros(lead, dtype=dtype, device=states.device)
        chain = self._backward()
        later = torch.cat([states[:, :, 1:], torch.zeros_like(states[:, :, :1])], 2)
        error = states - apply(chain.gain, later) - chain.offset
        each = density(error, chain.spread, self._alive, "the states given the evidence")
        return torch.where(self._alive, each, 0.0).sum(-1).reshape(lead).to(dtype)

    def _states_in(self, states: Tensor) -> tuple[Float[Tensor, "n b t d"], tuple[int, ...]]:
        """(draws, rows, T, D) in float64 with zeros at removed elements, and the shape of the answer."""
        core = (self.length, self.states)
        rule = (
            f"states {tuple(states.shape)} do not fit: they are (..., T, D) over a batch, {(*self.batch_shape, *core)}"
        )
        if tuple(states.shape[-2:]) != core or not states.is_floating_point():
            raise ShapeError(rule)
        try:
            lead = tuple(torch.broadcast_shapes(states.shape[:-2], self.batch_shape))
        except RuntimeError as error:
            raise ShapeError(rule) from error
        if lead[len(lead) - len(self.batch_shape) :] != self.batch_shape:
            raise ShapeError(rule)
        count = prod(lead[: len(lead) - len(self.batch_shape)])
        flat = states.expand(*lead, *core).reshape(count, self._rows, *core).double()
        alive = self._alive[:, : self.length, None]
        flat = torch.where(alive, flat, 0.0)
        if not bool(torch.isfinite(flat).all()):
            raise GraftError("states are NaN or infinite at existing elements")
        return flat, lead

    def _filter(self) -> Beliefs:
        """The filtered states; kept if nothing is to be differentiated."""
        if self._kept is not None and not torch.is_grad_enabled():
            return self._kept
        found = filtered(self._system, self.method)
        if not found.mean.requires_grad and not found.covariance.requires_grad and not found.mean.is_inference():
            self._kept = found
        return found

    def _finite(self, found: Beliefs, what: str) -> Beliefs:
        """Raises unless all moments are finite."""
        mean, covariance = (~x.detach().isfinite() for x in found)
        bad = mean.any(-1) | covariance.flatten(2).any(-1)
        if bool(bad.any()):
            # where a reading has no density, this says so
            log_likelihoods(self._system, predicted(self._system, self._filter()))
            refuse_overflow(bad, f"a {what} state")
        return found

    def _backward(self) -> Backward:
        return backward(self._system, self._filter())

    def _predicted(self) -> Beliefs:
        return self._finite(predicted(self._system, self._filter()), "predicted")

    def _smooth(self) -> Beliefs:
        return self._finite(smoothed(self._backward(), self.method), "smoothed")

    def _normals(self, found: Beliefs, what: str) -> MultivariateNormal:
        mean, scale = normals(found.mean, found.covariance, self._alive, f"a {what} state")
        shape = (*self.batch_shape, self.length)
        mean = mean[:, : self.length].reshape(*shape, self.states)
        scale = scale[:, : self.length].reshape(*shape, self.states, self.states)
        check = None if mean.numel() else False
        return MultivariateNormal(mean.to(self.dtype), scale_tril=scale.to(self.dtype), validate_args=check)

    def _draws(self, shape: Any, generator: torch.Generator | None, exact: bool) -> Tensor:
        shape = draws_shape(shape)
        size = (prod(shape), self._rows, self._system.steps, self.states)
        noise = torch.randn(size, generator=generator, dtype=torch.float64, device=self._alive.device)
        return self._outward(drawn(self._backward(), noise, self.method, exact), shape)

    def _outward(self, values: Float[Tensor, "n b t d"], shape: tuple[int, ...]) -> Tensor:
        values = torch.where(self._alive[:, :, None], values, 0.0)[:, :, : self.length]
        return values.reshape(*shape, *self.batch_shape, *values.shape[2:]).to(self.dtype)

"""`GaussianHMM`: one Gaussian per state, with the settings, attributes and methods of hmmlearn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from graft.factors.maximise_prior import GaussianPrior
from graft.sklearn.hmm_base import BaseHMM
from graft.sklearn.hmm_covariances import covariances, freedom, gaussian, matrices, same, same_width, variances
from graft.sklearn.hmm_data import Observed, with_missing
from graft.sklearn.hmm_start import centres, covariance
from graft.sklearn.hmm_told import Told, numbers, shaped

KINDS = ("diag", "full", "spherical", "tied")


class GaussianHMM(BaseHMM):
    r"""A hidden Markov model with a Gaussian per state, fitted by EM,
    $p(x, s) = p(s_1) \prod_t p(s_t \mid s_{t-1}) \prod_t \mathcal{N}(x_t; \mu_{s_t}, \Sigma_{s_t})$.

    Settings, attributes and methods are hmmlearn's. NaN is a missing number: it is integrated out exactly. No data give
    NaN parameters: variances stay above `min_covar`, and a state that nothing is expected of keeps its parameters.

    Args:
        n_components: how many states.
        covariance_type: "diag", "full", "spherical" or "tied".
        min_covar: no variance (no eigenvalue) falls below it.
        startprob_prior: Dirichlet concentrations of `startprob_`, at least 1.
        transmat_prior: of the rows of `transmat_`.
        means_prior: where means are expected.
        means_weight: how many observations that is worth.
        covars_prior: scatter of the prior of covariances; a number stands for a multiple of the identity.
        covars_weight: how many observations that is worth, plus 1 ("diag", "spherical") or plus dimensions.
        algorithm: of `predict` and `decode`, "viterbi" or "map".
        random_state: of k-means and of `sample`.
        n_iter: at most so many iterations.
        tol: fitting ends where an iteration gains no more, in nats of all data.
        params: what is learnt: s startprob_, t transmat_, m means_, c covars_.
        init_params: what fitting begins anew; the others keep what was set before.
        dtype: "float64" or "float32", of the parameters; sums over sequences are in double precision where they can be.

    Attributes:
        startprob_: (states,).
        transmat_: (states, states), from row to column.
        means_: (states, dimensions).
        covars_: (states, dimensions, dimensions); set as (states, dimensions), (states, dimensions, dimensions),
            (states,) or (dimensions, dimensions) by `covariance_type`.
        model_: the graft model.
        monitor_: its `history`, `iter` and `converged`.

    Source: Rabiner 1989; the interface, hmmlearn 0.3.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 2)) + 4 * (np.arange(60) // 10 % 2)[:, None]
        >>> hmm = GaussianHMM(2, random_state=0).fit(X, lengths=[40, 20])
        >>> np.sort(hmm.means_[:, 0] + 0.5).round(1), hmm.monitor_.converged, len(set(hmm.predict(X[:10]).tolist()))
        (array([0.3, 4.7]), True, 1)
    """

    means_ = Told()
    covars_ = Told()
    _letters = {"s": "startprob_", "t": "transmat_", "m": "means_", "c": "covars_"}
    _shapes = KINDS

    def __init__(
        self,
        n_components: int = 1,
        covariance_type: str = "diag",
        *,
        min_covar: float = 1e-3,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        means_prior: Any = 0.0,
        means_weight: float = 0.0,
        covars_prior: Any = 1e-2,
        covars_weight: float = 1.0,
        algorithm: str = "viterbi",
        random_state: Any = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        params: str = "stmc",
        init_params: str = "stmc",
        dtype: str = "float64",
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.min_covar = min_covar
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.means_prior = means_prior
        self.means_weight = means_weight
        self.covars_prior = covars_prior
        self.covars_weight = covars_weight
        self.algorithm = algorithm
        self.random_state = random_state
        self.n_iter = n_iter
        self.tol = tol
        self.params = params
        self.init_params = init_params
        self.dtype = dtype

    def _checked(self, name: str, value: Any) -> np.ndarray:
        states = int(self.n_components)
        if name == "means_":
            return shaped(numbers(value, name), (states, None), name)
        return covariances(value, self.covariance_type, states)

    def _emission(self, told: Mapping[str, np.ndarray]) -> nn.Module:
        means, kind = told["means_"], self.covariance_type
        return gaussian(means, told["covars_"], kind)

    def _fitting(self, told: Mapping[str, np.ndarray]) -> None:
        same_width(told["means_"], told["covars_"], self.covariance_type)

    def _read(self, name: str, factor: Any) -> np.ndarray:
        if name == "means_":
            return factor.loc.detach().double().numpy()
        return matrices(variances(factor), self.covariance_type, *factor.loc.shape)

    def _begin(self, data: Observed, missing: set[str], rng: np.random.RandomState) -> dict[str, np.ndarray]:
        states, found = int(self.n_components), {}
        if "means_" in missing:
            found["means_"] = centres(data.table, states, rng)
        if "covars_" in missing:
            every = covariance(data.table, max(float(self.min_covar), 1e-12))
            found["covars_"] = same(every, self.covariance_type, states)
        return found

    def _prior(self, width: int) -> GaussianPrior:
        less = 1 if self.covariance_type in ("diag", "spherical") else width
        return GaussianPrior(
            loc=self.means_prior,
            weight=float(self.means_weight),
            scatter=self.covars_prior,
            degrees=max(float(self.covars_weight) - less, 0.0),
            floor=max(float(self.min_covar), 1e-12),
        )

    def _evidence(self, values: np.ndarray, exists: np.ndarray) -> Any:
        return with_missing(values, exists, getattr(torch, self.dtype))

    def _parameters(self, factor: Any) -> dict[str, nn.Parameter]:
        return {"m": factor.loc, "c": factor.raw_scale}

    def _width(self) -> int:
        return self.means_.shape[1]

    def _counts(self) -> dict[str, int]:
        states, width = self.means_.shape
        return {"m": states * width, "c": freedom(self.covariance_type, states, width)}

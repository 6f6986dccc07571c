"""`GMMHMM`: a mixture of Gaussians per state, with the settings, attributes and methods of hmmlearn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graft.errors import GraftError, ShapeError
from graft.factors.maximise_prior import GaussianPrior, MixturePrior, PseudoCounts
from graft.factors.mixture import Mixture
from graft.factors.spread import spread, unspread
from graft.inference.how_many import positive
from graft.sklearn.hmm_base import BaseHMM
from graft.sklearn.hmm_covariances import roots
from graft.sklearn.hmm_data import Observed, with_missing
from graft.sklearn.hmm_settings import pseudo
from graft.sklearn.hmm_start import centres, covariance, whole
from graft.sklearn.hmm_told import Told, distribution, numbers, shaped


class GMMHMM(BaseHMM):
    r"""A hidden Markov model with a mixture of Gaussians per state, fitted by EM.

    Settings, attributes and methods are hmmlearn's, but that the priors of means and covariances are those of
    `GaussianHMM`. NaN is a missing number, integrated out exactly.

    Args:
        n_components: how many states.
        n_mix: how many Gaussians a state has.
        covariance_type: "diag" or "full".
        min_covar: no variance (no eigenvalue) falls below it.
        startprob_prior: Dirichlet concentrations of `startprob_`, at least 1.
        transmat_prior: of the rows of `transmat_`.
        weights_prior: of the rows of `weights_`.
        means_prior: where means are expected.
        means_weight: how many observations that is worth.
        covars_prior: scatter of the prior of covariances; a number stands for a multiple of the identity.
        covars_weight: how many observations that is worth, plus 1 ("diag") or plus dimensions ("full").
        algorithm: of `predict` and `decode`, "viterbi" or "map".
        random_state: of k-means and of `sample`.
        n_iter: at most so many iterations.
        tol: fitting ends where an iteration gains no more, in nats of all data.
        params: what is learnt: s startprob_, t transmat_, m means_, c covars_, w weights_.
        init_params: what fitting begins anew; the others keep what was set before.
        dtype: "float64" or "float32", of the parameters; sums over sequences are in double precision where they can be.

    Attributes:
        startprob_: (states,).
        transmat_: (states, states), from row to column.
        weights_: (states, mixture).
        means_: (states, mixture, dimensions).
        covars_: (states, mixture, dimensions), and once more dimensions if "full".
        model_: the graft model.
        monitor_: its `history`, `iter` and `converged`.

    Source: Juang, Levinson & Sondhi 1986; the interface, hmmlearn 0.3.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(80, 1)) + rng.choice([-4, 4], size=(80, 1)) + 30 * (np.arange(80) > 40)[:, None]
        >>> hmm = GMMHMM(2, n_mix=2, random_state=0, n_iter=20).fit(X)
        >>> np.sort(hmm.means_.mean((1, 2))).round(-1), hmm.weights_.shape
        (array([ 0., 30.]), (2, 2))
    """

    weights_ = Told()
    means_ = Told()
    covars_ = Told()
    _letters = {"s": "startprob_", "t": "transmat_", "m": "means_", "c": "covars_", "w": "weights_"}
    _shapes = ("diag", "full")

    def __init__(
        self,
        n_components: int = 1,
        n_mix: int = 1,
        *,
        covariance_type: str = "diag",
        min_covar: float = 1e-3,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        weights_prior: Any = 1.0,
        means_prior: Any = 0.0,
        means_weight: float = 0.0,
        covars_prior: Any = 0.0,
        covars_weight: float = 1.0,
        algorithm: str = "viterbi",
        random_state: Any = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        params: str = "stmcw",
        init_params: str = "stmcw",
        dtype: str = "float64",
    ) -> None:
        self.n_components = n_components
        self.n_mix = n_mix
        self.covariance_type = covariance_type
        self.min_covar = min_covar
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.weights_prior = weights_prior
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
        rows = int(self.n_components), positive(self.n_mix, "n_mix")
        if name == "weights_":
            return distribution(value, rows, name)
        if name == "means_":
            return shaped(numbers(value, name), (*rows, None), name)
        wide = (None,) if self.covariance_type == "diag" else (None, None)
        found = shaped(numbers(value, name), (*rows, *wide), name)
        least = found.min() if self.covariance_type == "diag" else np.linalg.eigvalsh(found).min()
        if least <= 0:
            raise GraftError(f"{name} must be positive (definite)")
        return found

    def _emission(self, told: Mapping[str, np.ndarray]) -> nn.Module:
        means, kind = told["means_"], self.covariance_type
        if told["covars_"].shape[-1] != means.shape[2]:
            raise ShapeError(f"means_ have {means.shape[2]} dimensions, covars_ {told['covars_'].shape[-1]}")
        found = Mixture(means.shape[1], dim=means.shape[2], given=len(means), covariance=kind).double()  # type: ignore[arg-type]
        with torch.no_grad():
            found.loc.copy_(torch.from_numpy(np.ascontiguousarray(means)))
            found.logits.copy_(torch.from_numpy(np.ascontiguousarray(told["weights_"])).log())
            found.raw_scale.copy_(unspread(torch.from_numpy(roots(told["covars_"], kind)), kind))  # type: ignore[arg-type]
        return found

    def _read(self, name: str, factor: Any) -> np.ndarray:
        if name == "weights_":
            return factor.logits.detach().double().softmax(-1).numpy()
        if name == "means_":
            return factor.loc.detach().double().numpy()
        scale: Tensor = spread(factor.raw_scale.detach().double(), self.covariance_type)  # type: ignore[arg-type]
        return (scale.square() if self.covariance_type == "diag" else scale @ scale.mT).numpy()

    def _begin(self, data: Observed, missing: set[str], rng: np.random.RandomState) -> dict[str, np.ndarray]:
        states, mix = int(self.n_components), positive(self.n_mix, "n_mix")
        found: dict[str, np.ndarray] = {"weights_": np.full((states, mix), 1.0 / mix)}
        if "means_" in missing:
            table, middle = whole(data.table), centres(data.table, states, rng)
            nearest = ((table[:, None] - middle) ** 2).sum(-1).argmin(1)
            parts = [table[nearest == k] if (nearest == k).any() else middle[k : k + 1] for k in range(states)]
            found["means_"] = np.stack([centres(part, mix, rng) for part in parts])
        if "covars_" in missing:
            every = covariance(data.table, max(float(self.min_covar), 1e-12))
            one = np.diagonal(every) if self.covariance_type == "diag" else every
            found["covars_"] = np.broadcast_to(one, (states, mix, *one.shape)).copy()
        return found

    def _prior(self, width: int) -> MixturePrior:
        less = 1 if self.covariance_type == "diag" else width
        components = GaussianPrior(
            loc=self.means_prior,
            weight=float(self.means_weight),
            scatter=self.covars_prior,
            degrees=max(float(self.covars_weight) - less, 0.0),
            floor=max(float(self.min_covar), 1e-12),
        )
        return MixturePrior(PseudoCounts(pseudo(self.weights_prior, "weights_prior")), components)

    def _evidence(self, values: np.ndarray, exists: np.ndarray) -> Any:
        return with_missing(values, exists, getattr(torch, self.dtype))

    def _parameters(self, factor: Any) -> dict[str, nn.Parameter]:
        return {"m": factor.loc, "c": factor.raw_scale, "w": factor.logits}

    def _width(self) -> int:
        return self.means_.shape[2]

    def _counts(self) -> dict[str, int]:
        states, mix, width = self.means_.shape
        each = width if self.covariance_type == "diag" else width * (width + 1) // 2
        return {"m": states * mix * width, "c": states * mix * each, "w": states * (mix - 1)}

"""`GMM`: a mixture of Gaussians with the settings, attributes and methods of scikit-learn's `GaussianMixture`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from graft.errors import GraftError, ShapeError
from graft.factors.categorical import Categorical
from graft.factors.maximise_prior import GaussianPrior
from graft.inference.how_many import positive
from graft.model import Model
from graft.objectives.em import EM
from graft.sklearn.batches import CELLS
from graft.sklearn.hmm_covariances import covariances, freedom, gaussian, variances
from graft.sklearn.hmm_data import observed, with_missing
from graft.sklearn.hmm_gaussian import KINDS
from graft.sklearn.hmm_settings import checked
from graft.sklearn.hmm_start import moments, whole
from graft.sklearn.hmm_told import NotFitted, distribution, numbers, shaped

WEIGHTS, COMPONENTS = "c", "x | c"


class GMM(BaseEstimator):
    r"""A mixture of Gaussians fitted by EM, $p(x) = \sum_k \pi_k \, \mathcal{N}(x; \mu_k, \Sigma_k)$.

    Settings, attributes and methods are those of scikit-learn's `GaussianMixture`. NaN is a missing number, integrated
    out exactly. No data give NaN parameters: a component that nothing is expected of keeps its parameters.

    Args:
        n_components: how many Gaussians.
        covariance_type: "full", "tied", "diag" or "spherical".
        tol: fitting ends where an iteration gains no more, in nats per row.
        reg_covar: added to the variances; if it is 0, they stay above 1e-12.
        max_iter: at most so many iterations; a `ConvergenceWarning` says if they did not do.
        n_init: how often fitting begins anew; the best is kept.
        init_params: "kmeans", or "random_from_data": random rows, and with each the rows nearest to it. (Scikit-learn
            takes each such row alone, with `reg_covar` for its variance.)
        weights_init: (components,) to start from.
        means_init: (components, dimensions).
        precisions_init: inverse covariances, in the shape of `covariances_`.
        random_state: of the starts and of `sample`.
        dtype: "float64" or "float32", of the parameters.

    Attributes:
        weights_: (components,).
        means_: (components, dimensions).
        covariances_: (components, dimensions, dimensions), (dimensions, dimensions), (components, dimensions) or
            (components,) by `covariance_type`.
        converged_: whether the last gain was within `tol`.
        n_iter_: how many iterations the best start took.
        lower_bound_: the log-likelihood per row before the last of these.
        model_: the graft model, with the variables c and x.

    Source: Dempster, Laird & Rubin 1977, section 4.3; the interface, scikit-learn.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(60, 2)) + 6 * (np.arange(60) % 2)[:, None]
        >>> gmm = GMM(2, random_state=0).fit(X)
        >>> np.sort(gmm.means_[:, 0] + 0.5).round(1), len(set(gmm.predict(X[::2]).tolist())), gmm.converged_
        (array([0.4, 6.6]), 1, True)
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        dtype: str = "float64",
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.dtype = dtype

    @property
    def model_(self) -> Model:
        """The graft model: to be asked for more, or trained on by gradient.

        Raises:
            NotFitted: there is none yet.
        """
        found = self.__dict__.get("_model")
        if found is None:
            raise NotFitted("this GMM is not fitted: call fit")
        return found

    def __sklearn_is_fitted__(self) -> bool:
        return "_model" in self.__dict__

    @property
    def _weights(self) -> Any:
        return self.model_.graph.nodes[0].module

    @property
    def _components(self) -> Any:
        return self.model_.graph.nodes[1].module

    @property
    def weights_(self) -> Float[np.ndarray, " k"]:
        return self._weights.table.detach().double().softmax(-1).numpy()

    @property
    def means_(self) -> Float[np.ndarray, "k d"]:
        return self._components.loc.detach().double().numpy().copy()

    @property
    def covariances_(self) -> Float[np.ndarray, "..."]:
        return variances(self._components)

    def fit(self, X: Any, y: Any = None) -> GMM:
        """Learn the parameters; the same data and `random_state` give the same ones.

        Args:
            X: (rows, dimensions), NaN where a number is missing.
            y: not used.

        Raises:
            GraftError: a setting or a shape is wrong, or there is no row.
        """
        settings = self.get_params()
        checked({name: value for name, value in settings.items() if name != "init_params"}, "", KINDS)
        if self.init_params not in ("kmeans", "random_from_data"):
            raise GraftError(f"init_params is 'kmeans' or 'random_from_data', not {self.init_params!r}")
        table = _rows(X)
        if len(table) == 0:
            raise GraftError("there is no row in X to learn from")
        self.n_features_in_ = table.shape[1]
        rng = check_random_state(self.random_state)
        best = None
        with torch.inference_mode(False), torch.enable_grad():
            for _ in range(int(self.n_init)):
                model = self._begun(table, rng)
                run = self._engine(model).fit(
                    [{"x": x} for _, x in self._batches(table)],
                    iterations=int(self.max_iter),
                    tolerance=float(self.tol) * len(table),
                )
                if best is None or run.log_likelihoods[-1] > best[0].log_likelihoods[-1]:
                    best = run, model
        assert best is not None
        run, self._model = best
        self.converged_, self.n_iter_ = run.converged, len(run.history)
        self.lower_bound_ = run.log_likelihoods[-1] / len(table)
        if not run.converged:
            told = f"EM stopped after {self.n_iter_} iterations, still gaining"
            warnings.warn(told, ConvergenceWarning, stacklevel=2)
        return self

    def _engine(self, model: Model) -> EM:
        added = float(self.reg_covar)
        return EM(model, priors={COMPONENTS: GaussianPrior(floor=1e-12 if added == 0 else 0.0, added=added)})

    def _batches(self, table: np.ndarray) -> Iterator[tuple[slice, Any]]:
        """Some rows at a time, as memory allows."""
        size = max(1, CELLS // max(table.shape[1], int(self.n_components)))
        for start in range(0, len(table), size):
            rows = slice(start, min(start + size, len(table)))
            yield rows, with_missing(table[rows], np.ones(len(table[rows]), bool), getattr(torch, self.dtype))

    def _begun(self, table: np.ndarray, rng: np.random.RandomState) -> Model:
        """The mixture that EM starts from: moments of clusters, but for what was told."""
        states, kind, width = int(self.n_components), self.covariance_type, table.shape[1]
        added = float(self.reg_covar) or 1e-12
        chances, means, covars = moments(table, self._clusters(table, rng), states, kind, added)
        if self.weights_init is not None:
            chances = distribution(self.weights_init, (states,), "weights_init")
        if self.means_init is not None:
            means = shaped(numbers(self.means_init, "means_init"), (states, width), "means_init")
        if self.precisions_init is not None:
            told = covariances(self.precisions_init, kind, states, "precisions_init")
            covars = 1 / told if kind in ("diag", "spherical") else np.linalg.inv(told)
        weights = Categorical(probs=torch.from_numpy(chances))
        model = Model({WEIGHTS: weights, COMPONENTS: gaussian(means, covars, kind)})
        return model.to(getattr(torch, self.dtype))

    def _clusters(self, table: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        """The number of a component for every row."""
        states, table = int(self.n_components), whole(table)
        if len(table) <= states:
            return np.arange(len(table))
        if self.init_params == "kmeans":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # fewer distinct rows than clusters
                return KMeans(states, n_init=1, random_state=rng).fit(table).labels_
        chosen = table[rng.choice(len(table), states, replace=False)]
        return ((table[:, None] - chosen) ** 2).sum(-1).argmin(1)

    def _read(self, X: Any) -> np.ndarray:
        width, table = self.means_.shape[1], _rows(X)
        if table.shape[1] != width:
            raise ShapeError(f"X has {table.shape[1]} dimensions, the model {width}")
        return table

    def _asked(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Log-densities (rows) and probabilities of components (rows, components)."""
        table, em = self._read(X), EM(self.model_)
        log_density, probs = np.zeros(len(table)), np.zeros((len(table), len(self.means_)))
        for rows, x in self._batches(table):
            log_z, counts = em.counted(em.prepared({"x": x}))
            node = next(node for node in counts if str(node) == COMPONENTS)
            log_density[rows], probs[rows] = log_z.double().numpy(), counts[node].T.double().numpy()
        return log_density, probs

    def score_samples(self, X: Any) -> Float[np.ndarray, " n"]:
        """The log-density of every row, in nats."""
        return self._asked(X)[0]

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n k"]:
        """The probability of every component for every row."""
        return self._asked(X)[1]

    def predict(self, X: Any) -> Int[np.ndarray, " n"]:
        """The most probable component of every row."""
        return self._asked(X)[1].argmax(1)

    def fit_predict(self, X: Any, y: Any = None) -> Int[np.ndarray, " n"]:
        """Fit, then predict the same rows."""
        return self.fit(X).predict(X)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean log-density of the rows, in nats."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows (n, dimensions), and the components that they are of.

        Args:
            n_samples: how many.
            random_state: in place of the estimator's.
        """
        rng = check_random_state(self.random_state if random_state is None else random_state)
        with torch.no_grad():
            drawn = self.model_.sample((positive(n_samples, "n_samples"),), seed=int(rng.randint(2**31 - 1)))
        return drawn["x"].numpy(), drawn["c"].numpy()

    def aic(self, X: Any) -> float:
        """Akaike's criterion, twice the number of free parameters less twice the log-likelihood."""
        return 2.0 * self._count() - 2.0 * float(self.score_samples(X).sum())

    def bic(self, X: Any) -> float:
        """Schwarz's criterion, the number of free parameters times log rows less twice the log-likelihood."""
        found = self.score_samples(X)
        return self._count() * float(np.log(len(found))) - 2.0 * float(found.sum())

    def _count(self) -> int:
        states, width = self.means_.shape
        return states - 1 + states * width + freedom(self.covariance_type, states, width)


def _rows(X: Any) -> Float[np.ndarray, "n d"]:
    """One table; to a mixture, rows of several sequences are nothing of their own."""
    found = observed(X)
    if found.layout != "rows":
        told = "a list of tables" if found.layout == "list" else f"of shape {np.shape(X)}"
        raise ShapeError(f"X is one table (rows, dimensions) to a mixture, not {told}")
    return found.table

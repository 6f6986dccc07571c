"""`CategoricalHMM`: one table of symbols per state, with the settings, attributes and methods of hmmlearn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graft.errors import GraftError, ShapeError
from graft.factors.categorical import Categorical
from graft.factors.maximise_prior import PseudoCounts
from graft.inference.how_many import positive
from graft.sklearn.hmm_base import RandomStart
from graft.sklearn.hmm_data import Observed
from graft.sklearn.hmm_settings import pseudo
from graft.sklearn.hmm_start import simplex
from graft.sklearn.hmm_told import Told, distribution


class CategoricalHMM(RandomStart):
    r"""A hidden Markov model of symbols 0 to n-1, fitted by EM (Baum and Welch),
    $p(x, s) = p(s_1) \prod_t p(s_t \mid s_{t-1}) \prod_t p(x_t \mid s_t)$.

    Settings, attributes and methods are hmmlearn's. A symbol of -1 is missing, and summed out.

    Args:
        n_components: how many states.
        startprob_prior: Dirichlet concentrations of `startprob_`, at least 1.
        transmat_prior: of the rows of `transmat_`.
        emissionprob_prior: of the rows of `emissionprob_`.
        n_features: how many symbols; by default as many as fitting sees.
        algorithm: of `predict` and `decode`, "viterbi" or "map".
        random_state: of the start and of `sample`.
        n_iter: at most so many iterations.
        tol: fitting ends where an iteration gains no more, in nats of all data.
        params: what is learnt: s startprob_, t transmat_, e emissionprob_.
        init_params: what fitting begins anew, at random; the others keep what was set before.
        dtype: "float64" or "float32", of the parameters; sums over sequences are in double precision where they can be.

    Attributes:
        startprob_: (states,).
        transmat_: (states, states), from row to column.
        emissionprob_: (states, symbols).
        model_: the graft model.
        monitor_: its `history`, `iter` and `converged`.

    Source: Baum, Petrie, Soules & Weiss 1970; the interface, hmmlearn 0.3.

    Example:
        >>> X = np.array([0, 0, 1, 0, 0, 2, 2, 3, 2, 2])[:, None]
        >>> hmm = CategoricalHMM(2, random_state=1, n_iter=50).fit(X)
        >>> states = hmm.predict(X)
        >>> len(set(states[:5])), len(set(states[5:])), hmm.emissionprob_.shape
        (1, 1, (2, 4))
    """

    emissionprob_ = Told()
    _letters = {"s": "startprob_", "t": "transmat_", "e": "emissionprob_"}
    _dtype = np.int64

    def __init__(
        self,
        n_components: int = 1,
        *,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        emissionprob_prior: Any = 1.0,
        n_features: int | None = None,
        algorithm: str = "viterbi",
        random_state: Any = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        params: str = "ste",
        init_params: str = "ste",
        dtype: str = "float64",
    ) -> None:
        self.n_components = n_components
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.emissionprob_prior = emissionprob_prior
        self.n_features = n_features
        self.algorithm = algorithm
        self.random_state = random_state
        self.n_iter = n_iter
        self.tol = tol
        self.params = params
        self.init_params = init_params
        self.dtype = dtype

    def _checked(self, name: str, value: Any) -> np.ndarray:
        return distribution(value, (int(self.n_components), None), name)

    def _emission(self, told: Mapping[str, np.ndarray]) -> nn.Module:
        return Categorical(probs=torch.from_numpy(np.ascontiguousarray(told["emissionprob_"])))

    def _read(self, name: str, factor: Any) -> np.ndarray:
        return factor.table.detach().double().softmax(-1).numpy()

    def _begin(self, data: Observed, missing: set[str], rng: np.random.RandomState) -> dict[str, np.ndarray]:
        if data.table.shape[1] != 1:
            raise ShapeError(f"X holds one symbol per row, (elements, 1), not {data.table.shape}")
        if "emissionprob_" not in missing:
            return {}
        symbols = int(data.table.max(initial=0)) + 1
        if self.n_features is not None:
            symbols = positive(self.n_features, "n_features")
        return {"emissionprob_": simplex((int(self.n_components), symbols), rng)}

    def _prior(self, width: int) -> PseudoCounts:
        return PseudoCounts(pseudo(self.emissionprob_prior, "emissionprob_prior"))

    def _evidence(self, values: np.ndarray, exists: np.ndarray) -> Any:
        found = np.where(exists, values[..., 0], 0)
        symbols = self.emissionprob_.shape[1]
        if found.size and (found.min() < -1 or found.max() >= symbols):
            worst = found.max() if found.max() >= symbols else found.min()
            raise GraftError(f"X holds the symbol {worst}; the model has 0 to {symbols - 1}, and -1 for missing ones")
        return torch.from_numpy(found)

    def _parameters(self, factor: Any) -> dict[str, nn.Parameter]:
        return {"e": factor.table}

    def _width(self) -> int:
        return 1

    def _seen(self, drawn: Tensor) -> np.ndarray:
        return drawn.numpy()[:, None]

    def _counts(self) -> dict[str, int]:
        states, symbols = self.emissionprob_.shape
        return {"e": states * (symbols - 1)}

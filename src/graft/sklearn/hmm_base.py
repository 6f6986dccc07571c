"""What hidden Markov models share: reading sequences, fitting by EM, and the questions of hmmlearn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from torch import Tensor, nn

from graft.errors import GraftError, ShapeError
from graft.factors.categorical import Categorical
from graft.factors.maximise_prior import Prior, PseudoCounts
from graft.graph.nodes import Node
from graft.inference.how_many import positive
from graft.model import Model
from graft.objectives.em import EM
from graft.objectives.em_run import Prepared
from graft.sklearn.hmm_data import Observed, observed
from graft.sklearn.hmm_settings import checked, pseudo, settings_of
from graft.sklearn.hmm_start import simplex
from graft.sklearn.hmm_told import NotFitted, Told, distribution

START, MOVE, EMIT = "s[0]", "s[t] | s[t-1]", "y[t] | s[t]"


@dataclass(frozen=True)
class Monitor:
    """How a fit went.

    Attributes:
        history: log-likelihoods of all data before each iteration, in nats.
        iter: how many iterations there were.
        converged: whether the last gain was within `tol`.
        tol: the tolerance.
        n_iter: the most iterations.
    """

    history: list[float]
    iter: int
    converged: bool
    tol: float
    n_iter: int


class BaseHMM(BaseEstimator, ABC):
    """A hidden Markov model whose emissions a subclass adds."""

    startprob_ = Told()
    transmat_ = Told()

    #: attributes by their letter in `params` and `init_params`
    _letters: ClassVar[Mapping[str, str]]
    _shapes: ClassVar[tuple[str, ...]] = ()
    _dtype: ClassVar[type] = np.float64

    n_components: int
    startprob_prior: Any
    transmat_prior: Any
    algorithm: str
    random_state: Any
    n_iter: int
    tol: float
    params: str
    init_params: str
    dtype: str

    @abstractmethod
    def _checked(self, name: str, value: Any) -> np.ndarray:
        """An attribute of the emissions as the user tells it."""

    @abstractmethod
    def _emission(self, told: Mapping[str, np.ndarray]) -> nn.Module:
        """The factor with these parameters."""

    def _fitting(self, told: Mapping[str, np.ndarray]) -> None:
        """Refuses attributes that do not fit each other."""
        self._emission(told)

    @abstractmethod
    def _read(self, name: str, factor: Any) -> np.ndarray:
        """An attribute of the emissions as the user reads it."""

    @abstractmethod
    def _begin(self, data: Observed, missing: set[str], rng: np.random.RandomState) -> dict[str, np.ndarray]:
        """Attributes of the emissions to start from."""

    @abstractmethod
    def _prior(self, width: int) -> Prior:
        """Of the emissions."""

    @abstractmethod
    def _evidence(self, values: np.ndarray, exists: np.ndarray) -> Any:
        """What is observed, (rows, time, dimensions), as the model takes it."""

    @abstractmethod
    def _parameters(self, factor: Any) -> dict[str, nn.Parameter]:
        """The parameters of the emissions by their letters."""

    @property
    def model_(self) -> Model:
        """The graft model, with the variables s (states) and y: to be asked for more, or trained on by gradient.

        Raises:
            NotFitted: there is none yet.
        """
        if "_model" not in self.__dict__ and self._complete:
            self._model = self._built(self.__dict__["_told"])
        found = self.__dict__.get("_model")
        if found is None:
            names = ", ".join(self._letters.values())
            raise NotFitted(f"this {type(self).__name__} is not fitted: call fit, or set {names}")
        return found

    @property
    def _complete(self) -> bool:
        """Whether all attributes were told."""
        return set(self.__dict__.get("_told", ())) == set(self._letters.values())

    def __sklearn_is_fitted__(self) -> bool:
        return "_model" in self.__dict__ or self._complete

    def _factor(self, formula: str) -> Any:
        return next(node.module for node in self.model_.graph.nodes if node.formula.text == formula)

    def _now(self, name: str) -> np.ndarray:
        told = self.__dict__.get("_told", {})
        if not self.__sklearn_is_fitted__() and name in told:
            return told[name]
        if name in ("startprob_", "transmat_"):
            table = self._factor(START if name == "startprob_" else MOVE).table
            return table.detach().double().softmax(-1).numpy()
        # the model may be trained on: what was read stays as it was
        return self._read(name, self._factor(EMIT)).copy()

    def _tell(self, name: str, value: Any) -> None:
        told = {**self._known(set(self._letters.values()) - {name}), name: self._valid(name, value)}
        if set(told) == set(self._letters.values()):
            self._fitting(told)
            self.__dict__.pop("_model", None)
        self._told = told

    def _valid(self, name: str, value: Any) -> np.ndarray:
        states = positive(self.n_components, "n_components")
        if name in ("startprob_", "transmat_"):
            return distribution(value, (states,) if name == "startprob_" else (states, states), name)
        return self._checked(name, value)

    def _known(self, names: set[str]) -> dict[str, np.ndarray]:
        """Some attributes, those that are known, as one tells them."""
        if "_model" in self.__dict__:
            return {name: self._valid(name, self._now(name)) for name in names}
        return {name: value for name, value in self.__dict__.get("_told", {}).items() if name in names}

    def _built(self, told: Mapping[str, np.ndarray]) -> Model:
        tables = (torch.from_numpy(np.ascontiguousarray(told[name])) for name in ("startprob_", "transmat_"))
        start, move = (Categorical(probs=table) for table in tables)
        model = Model({START: start, MOVE: move, EMIT: self._emission(told)})
        # attributes are told in double precision
        return model if self.dtype == "float64" else model.to(getattr(torch, self.dtype))

    def fit(self, X: Any, lengths: Any = None) -> Any:
        """Learn the parameters by EM; the same data and `random_state` give the same ones.

        Args:
            X: rows of all sequences end to end, (elements, dimensions), with `lengths`; a list of sequences; or one
                array (sequences, time, dimensions). What is missing is NaN (-1, of symbols).
            lengths: how many rows belong to each sequence.

        Raises:
            GraftError: a setting or a shape is wrong, or there is no element.
        """
        checked(settings_of(self), "".join(self._letters), self._shapes)
        data = observed(X, lengths, self._dtype)
        if len(data.table) == 0:
            raise GraftError("there is no element in X to learn from")
        self._begun(data)
        self.n_features_in_ = data.table.shape[1]
        with torch.inference_mode(False), torch.enable_grad():
            run = self._em(data)
        iterations, most = len(run.history), int(self.n_iter)
        self.monitor_ = Monitor(list(run.log_likelihoods), iterations, run.converged, float(self.tol), most)
        return self

    def _begun(self, data: Observed) -> None:
        """The model that EM starts from: attributes told and not in `init_params` are kept."""
        states, rng = int(self.n_components), check_random_state(self.random_state)
        kept = {self._letters[x] for x in self._letters if x not in self.init_params}
        told = self._known(kept)
        missing = set(self._letters.values()) - set(told)
        begun = self._begin(data, missing, rng)
        begun |= {"startprob_": self._chances((states,), rng), "transmat_": self._chances((states, states), rng)}
        told = {name: self._valid(name, value) for name, value in told.items()}
        self._model = self._built({**begun, **told})

    def _chances(self, shape: tuple[int, ...], rng: np.random.RandomState) -> np.ndarray:
        return np.full(shape, 1.0 / shape[-1])

    def _em(self, data: Observed) -> Any:
        em = self._engine()
        letters = {
            "s": self._factor(START).table,
            "t": self._factor(MOVE).table,
            **self._parameters(self._factor(EMIT)),
        }
        for letter, parameter in letters.items():
            parameter.requires_grad_(letter in self.params)
        try:
            batches = [batch for _, _, batch in self._batches(data)]
            return em.fit(batches, iterations=int(self.n_iter), tolerance=float(self.tol))
        finally:
            for parameter in letters.values():
                parameter.requires_grad_(True)

    def _engine(self) -> EM:
        priors: dict[str, Prior] = {
            START: PseudoCounts(pseudo(self.startprob_prior, "startprob_prior")),
            MOVE: PseudoCounts(pseudo(self.transmat_prior, "transmat_prior")),
            EMIT: self._prior(self.n_features_in_),
        }
        return EM(self.model_, priors=priors)

    def _batches(self, data: Observed) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, Any]]]:
        for places, exists in data.batches(max(data.table.shape[1], int(self.n_components))):
            batch = {"y": self._evidence(data.elements(places, exists), exists)}
            if not exists.all():
                batch["lengths"] = torch.from_numpy(exists.sum(1))
            yield places, exists, batch

    def _asked(self, X: Any, lengths: Any) -> Observed:
        self._refuse_changed()
        data, width = observed(X, lengths, self._dtype), self._width()
        if data.table.shape[1] != width:
            raise ShapeError(f"X has {data.table.shape[1]} dimensions, the model {width}")
        return data

    def _refuse_changed(self) -> None:
        """Raises if there is no model, or one of other states than the setting says by now."""
        states = self._factor(START).table.shape[-1]
        if self.n_components != states:
            raise GraftError(f"n_components is {self.n_components!r}, the model has {states} states: fit it anew")

    @abstractmethod
    def _width(self) -> int:
        """How many dimensions an element has."""

    def score_samples(self, X: Any, lengths: Any = None) -> tuple[float, Any]:
        """The log-likelihood of all sequences in sum, and the probabilities of states of every element.

        Returns:
            Nats; and (elements, states), in the layout of X (a list, or (sequences, time, states)).
        """
        data, total = self._asked(X, lengths), 0.0
        found = np.zeros((len(data.table), int(self.n_components)))
        em = EM(self.model_)
        for places, exists, batch in self._batches(data):
            prepared = em.prepared(batch)
            log_z, counts = em.counted(prepared)
            total += float(log_z.double().sum())
            found[places[exists]] = self._of_states(batch, prepared, counts).double().numpy()[exists]
        return total, data.restored(found)

    def _of_states(self, batch: dict[str, Any], prepared: Prepared, counts: Mapping[Node, Tensor]) -> Tensor:
        """The probabilities of states, (rows, time, states)."""
        node = next(node for node in counts if str(node) == EMIT)
        if len(prepared.expectation.standing[node].slots) == 1:
            return counts[node].movedim(0, -1)
        # where symbols are missing, the emission is counted for all elements in sum
        values, ends = dict(batch), {}
        if "lengths" in values:
            ends["lengths"] = values.pop("lengths")
        with torch.no_grad():
            marginal: Tensor = self.model_.given(values, **ends).marginals["s"].probs
        return marginal

    def score(self, X: Any, lengths: Any = None) -> float:
        """The log-likelihood of all sequences in sum, in nats."""
        return self.score_samples(X, lengths)[0]

    def predict_proba(self, X: Any, lengths: Any = None) -> Any:
        """The probabilities of states of every element, given its whole sequence; see `score_samples`."""
        return self.score_samples(X, lengths)[1]

    def decode(self, X: Any, lengths: Any = None, algorithm: str | None = None) -> tuple[float, Any]:
        """The log-probability of data and decoded states in sum, and the states, in the layout of X.

        Args:
            X: as in `fit`.
            lengths: as in `fit`.
            algorithm: "viterbi", the jointly most probable states; "map", the most probable state of each element (the
                figure is then the sum of their probabilities, as in hmmlearn); by default that of the estimator.
        """
        algorithm = self.algorithm if algorithm is None else algorithm
        checked({"algorithm": algorithm}, "", ())
        if algorithm == "map":
            data = self._asked(X, lengths)
            _, probs = self.score_samples(data.table, data.lengths)
            return float(probs.max(-1).sum()), data.restored(probs.argmax(-1))
        data, total = self._asked(X, lengths), 0.0
        found = np.zeros(len(data.table), dtype=np.int64)
        with torch.no_grad():
            for places, exists, batch in self._batches(data):
                ends = {"lengths": batch.pop("lengths")} if "lengths" in batch else {}
                states: Tensor = self.model_.given(batch, **ends).mode()["s"]
                total += float(self.model_.log_prob({**batch, "s": states}, **ends).double().sum())
                found[places[exists]] = states.numpy()[exists]
        return total, data.restored(found)

    def predict(self, X: Any, lengths: Any = None) -> Any:
        """The states of every element, by the estimator's `algorithm`; see `decode`."""
        return self.decode(X, lengths)[1]

    def sample(self, n_samples: int = 1, random_state: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Draw one sequence.

        Args:
            n_samples: its length.
            random_state: in place of the estimator's.

        Returns:
            Observations (n, dimensions) and states (n,).
        """
        self._refuse_changed()
        rng = check_random_state(self.random_state if random_state is None else random_state)
        seed = int(rng.randint(2**31 - 1))
        with torch.no_grad():
            drawn = self.model_.sample(sizes={"t": positive(n_samples, "n_samples")}, seed=seed)
        return self._seen(drawn["y"]), drawn["s"].numpy()

    def _seen(self, drawn: Tensor) -> np.ndarray:
        return drawn.numpy()

    def aic(self, X: Any, lengths: Any = None) -> float:
        """Akaike's criterion, twice the number of free parameters less twice the log-likelihood."""
        score = self.score(X, lengths)
        return 2.0 * self._count() - 2.0 * score

    def bic(self, X: Any, lengths: Any = None) -> float:
        """Schwarz's criterion, the number of free parameters times log elements less twice the log-likelihood."""
        data = self._asked(X, lengths)
        return self._count() * float(np.log(len(data.table))) - 2.0 * self.score(X, lengths)

    def _count(self) -> int:
        """Of all parameters, as hmmlearn counts: also of those that `params` does not name."""
        states = int(self.n_components)
        return states - 1 + states * (states - 1) + sum(self._counts().values())

    @abstractmethod
    def _counts(self) -> dict[str, int]:
        """Free parameters of the emissions by their letters."""


class RandomStart(BaseHMM):
    """A model whose tables start at random, as nothing else tells states apart."""

    def _chances(self, shape: tuple[int, ...], rng: np.random.RandomState) -> np.ndarray:
        return simplex(shape, rng)

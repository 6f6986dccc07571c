"""`CRF`: a linear-chain conditional random field with the methods of a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Hashable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from graft.data.tag_schemes import Allowed
from graft.errors import GraftError
from graft.inference.how_many import at_most, positive
from graft.sklearn.batches import CELLS, grouped
from graft.sklearn.files import read, write
from graft.sklearn.fitted import Fitted, forbidden, numbered, weights_by
from graft.sklearn.items import plain
from graft.sklearn.labels import UNKNOWN, classes_of, coded, flattened
from graft.sklearn.maximise import Criterion, maximise
from graft.sklearn.occurring import learnt
from graft.sklearn.readers import reader_for
from graft.sklearn.sequences import Sequences, listed
from graft.sklearn.settings import checked
from graft.sklearn.structure import build, rules

Labels = list[Hashable]

#: Settings that the model cannot be built again without.
_STRUCTURE = ("ends", "constraints", "labels", "dtype")


class CRF(BaseEstimator):
    r"""A linear-chain conditional random field over labels of sequences, fitted to its exact optimum.

    $$ p_w(y \mid x) \propto \exp \sum_t \Big( w_{y_{t-1}, y_t} + \sum_a x_{t, a} w_{a, y_t} \Big), \qquad
    \min_w -\sum_n \log p_w(y_n \mid x_n) + c_2 \lVert w \rVert^2. $$

    `X` is a list of sequences of any lengths (0 too) of dicts of attributes, lists of names or tokens (see
    `graft.sklearn.items.attributes`), or of arrays (time, dimensions), which get an intercept. `y` is a list of
    sequences of hashable labels; where a label is None the element is not annotated, and summed out exactly.
    Attributes that fitting has not seen say nothing; labels that it has not seen have probability zero, but for those
    that `labels` lists: they have the weights that are learnt of them, which are 0 where nothing tells.

    Args:
        c2: strength of the penalty on the square of all weights.
        all_possible_states: learn a weight of every attribute with every label, not only of those that occur.
        all_possible_transitions: learn a weight of every pair of labels, not only of those that occur.
        ends: weights of the first and the last label of a sequence.
        constraints: "BIO" or "BIOES" (labels are tags), or a bool matrix of which label (column) may follow which
            (row), in the order of `classes_`; all else has probability zero, in fitting too.
        labels: all labels, in the order wanted; by default those seen, sorted.
        ignore: a label that means the same as None, such as -100.
        max_iterations: of L-BFGS; None for no limit.
        epsilon: fitting ends where the norm of the gradient, over that of the weights if above 1, is no greater.
        num_memories: earlier steps that L-BFGS keeps.
        dtype: "float64" or "float32".

    Attributes:
        classes_: the labels.
        model_: the graft model, with the variable `y`.
        n_iter_: iterations of L-BFGS.

    Source: Lafferty, McCallum and Pereira, *Conditional random fields* (2001); the names of the settings, Okazaki,
    *CRFsuite* (2007).

    Example:
        >>> X = [["time", "flies"], ["fruit", "flies", "like", "bananas"]]
        >>> y = [["N", "V"], ["N", "N", "V", "N"]]
        >>> crf = CRF(c2=0.01).fit(X, y)
        >>> crf.predict([["time", "flies"], [], ["bananas"]])
        [['N', 'V'], [], ['N']]
        >>> crf.model_
        Model({
            'y[t-1], y[t]': Table,
            'y[t] | features, values': Scores
        })
    """

    def __init__(
        self,
        *,
        c2: float = 1.0,
        all_possible_states: bool = False,
        all_possible_transitions: bool = False,
        ends: bool = False,
        constraints: Any = None,
        labels: Any = None,
        ignore: Any = None,
        max_iterations: int | None = None,
        epsilon: float = 1e-5,
        num_memories: int = 6,
        dtype: str = "float64",
    ) -> None:
        self.c2 = c2
        self.all_possible_states = all_possible_states
        self.all_possible_transitions = all_possible_transitions
        self.ends = ends
        self.constraints = constraints
        self.labels = labels
        self.ignore = ignore
        self.max_iterations = max_iterations
        self.epsilon = epsilon
        self.num_memories = num_memories
        self.dtype = dtype

    def fit(self, X: Any, y: Any) -> CRF:
        """Learn the weights; the same data give the same weights.

        Args:
            X: N sequences.
            y: labels of each, None where not annotated.

        Raises:
            GraftError: a setting, a shape, an element or a label is wrong.
            ImpossibleEvidence: the constraints forbid the labels of some sequences; it names them.
        """
        checked(self.get_params())
        X, y = listed(X, "X"), listed(y, "y")
        # gradients are needed even where the caller has switched them off
        with torch.inference_mode(False), torch.enable_grad():
            return self._fit(X, y)

    def _fit(self, X: list[Any], y: list[Any]) -> CRF:
        reader = reader_for(X)
        sequences = reader.fit(X)
        flat = flattened(y, sequences.lengths, self.ignore)
        classes = classes_of(flat, self.labels, plain(self.ignore))
        rule = rules(self.constraints, classes)
        parts = build(reader, classes, rule, ends=bool(self.ends), dtype=getattr(torch, self.dtype))
        fitted = Fitted(reader, classes, parts)
        self.n_iter_ = self._learn(fitted, sequences, coded(flat, classes), rule)
        self._structure = deepcopy({name: getattr(self, name) for name in _STRUCTURE})
        self._keep(fitted)
        return self

    def _learn(self, fitted: Fitted, sequences: Sequences, codes: np.ndarray, rule: Allowed) -> int:
        impossible = np.flatnonzero(np.isneginf(fitted.log_probs(sequences, codes)))
        if len(impossible):
            raise forbidden(impossible.tolist())
        options = {
            "all_states": bool(self.all_possible_states),
            "all_transitions": bool(self.all_possible_transitions),
        }
        weights = learnt(fitted.parts, fitted.reader, sequences, codes, rule, ends=bool(self.ends), **options)
        rows = grouped(sequences, len(fitted.classes))
        batches = [fitted.batch(sequences, some, codes) for some in rows]
        criterion = Criterion(fitted.parts.model, weights, batches, float(self.c2))
        limit = None if self.max_iterations is None else int(self.max_iterations)
        return maximise(criterion, epsilon=float(self.epsilon), max_iterations=limit, memories=int(self.num_memories))

    def _keep(self, fitted: Fitted) -> None:
        self._fitted, self.classes_, self.model_ = fitted, fitted.classes, fitted.parts.model

    def _read(self, X: Any) -> tuple[Fitted, Sequences]:
        check_is_fitted(self, "model_")
        return self._fitted, self._fitted.reader.read(listed(X, "X"))

    def _labelled(self, X: Any, y: Any) -> tuple[Sequences, np.ndarray]:
        fitted, sequences = self._read(X)
        return sequences, coded(flattened(listed(y, "y"), sequences.lengths, self.ignore), fitted.classes)

    def predict(self, X: Any) -> list[Labels]:
        """The most probable labels of each sequence, jointly (Viterbi).

        Raises:
            ImpossibleEvidence: the constraints allow no labels at all for some sequences; it names them.
        """
        fitted, sequences = self._read(X)
        found: list[Labels] = [[] for _ in sequences.lengths]
        for rows, posterior in fitted.posteriors(sequences):
            with numbered(rows):
                modes = posterior.mode()["y"].tolist()
            for row, states in zip(rows.tolist(), modes, strict=True):
                found[row] = fitted.names(states, int(sequences.lengths[row]))
        return found

    def predict_marginals(self, X: Any) -> list[list[dict[Hashable, float]]]:
        """The probability of each label at each element, given its whole sequence; errors as in `predict`."""
        every = self.predict_proba(X)
        return [[dict(zip(self.classes_, row, strict=True)) for row in one.tolist()] for one in every]

    def predict_proba(self, X: Any) -> list[Float[np.ndarray, "_ classes"]]:
        """The same as arrays (time, classes), in the order of `classes_`."""
        fitted, sequences = self._read(X)
        found = [np.zeros((0, len(fitted.classes))) for _ in sequences.lengths]
        for rows, posterior in fitted.posteriors(sequences):
            with numbered(rows):
                marginals = posterior.marginals["y"].probs.detach().numpy()
            for row, probs in zip(rows.tolist(), marginals, strict=True):
                found[row] = probs[: sequences.lengths[row]].copy()
        return found

    def predict_top_k(self, X: Any, k: Any) -> list[list[tuple[Labels, float]]]:
        """The k most probable sequences of labels of each sequence with their log-probabilities, best first.

        There are fewer where fewer are possible; of an empty sequence there is one.

        Raises:
            GraftError: k is no positive whole number.
            IntractableError: a list of so many does not fit into memory.
        """
        fitted, sequences = self._read(X)
        # no sequence has more than the longest
        k = at_most(positive(k), [(int(sequences.lengths.max(initial=0)), len(fitted.classes))])
        found: list[list[tuple[Labels, float]]] = [[([], 0.0)] for _ in sequences.lengths]
        for rows, posterior in fitted.posteriors(sequences, CELLS // k):
            values, scores = posterior.top_k(k)
            log_probs = (scores - posterior.log_partition.detach()).tolist()
            for place, row in enumerate(rows.tolist()):
                length, states = int(sequences.lengths[row]), values["y"][:, place].tolist()
                ranked = [(fitted.names(states[i], length), log_probs[i][place]) for i in range(k)]
                found[row] = [one for i, one in enumerate(ranked) if scores[i, place] > -torch.inf]
        return found

    def log_prob(self, X: Any, y: Any) -> Float[np.ndarray, " n"]:
        r"""The log-probability $\log p_w(y_n \mid x_n)$ of each sequence of labels, in nats.

        What is not annotated is summed out; a label that fitting has not seen, or that the constraints forbid, gives
        `-inf`; an empty sequence has 0.
        """
        sequences, codes = self._labelled(X, y)
        return self._fitted.log_probs(sequences, codes)

    def score(self, X: Any, y: Any) -> float:
        """The share of annotated elements whose label is predicted.

        Raises:
            GraftError: nothing is annotated.
        """
        X, y = listed(X, "X"), listed(y, "y")
        _, codes = self._labelled(X, y)
        numbers = {label: number for number, label in enumerate(self.classes_)}
        predicted = np.array([numbers[label] for one in self.predict(X) for label in one], dtype=np.int64)
        annotated = codes != UNKNOWN
        if not annotated.any():
            raise GraftError("y holds no label to compare with")
        return float((predicted == codes)[annotated].mean())

    @property
    def transition_features_(self) -> dict[tuple[Hashable, Hashable], float]:
        """Weights other than 0 by (label, next label); what is forbidden has `-inf`."""
        check_is_fitted(self, "model_")
        table = self._fitted.parts.tables["transitions"].detach()
        return weights_by(table, self.classes_, self.classes_)

    @property
    def state_features_(self) -> dict[tuple[Hashable, Hashable], float]:
        """Weights other than 0 by (attribute, label); the attributes of arrays are numbers from 0."""
        check_is_fitted(self, "model_")
        scores = self._fitted.reader.by_attribute(self._fitted.parts.scores.detach())
        return weights_by(scores, self._fitted.reader.names, self.classes_)

    @property
    def attributes_(self) -> list[Hashable]:
        """The attributes that fitting has seen."""
        check_is_fitted(self, "model_")
        return list(self._fitted.reader.names)

    def save(self, path: str | Path) -> None:
        """Write a folder, whole or not at all: weights as safetensors, all else as JSON.

        A model that stands there is replaced. The settings that shape the model (ends, constraints, labels, dtype)
        are those of the fit.

        Raises:
            NotFittedError: the model is not fitted.
            GraftError: a label or a token is no string, number, truth value or tuple; the folder holds other files,
                or cannot be written.
        """
        check_is_fitted(self, "model_")
        write(Path(path), self._fitted, self.get_params() | self._structure, self.n_iter_)

    @classmethod
    def load(cls, path: str | Path) -> CRF:
        """Read what `save` has written.

        Raises:
            DataError: the folder, or what is in it, is not what it should be.
        """
        fitted, settings, iterations = read(Path(path), cls().get_params())
        found = cls(**settings)
        found._structure = {name: settings[name] for name in _STRUCTURE}
        found.n_iter_ = iterations
        found._keep(fitted)
        return found

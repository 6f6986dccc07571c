r"""The regularised conditional likelihood of a chain over all batches at once, and its maximum by L-BFGS."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from graft.model import Model
from graft.objectives.likelihood import Likelihood
from graft.sklearn.weights import Weights


class Criterion:
    r"""The loss $-\sum_n \log p_w(y_n \mid x_n) + c_2 \lVert w \rVert^2$ and its gradient at any weights.

    Args:
        model: the chain.
        weights: of the model.
        batches: values and lengths; what is not annotated is summed out.
        c2: strength of the penalty.
    """

    def __init__(self, model: Model, weights: Weights, batches: Sequence[dict[str, Any]], c2: float) -> None:
        self.weights, self.batches, self.c2 = weights, batches, c2
        self.likelihood = Likelihood(model)
        self._last: tuple[np.ndarray, float, np.ndarray] | None = None

    def __call__(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss and its gradient; the weights stay at the vector."""
        if self._last is None or not np.array_equal(self._last[0], vector):
            self._last = (vector.copy(), *self._at(vector))
        return self._last[1], self._last[2].copy()

    def _at(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        self.weights.set(vector)
        self.weights.forget()
        total = self.c2 * float(vector @ vector)
        for batch in self.batches:
            loss = self.likelihood(batch) * len(batch["lengths"])
            loss.backward()
            total += float(loss.detach())
        gradient = self.weights.gradient() + 2 * self.c2 * vector
        self.weights.forget()
        return total, gradient


def steepness(vector: np.ndarray, gradient: np.ndarray) -> float:
    r"""$\lVert \nabla \rVert / \max(1, \lVert w \rVert)$, which falls to 0 at an optimum.

    Example:
        >>> steepness(np.array([3.0, 4.0]), np.array([0.1, 0.0]))
        0.02
    """
    return float(np.linalg.norm(gradient) / max(1.0, np.linalg.norm(vector)))


def maximise(criterion: Criterion, *, epsilon: float, max_iterations: int | None, memories: int) -> int:
    """Move the weights to the optimum.

    Args:
        criterion: the loss.
        epsilon: stop where the steepness is no greater.
        max_iterations: stop after so many iterations; None for no limit.
        memories: how many earlier steps the curvature is estimated from.

    Returns:
        How many iterations it took; a `ConvergenceWarning` says if they did not reach an optimum.

    Source: Liu and Nocedal, *On the limited memory BFGS method for large scale optimization* (1989).
    """

    def watch(intermediate_result: Any) -> None:
        at = intermediate_result.x
        if steepness(at, criterion(at)[1]) <= epsilon:
            raise StopIteration

    start = criterion.weights.get()
    if steepness(start, criterion(start)[1]) <= epsilon:
        return 0
    limit = 10**9 if max_iterations is None else max_iterations
    # only the steepness stops it: a small decrease is no sign of an optimum
    options = {"maxiter": limit, "maxfun": 10**9, "maxcor": memories, "ftol": 0.0, "gtol": 0.0}
    found = minimize(criterion, start, jac=True, method="L-BFGS-B", callback=watch, options=options)
    left = steepness(found.x, criterion(found.x)[1])
    if left > epsilon:
        warnings.warn(
            f"L-BFGS stopped after {found.nit} iterations at a steepness of {left:.1e}, above epsilon={epsilon}:"
            f" {found.message}",
            ConvergenceWarning,
            stacklevel=4,
        )
    return int(found.nit)

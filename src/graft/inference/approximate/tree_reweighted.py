"""Tree-reweighted belief propagation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from graft.inference.approximate.engine import Engine, Gradient, a_count, a_gradient, a_number, run
from graft.inference.approximate.forests import appearances, heaviest
from graft.inference.approximate.messages import Passed
from graft.inference.approximate.network import Network, flatten
from graft.inference.approximate.passing import Passing
from graft.inference.approximate.solution import Solution
from graft.inference.problem import Problem


class TreeReweighted(Engine):
    r"""Tree-reweighted belief propagation: an upper bound on log Z once it has converged.

    The entropy of any distribution is at most that of its projection on a forest of factors,
    $H(p) \le \sum_v H_v + \sum_{f \in F} (H_f - \sum_{v \in f} H_v)$, so the same holds on average over forests in
    which factor $f$ appears with probability $\rho_f$; maximising expected score plus that entropy over locally
    consistent beliefs is a concave problem whose optimum the messages find. Factors may join any number of elements.

    Args:
        damping: the part of its old logarithm that a message keeps.
        iterations: at most so many steps.
        tolerance: of the change of any message, relative where that is above 1.
        forests: how many forests the appearance probabilities come from.
        optimise: steps of conditional gradient that tighten the bound by moving these probabilities.
        seed: of the forests.
        gradient: "unrolled" through the iterations, or "implicit" at the fixed point.

    Raises:
        GraftError: a setting is out of range.

    Source: Wainwright, Jaakkola & Willsky 2005.

    Example:
        >>> import torch
        >>> from graft.factors import Table
        >>> from graft.model import Model
        >>> ring = Model({"a, b": Table(3, 3), "b, c": Table(3, 3), "c, a": Table(3, 3)})
        >>> posterior = ring.given(using=TreeReweighted())
        >>> posterior.kind, bool(posterior.log_partition >= ring.given().log_partition)
        ('upper bound', True)
    """

    method = "tree-reweighted belief propagation"

    def __init__(
        self,
        damping: float | int = 0.5,
        iterations: int = 1000,
        tolerance: float | int = 1e-5,
        forests: int = 20,
        optimise: int = 0,
        seed: int = 0,
        gradient: Gradient = "unrolled",
    ) -> None:
        self.damping = a_number(damping, "damping", 0.0, 1.0)
        self.iterations = a_count(iterations, "iterations")
        self.tolerance = a_number(tolerance, "tolerance", 0.0, float("inf"))
        self.forests = a_count(forests, "forests")
        self.optimise = a_count(optimise, "optimise", 0)
        self.seed = a_count(seed, "seed", 0)
        self.gradient = a_gradient(gradient)

    def solve(self, problem: Problem, budget: int) -> Solution:
        network = flatten(problem, budget)
        weights = appearances(network, self.forests, self.seed)
        with torch.no_grad():
            weights = self._tightened(network, weights)
        return self._solved(network, weights)

    def _solved(self, network: Network, weights: Sequence[Tensor]) -> Passed:
        passing = Passing(network, weights, damping=self.damping)
        found = run(passing, network.batch, self.iterations, self.tolerance, self.gradient)
        result = Passed(network, found.steps, found.residual, found.converged, passing, found.state, repr(self))
        result.bound = True
        return result

    def _tightened(self, network: Network, weights: list[Tensor]) -> list[Tensor]:
        """Conditional gradient on the mean bound of the batch; a step that does not lower it is shortened."""
        now, size = self._solved(network, weights) if self.optimise else None, 0.5
        for _ in range(self.optimise):
            assert now is not None
            ahead = heaviest(network, now.dependence())
            new = [(1 - size) * w + size * a for w, a in zip(weights, ahead, strict=True)]
            then = self._solved(network, new)
            if bool(then.converged.all()) and bool(then.value.sum() < now.value.sum()):
                weights, now = new, then
            else:
                size /= 2
        return weights

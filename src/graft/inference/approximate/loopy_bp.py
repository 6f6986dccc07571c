"""Loopy belief propagation."""

from __future__ import annotations

from dataclasses import replace

from graft.inference.approximate.engine import Engine, Gradient, a_count, a_gradient, a_number, run
from graft.inference.approximate.messages import Passed
from graft.inference.approximate.network import Network, flatten
from graft.inference.approximate.passing import Passing
from graft.inference.approximate.solution import Solution
from graft.inference.problem import Problem


class LoopyBP(Engine):
    r"""Loopy belief propagation: exact on trees, an estimate elsewhere.

    All messages are renewed at once until none changes, and log Z is estimated by minus the Bethe free energy. With
    `temperature=0` messages are maxima and give a `mode`; between 0 and 1 all log-factors are divided by it.

    Args:
        damping: the part of its old logarithm that a message keeps; 0 is fastest on trees, 0.5 steadier on loops.
        iterations: at most so many steps.
        tolerance: of the change of any message, relative where that is above 1.
        temperature: 1 for sums, 0 for maxima.
        gradient: "unrolled" through the iterations, or "implicit" at the fixed point.

    Raises:
        GraftError: a setting is out of range.

    Source: Pearl 1988; Yedidia, Freeman & Weiss 2005.

    Example:
        >>> import torch
        >>> from graft.factors import Table
        >>> from graft.model import Model
        >>> tree = Model({"a, b": Table(3, 3), "b, c": Table(3, 3)})
        >>> posterior = tree.given(using=LoopyBP())
        >>> torch.allclose(posterior.log_partition, tree.given().log_partition)
        True
        >>> posterior.kind, posterior.converged
        ('estimate', tensor(True))
    """

    method = "loopy belief propagation"

    def __init__(
        self,
        damping: float | int = 0.5,
        iterations: int = 500,
        tolerance: float | int = 1e-5,
        temperature: float | int = 1.0,
        gradient: Gradient = "unrolled",
    ) -> None:
        self.damping = a_number(damping, "damping", 0.0, 1.0)
        self.iterations = a_count(iterations, "iterations")
        self.tolerance = a_number(tolerance, "tolerance", 0.0, float("inf"))
        self.temperature = a_number(temperature, "temperature", 0.0, float("inf"))
        self.gradient = a_gradient(gradient)

    @property
    def senders(self) -> bool:  # type: ignore[override]
        """The messages that factors define are sums."""
        return self.temperature == 1.0

    def solve(self, problem: Problem, budget: int) -> Solution:
        network = flatten(problem, budget, self.senders)
        if self.temperature not in (0.0, 1.0):
            network = _tempered(network, self.temperature)
        passing = Passing(network, maximum=self.temperature == 0.0, damping=self.damping)
        found = run(passing, network.batch, self.iterations, self.tolerance, self.gradient)
        result = Passed(network, found.steps, found.residual, found.converged, passing, found.state, repr(self))
        result.tempered = self.temperature != 1.0
        return result


def _tempered(network: Network, temperature: float) -> Network:
    """All log-factors divided by a temperature."""
    layers = tuple(replace(layer, weights=layer.weights / temperature) for layer in network.layers)
    groups = tuple(replace(g, table=None if g.table is None else g.table / temperature) for g in network.groups)
    return replace(network, layers=layers, groups=groups, constant=network.constant / temperature)

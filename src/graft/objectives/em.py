"""Expectation maximisation: closed-form M-steps where there are some, steps of an optimiser elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from graft.errors import GraftError
from graft.factors.maximise import Cases, Maximiser, Statistics
from graft.factors.maximise_prior import Prior
from graft.graph.nodes import Node
from graft.inference.expected import Expectation, Standing
from graft.inference.how_many import positive
from graft.objectives.em_chain import recognised
from graft.objectives.em_forms import maximisers
from graft.objectives.em_run import Batches, EMRun, Prepared, climb
from graft.objectives.likelihood import Likelihood
from graft.objectives.truth import is_model, told


@dataclass(eq=False)
class Expected:
    """What the E-step finds in some batches.

    Attributes:
        log_likelihood: the sum of log p(evidence | inputs) over all rows, in nats.
        rows: how many.
        statistics: by module of the model.
        counts: of the factors that an optimiser moves, batch by batch.
    """

    log_likelihood: float = 0.0
    rows: int = 0
    statistics: dict[Any, Statistics] = field(default_factory=dict)
    counts: list[tuple[Mapping[str, Any], dict[Node, Tensor]]] = field(default_factory=list)


class EM(Likelihood):
    r"""Maximum likelihood (or a posteriori) of a directed model by expectation maximisation.

    The E-step sums over everything discrete that a batch does not name, exactly. The M-step gives every learnable
    `Categorical`, `Bernoulli`, `Gaussian`, `Mixture` and `LinearGaussian` table its best parameters in closed form, so
    that no step lowers $\log p(\text{data}) + \log p(\theta)$. Parameters of networks are moved by some steps of an
    optimiser on the expected complete log-likelihood (generalised EM, which need not climb at every step). What does
    not require a gradient stays as it is. As an objective it is `Likelihood`.

    Args:
        model: every factor a conditional or a function.
        priors: by formula: `PseudoCounts` of tables of probabilities, `GaussianPrior`, `MixturePrior`. A Gaussian
            without one keeps its variances above 1e-6.
        optimizer: over all parameters that have no closed form.
        steps: how many it makes in each M-step.

    Raises:
        GraftError: the model has potentials, a formula of a prior is not in it, or parameters have neither a closed
            form nor the optimizer.

    Source: Dempster, Laird & Rubin 1977; generalised EM: the same, section 3, and Neal & Hinton 1998.

    Example:
        >>> from graft.factors import Categorical, Gaussian
        >>> from graft.model import Model
        >>> start = {"loc": torch.tensor([[0.0], [1.0]]), "scale": torch.ones(2, 1)}
        >>> fair = Categorical(probs=torch.tensor([0.5, 0.5]))
        >>> em = EM(Model({"c": fair, "x | c": Gaussian(dim=1, given=2, **start)}))
        >>> [round(em.step({"x": torch.tensor([[-1.0], [-2.0], [3.0], [4.0]])}), 2) for _ in range(3)]
        [-15.06, -8.2, -6.22]
    """

    def __init__(
        self,
        model: Any,
        *,
        priors: Mapping[str, Prior] | None = None,
        optimizer: Optimizer | None = None,
        steps: int = 1,
    ) -> None:
        is_model(model, "EM")
        super().__init__(model)
        if not self.model.graph.directed:
            raise GraftError("EM is of directed models: with potentials the normaliser varies too, use Likelihood")
        self.optimizer, self.steps = optimizer, positive(steps, "steps")
        self._maximisers = maximisers(self.model, dict(priors or {}))
        own = {id(p) for one in self._maximisers.values() for p in one.factor.parameters()}
        self._others = {n: p for n, p in self.model.named_parameters() if id(p) not in own}
        self._check_optimizer()

    @property
    def closed(self) -> list[str]:
        """The formulas whose parameters have a closed form."""
        return [str(node) for node in self.model.graph.nodes if self._of(node) is not None]

    def _of(self, node: Node) -> Maximiser | None:
        return self._maximisers.get(node.module)

    def _free(self) -> dict[str, nn.Parameter]:
        """Parameters that only an optimiser can move, by name."""
        return {name: p for name, p in self._others.items() if p.requires_grad}

    def _check_optimizer(self) -> None:
        free, groups = self._free(), [] if self.optimizer is None else self.optimizer.param_groups
        moved = {id(p) for group in groups for p in group["params"]}
        left = [name for name, p in free.items() if id(p) not in moved]
        if left:
            raise GraftError(
                f"no closed form moves {', '.join(left)}: pass optimizer= over these parameters, or fix them by"
                " requires_grad_(False)"
            )
        if moved - {id(p) for p in free.values()}:
            raise GraftError("the optimizer holds parameters that EM moves in closed form, or that are not the model's")

    @property
    def monotone(self) -> bool:
        """Whether no step lowers the log-likelihood plus the log-prior, but by rounding."""
        return not self._free() and not any(one.prior.lowers for one in self._maximisers.values())

    def log_prior(self) -> float:
        """The logarithm of the priors at the present parameters, up to a constant."""
        return sum((one.log_prior() for one in self._maximisers.values() if not one.prior.none), 0.0)

    def step(self, data: Any) -> float:
        """One E-step over all batches and one M-step.

        Args:
            data: a batch, or several: dicts of values by name, and possibly `lengths`, `mask` or `sizes`.

        Returns:
            The log-likelihood of the data before the step, in nats, summed over rows.

        Raises:
            GraftError: no batch, or one that does not fit the model; nothing has moved then.
            ImpossibleEvidence: the model forbids some rows.
        """
        found = self.expect(data)
        self.maximise(found)
        return found.log_likelihood

    def expect(self, data: Any) -> Expected:
        """The E-step: what is expected at the present parameters; arguments and errors as in `step`."""
        batches = data if isinstance(data, Batches) else Batches(data, self.prepared)
        total = Expected()
        for prepared in batches:
            self._add(total, prepared)
        if total.rows == 0:
            raise GraftError("EM needs data: there is no row in any batch")
        return total

    def prepared(self, batch: Any) -> Prepared:
        """What of the E-step of a batch does not depend on parameters."""
        values, options = told(batch, "EM")
        expectation = Expectation(self.model.settled(values, **options), lambda node: self._of(node) is not None)
        cases = {node: self._cases(one) for node, one in expectation.standing.items()}
        return Prepared(batch, expectation, cases, recognised(expectation, cases, self._by))

    def counted(self, prepared: Prepared) -> tuple[Tensor, dict[Node, Tensor]]:
        """The log-likelihood, shape batch, and the expected counts of each factor in the shape of its log-table."""
        cases = prepared.cases
        return prepared.expectation.counts(lambda standing: self._by(standing.node).log_table(cases[standing.node]))

    def _add(self, total: Expected, prepared: Prepared) -> None:
        quick = None if prepared.chain is None or self._free() else prepared.chain.expect()
        if quick is None:
            log_z, counts = self.counted(prepared)
            likelihood = float(log_z.double().sum())
            found = {node: self._by(node).statistics(counts[node], one) for node, one in prepared.cases.items()}
            if self._free():
                total.counts.append((prepared.batch, counts))
        else:
            likelihood, found = quick
        for node, one in found.items():
            place = node.module
            before = total.statistics.get(place)
            total.statistics[place] = one if before is None else self._by(node).joined(before, one)
        total.log_likelihood += likelihood
        total.rows += prod(prepared.expectation.problem.frame.batch)

    def blended(self, before: Expected | None, found: Expected, rate: float, scale: float) -> Expected:
        """Running statistics: those before times 1 - rate, and new ones times rate and scale."""
        statistics = dict(before.statistics) if before is not None else {}
        for place, one in found.statistics.items():
            own, old = self._maximisers[place], statistics.get(place)
            # where there is nothing yet, the new ones stand for all
            share, rest = (scale, 0.0) if old is None else (rate * scale, 1.0 - rate)
            statistics[place] = own.joined(one if old is None else old, one, share, rest)
        return Expected(found.log_likelihood, found.rows, statistics)

    def _by(self, node: Node) -> Maximiser:
        found = self._of(node)
        assert found is not None
        return found

    def _cases(self, standing: Standing) -> Cases:
        parents = standing.placed(self._by(standing.node).parents(standing.inputs, standing.call))
        event = standing.value.dim() - len(standing.lead)
        return Cases(standing.lead, len(standing.slots), parents, standing.value, event, standing.seen)

    def maximise(self, found: Expected) -> None:
        """The M-step: move all parameters to what is best for these expectations."""
        with torch.no_grad():
            for place, statistics in found.statistics.items():
                self._maximisers[place].maximise(statistics)
        for _ in range(self.steps if found.counts else 0):
            self._descend(found)

    def _descend(self, found: Expected) -> None:
        """One step of the optimiser on the expected complete log-likelihood per row."""
        assert self.optimizer is not None
        self.optimizer.zero_grad()
        free = list(self._free().values())
        with torch.enable_grad():
            for batch, counts in found.counts:
                loss = -self.prepared(batch).expectation.complete(counts) / found.rows
                grads = torch.autograd.grad(loss, free, allow_unused=True)
                for parameter, grad in zip(free, grads, strict=True):
                    if grad is not None:
                        parameter.grad = grad if parameter.grad is None else parameter.grad + grad
        bad = [n for n, p in self._free().items() if p.grad is not None and not bool(torch.isfinite(p.grad).all())]
        if bad:
            raise GraftError(f"the gradient of {', '.join(bad)} is not finite: no parameter has moved")
        self.optimizer.step()

    def fit(self, data: Any, iterations: int = 100, tolerance: float = 1e-3) -> EMRun:
        """Steps until the gain of one is no greater than a tolerance.

        Args:
            data: as in `step`; all batches are kept ready between the steps.
            iterations: at most so many.
            tolerance: a gain of the log-likelihood and log-prior of all data, in nats.

        Returns:
            The history and whether it converged.
        """
        batches = Batches(data, self.prepared, keep=True)

        def step() -> tuple[float, float]:
            prior = self.log_prior()
            return self.step(batches), prior

        return climb(step, iterations, tolerance, self.monotone)

"""EM a batch at a time: running averages of expected statistics, and an M-step after every batch."""

from __future__ import annotations

from numbers import Real
from typing import Any

from graft.errors import GraftError
from graft.inference.how_many import positive
from graft.objectives.em import EM, Expected


class StepwiseEM:
    r"""EM on batches of a data set, as $\bar s \leftarrow (1 - \gamma_k) \bar s + \gamma_k \, s_\text{batch}$ with
    $\gamma_k = (k + d)^{-a}$.

    The statistics of a batch are scaled to the rows of all data, so that priors weigh as they do in EM. Where one batch
    is all the data and a is 0, it is EM.

    Args:
        em: whose parameters have closed forms.
        rows: of all data together.
        power: a, above 0.5 and at most 1 for convergence; 0 forgets what was before.
        delay: d, at least 1: how much the first batches count less.

    Raises:
        GraftError: an argument is none of these numbers, or the EM needs an optimizer.

    Source: Cappé & Moulines 2009; the schedule, Liang & Klein 2009, section 3.

    Example:
        >>> import torch
        >>> from graft.factors import Categorical
        >>> from graft.model import Model
        >>> coin = Model({"x": Categorical(probs=torch.tensor([0.5, 0.5]))})
        >>> online = StepwiseEM(EM(coin), rows=8, power=1.0)
        >>> for batch in torch.tensor([[0, 0, 0, 1], [0, 1, 1, 1]]):
        ...     _ = online.step({"x": batch})
        >>> coin.factors[0].table.exp()
        tensor([0.5833, 0.4167], grad_fn=...)
    """

    def __init__(self, em: EM, rows: Any, power: Any = 0.7, delay: Any = 2) -> None:
        if not isinstance(em, EM) or em.optimizer is not None:
            raise GraftError("stepwise EM takes an EM without an optimizer: its statistics are sums")
        if isinstance(power, bool) or not isinstance(power, Real) or not 0 <= power <= 1:
            raise GraftError(f"power is a number from 0 to 1, not {power!r}")
        self.em, self.rows = em, positive(rows, "rows")
        self.power, self.delay = float(power), positive(delay, "delay")
        self.steps = 0
        self._running: Expected | None = None

    def step(self, batch: Any) -> float:
        """One E-step on a batch, and one M-step on the running statistics.

        Args:
            batch: as `EM.step` takes it.

        Returns:
            The log-likelihood of the batch before the step, in nats, summed over rows.
        """
        found = self.em.expect(batch)
        rate = 1.0 if self._running is None else (self.steps + self.delay) ** -self.power
        self._running = self.em.blended(self._running, found, rate, self.rows / found.rows)
        self.em.maximise(self._running)
        self.steps += 1
        return found.log_likelihood

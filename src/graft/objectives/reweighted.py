"""Reweighted wake-sleep: draws of the guide, weighed by how well the model likes them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.objectives.dreams import DreamingObjective, model_terms
from graft.objectives.importance import log_weights
from graft.objectives.phases import Phase
from graft.ops.logspace import safe_mul


class ReweightedWakeSleep(DreamingObjective):
    r"""Draws $z_k \sim q$ with weights $\tilde w_k \propto p(x, z_k) / q(z_k \mid x)$.

    The model follows $\sum_k \tilde w_k \nabla \log p(x, z_k)$, the gradient of the bound of K draws; the guide
    follows $\sum_k \tilde w_k \nabla \log q(z_k \mid x)$ (wake) and $\nabla \log q$ at dreams (sleep). Any kind of
    variable will do: nothing is differentiated through a draw. What the model computes and the guide reads, both move.

    Args:
        model: p, from which can be drawn (for the sleep update).
        guide: q.
        samples: K, at least two.
        wake: weight of the guide's wake update.
        sleep: weight of the guide's sleep update.

    Raises:
        FormulaError: if the guide does not fit the model.
        GraftError: fewer than two samples, a negative weight, or no update of the guide at all.

    Source: Bornschein & Bengio 2015, eqs. 7 to 10.

    Example:
        >>> from graft.factors import Bernoulli
        >>> from graft.model import Model
        >>> from torch import nn
        >>> p = Model({"h": Bernoulli(dim=3), "x | h": Bernoulli(nn.Linear(3, 5), dim=5)})
        >>> q = Model({"h | x": Bernoulli(nn.Linear(5, 3), dim=3)})
        >>> objective = ReweightedWakeSleep(p, q, samples=4, sleep=0.0)
        >>> sorted(objective({"x": torch.zeros(4, 5)}).terms)
        ['wake p(h)', 'wake p(x | h)', 'wake q(h | x)']
    """

    def __init__(self, model: Any, guide: Any, *, samples: int = 5, wake: float = 0.5, sleep: float = 0.5) -> None:
        super().__init__(model, guide, samples)
        if self.samples < 2:
            raise GraftError("weights compare samples: ask for samples=2 or more")
        if not (wake >= 0 and sleep >= 0 and wake + sleep > 0):
            raise GraftError(f"the guide's updates have weights of 0 or more, not wake={wake}, sleep={sleep}")
        self.wake_weight, self.sleep_weight = float(wake), float(sleep)

    def terms(self, batch: Any) -> dict[str, Tensor]:
        parts = self.wake_terms(batch)
        if self.sleep_weight:
            parts |= {name: part * self.sleep_weight for name, part in self.sleep_terms(batch).items()}
        return parts

    def wake_terms(self, batch: Any) -> dict[str, Tensor]:
        """The weighed log-densities of model and guide, by factor: shape batch."""
        run = self.run(batch)
        place = run.samples
        assert place is not None
        weight = log_weights(run).detach().softmax(place)
        found = {f"wake {label}": part for label, part in model_terms(run).items()}
        if self.wake_weight:
            found |= {f"wake q({node})": run.trace.log_q(node) * self.wake_weight for node in run.trace.guide}
        return {label: safe_mul(weight, run.spread(part)).sum(place) for label, part in found.items()}

    def wake(self, batch: Any) -> Tensor:
        """The loss of the wake phase, which moves model and guide."""
        return self.loss_of(self.wake_terms(batch))

    def phases(self) -> tuple[Phase, ...]:
        """Wake moves the model and (if its weight is not 0) the guide, sleep the guide."""
        model, guide = tuple(self.model.parameters()), tuple(self.guide.parameters())
        found = [Phase("wake", self.wake, (*model, *guide) if self.wake_weight else model)]
        if self.sleep_weight:
            found.append(Phase("sleep", self.sleep, guide))
        return tuple(found)

    def bound(self, batch: Any) -> Tensor:
        r"""$\log \frac1K \sum_k w_k$ of each row, in nats: a lower bound of $\log p(x)$ in mean."""
        with torch.no_grad():
            run = self.run(batch)
            assert run.samples is not None
            return log_weights(run).logsumexp(run.samples) - math.log(self.samples)

"""Wake-sleep: two phases, each of which lowers something else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graft.objectives.base import total
from graft.objectives.dreams import DreamingObjective, model_terms
from graft.objectives.phases import Phase


class WakeSleep(DreamingObjective):
    r"""Wake: $-E_{q}[\log p(x, z)]$ moves the model. Sleep: $-E_{p(x, z)}[\log q(z \mid x)]$ moves the guide.

    The wake phase lowers the free energy $F = E_q[\log q - \log p]$ for a fixed guide; the sleep phase lowers
    $\mathrm{KL}(p(z \mid x) \| q(z \mid x))$ on dreams, the other way round: together they follow no single objective.

    The loss of a batch is the sum of both phases, whose gradients do not meet; `wake` and `sleep` are the phases apart.

    Args:
        model: p, from which can be drawn.
        guide: q.
        samples: draws of the guide for each row in the wake phase.

    Raises:
        FormulaError: if the guide does not fit the model.
        GraftError: the guide proposes an input of the model; at a call, as a call of the model.

    Source: Hinton, Dayan, Frey & Neal 1995; Dayan, Hinton, Neal & Zemel 1995.

    Example:
        >>> from graft.factors import Bernoulli
        >>> from graft.model import Model
        >>> from torch import nn
        >>> p = Model({"h": Bernoulli(dim=3), "x | h": Bernoulli(nn.Linear(3, 5), dim=5)})
        >>> q = Model({"h | x": Bernoulli(nn.Linear(5, 3), dim=3)})
        >>> sorted(WakeSleep(p, q)({"x": torch.zeros(4, 5)}).terms)
        ['sleep q(h | x)', 'wake p(h)', 'wake p(x | h)']
    """

    def __init__(self, model: Any, guide: Any, *, samples: int = 1) -> None:
        super().__init__(model, guide, samples)

    def terms(self, batch: Any) -> dict[str, Tensor]:
        return {**self.wake_terms(batch), **self.sleep_terms(batch)}

    def wake_terms(self, batch: Any) -> dict[str, Tensor]:
        """The log-density of the model at data and draws of the guide, by factor: shape batch."""
        run = self.run(batch)
        return {f"wake {label}": run.reduced(part, None) for label, part in model_terms(run).items()}

    def wake(self, batch: Any) -> Tensor:
        """The loss of the wake phase, which moves the model."""
        return self.loss_of(self.wake_terms(batch))

    def phases(self) -> tuple[Phase, ...]:
        """Wake moves the model's parameters, sleep the guide's."""
        return (
            Phase("wake", self.wake, tuple(self.model.parameters())),
            Phase("sleep", self.sleep, tuple(self.guide.parameters())),
        )

    def figures(self, batch: Any) -> dict[str, float]:
        r"""What the two phases lower: the free energy $E_q[\log q - \log p]$ and the sleep objective, in nats a row."""
        with torch.no_grad():
            run = self.run(batch)
            log_q = total([run.trace.log_q(node) for node in run.trace.guide])
            free = run.reduced(log_q - run.trace.log_joint(), None).mean()
            asleep = total(list(self.sleep_terms(batch).values())).mean()
        return {"free_energy": float(free), "sleep": -float(asleep)}

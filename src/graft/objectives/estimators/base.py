"""What every gradient estimator is: how a variable of the guide is drawn, and what its parameters learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from graft.distributions.density import Density
from graft.distributions.supports import Support


@dataclass(frozen=True)
class Signal:
    """What a score-function estimator of one variable sees. Nothing of it has a gradient.

    Attributes:
        cost: the part of the bound that depends on the variable, (extra, batch), in nats.
        weight: of each cell, where other variables are enumerated: (extra, batch); None if all are 1.
        samples: the dimension of independent draws of everything; None if there is one.
        evidence: observed values by name, for baselines that read them.
        rank: dimensions of the batch, the last ones of the cost.
        several: a bound of several samples (importance-weighted) rather than a mean over them.
    """

    cost: Tensor
    weight: Tensor | None
    samples: int | None
    evidence: Mapping[str, Tensor]
    rank: int = 1
    several: bool = False


@dataclass(frozen=True)
class Parts:
    r"""What one variable adds to the gradient: that of `score - control`, plus that of `- baseline`.

    Attributes:
        score: $\log q(z) \cdot \text{cost}$, (extra, batch).
        control: $\log q(z) \cdot b$, of mean zero; None without a baseline.
        baseline: what the baseline's own parameters minimise, (extra, batch); None if it has none.
    """

    score: Tensor
    control: Tensor | None = None
    baseline: Tensor | None = None

    @property
    def controlled(self) -> Tensor:
        """The score less its control variate."""
        return self.score if self.control is None else self.score - self.control


class Estimator(nn.Module):
    r"""How the gradient reaches the parameters of one variable of a guide.

    Attributes:
        biased: its mean is not the gradient of the bound.
        relaxes: its values lie between the states of a discrete variable.
        scores: it needs the signal of what depends on its variable.
        several: it needs a bound of several samples.
        lands: the direct part of $\log q$'s gradient is left out.
        evaluates: values of its variable at which the bound is computed in one run.
    """

    biased: ClassVar[bool] = False
    relaxes: ClassVar[bool] = False
    scores: ClassVar[bool] = False
    several: ClassVar[bool] = False
    lands: ClassVar[bool] = False
    evaluates: ClassVar[int] = 1

    @property
    def scales(self) -> bool:
        """Its signal is divided by something: a closed form beside it would weigh more than its share."""
        return False

    def check(self, name: str, support: Support | None, axes: tuple[str, ...]) -> None:
        """Whether it can serve a variable.

        Raises:
            GraftError: naming the variable and what would serve.
        """

    def states(self, support: Support | None) -> int | None:
        """How many states it enumerates; None if it draws."""
        return None

    def draw(self, density: Density, lead: tuple[int, ...]) -> Tensor:
        """A value (lead, event)."""
        raise NotImplementedError

    def parts(self, log_q: Tensor, signal: Signal) -> Parts:
        """The score part and its control variate, for one that `scores`."""
        raise NotImplementedError

    @property
    def title(self) -> str:
        """What `explain()` prints."""
        return type(self).__name__ + (" (biased)" if self.biased else "")

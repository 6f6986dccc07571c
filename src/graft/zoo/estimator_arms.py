"""What recipes share whose arms differ in one thing, the gradient estimator of their discrete variables.

`gumbel` and `gumbel_st` learn through relaxed draws and their straight-through form; `straight_through` through the
probabilities; `score` by the score function less a running average; `nvil` by the score function less what a network
of the evidence makes of it. The first three are biased, the last two are not. Whatever an arm learns by, what is
measured is the discrete model.

Neither `score` nor `nvil` divides its signal by a running spread, as Mnih & Gregor (2014) and the paper of these tasks
do: Adam divides each gradient by its size anyway, and beside a divergence in closed form, whose gradient would stay as
it is, it would be another objective that is followed.

Learning rates are of {3e-3, 1e-3, 3e-4}, searched for each arm alike with one seed, from the largest down until the
bound of held-out images got worse; so it did at the first step for every arm, task and data. Nats an image, 3e-3 /
1e-3:

    epochs              gumbel        gumbel_st     straight_through  score         nvil
    categorical_vae
    MNIST, 3            134.1/144.7   134.2/149.8   135.3/148.0       147.6/171.0   145.5/168.4
    digits, 60           25.8/27.0     26.3/27.3     26.0/27.1         26.9/27.7     26.8/27.7
    lower_half
    MNIST, 2             82.8/90.2     80.0/86.4     80.6/86.8        105.4/106.6   105.1/106.5
    digits, 60           13.5/13.9     13.4/13.9     13.4/13.9         14.1/14.4     14.1/14.4

The runs on MNIST were short, which favours large rates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from torch import nn
from torch.optim import Adam, Optimizer

from graft.errors import GraftError
from graft.objectives.estimators.base import Estimator
from graft.objectives.estimators.baselines import InputDependent, RunningAverage
from graft.objectives.estimators.relaxed import GumbelSoftmax, StraightThrough
from graft.objectives.estimators.score import ScoreFunction
from graft.objectives.schedules import Schedule
from graft.zoo.experiment.experiment import Experiment
from graft.zoo.experiment.nets import layers
from graft.zoo.experiment.settings import Settings

ARMS = ("gumbel", "gumbel_st", "straight_through", "score", "nvil")
#: Units of the network that guesses the signal of `nvil`, as in the paper's.
BASELINE = 100


@dataclass(frozen=True)
class ArmSettings(Settings):
    """Settings of a recipe whose arms are estimators.

    Args:
        rates: learning rates of the arms: `own`, what a search found for each, or `same`, that of `rate`.
    """

    epochs: int = 60
    draws: int = 1000
    rates: Literal["own", "same"] = "own"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rates == "own" and self.rate != Settings.rate:
            raise GraftError("rate= is for all arms alike, and each has its own: say rates=same too")


Told = TypeVar("Told", bound=ArmSettings)


class EstimatorArms(Experiment[Told]):
    """A recipe whose arms are `ARMS`.

    Attributes:
        found: the learning rate of each arm, by data and arm; see the head of this file.
    """

    arms = ARMS
    found: ClassVar[Mapping[str, Mapping[str, float]]]

    def rate(self, told: Told, arm: str) -> float:
        """The learning rate of an arm at the start."""
        return told.rate if told.rates == "same" else self.found[told.data][arm]

    def optimizer(self, told: Told, arm: str, objective: nn.Module) -> Optimizer:
        return Adam(objective.parameters(), lr=self.rate(told, arm), fused=True)


def estimator(arm: str, evidence: str, cells: int, temperature: float | Schedule) -> Estimator:
    """The estimator of one variable.

    Args:
        arm: one of `ARMS`.
        evidence: what the network of `nvil` reads.
        cells: of the evidence.
        temperature: of the relaxed draws.

    Source: `gumbel`, Jang, Gu & Poole 2017; `straight_through`, Bengio, Léonard & Courville 2013; `nvil`, Mnih &
        Gregor 2014, section 2.3.

    Example:
        >>> estimator("gumbel_st", "x", 784, 1.0).title, estimator("nvil", "x", 784, 1.0).title
        ('GumbelSoftmax(hard) (biased)', 'ScoreFunction(InputDependent)')
    """
    if arm == "nvil":
        return ScoreFunction(InputDependent(layers(cells, BASELINE, 1), evidence))
    if arm == "score":
        return ScoreFunction(RunningAverage())
    return StraightThrough() if arm == "straight_through" else GumbelSoftmax(temperature, hard=arm == "gumbel_st")

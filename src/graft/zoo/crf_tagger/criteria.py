"""What an arm is trained by, by name."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from graft.model import Model
from graft.objectives.base import Objective
from graft.objectives.likelihood import Likelihood
from graft.objectives.losses import Hamming, LogLoss
from graft.objectives.marginal_loss import MarginalLoss
from graft.objectives.max_margin import MaxMargin
from graft.objectives.softmax_margin import SoftmaxMargin

OBJECTIVES: MappingProxyType[str, Callable[[Model], Objective]] = MappingProxyType(
    {
        "likelihood": Likelihood,
        "pointwise": lambda model: MarginalLoss(model, "y", LogLoss()),
        "hamming": lambda model: MarginalLoss(model, "y", Hamming()),
        "max_margin": lambda model: MaxMargin(model, "y"),
        "softmax_margin": lambda model: SoftmaxMargin(model, "y"),
    }
)

"""From a model, a guide and a batch to a loss."""

from graft.objectives.elbo import ELBO as ELBO
from graft.objectives.likelihood import Likelihood as Likelihood
from graft.objectives.marginal_loss import MarginalLoss as MarginalLoss
from graft.objectives.max_margin import MaxMargin as MaxMargin
from graft.objectives.softmax_margin import SoftmaxMargin as SoftmaxMargin

__all__ = ["ELBO", "Likelihood", "MarginalLoss", "MaxMargin", "SoftmaxMargin"]

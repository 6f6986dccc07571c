"""From a model, a guide and a batch to a loss."""

from graft.factors.maximise_prior import GaussianPrior as GaussianPrior
from graft.factors.maximise_prior import MixturePrior as MixturePrior
from graft.factors.maximise_prior import PseudoCounts as PseudoCounts
from graft.objectives.alternating import Alternating as Alternating
from graft.objectives.elbo import ELBO as ELBO
from graft.objectives.em import EM as EM
from graft.objectives.em_stepwise import StepwiseEM as StepwiseEM
from graft.objectives.from_model import from_model as from_model
from graft.objectives.importance import ImportanceWeighted as ImportanceWeighted
from graft.objectives.likelihood import Likelihood as Likelihood
from graft.objectives.marginal_loss import MarginalLoss as MarginalLoss
from graft.objectives.max_margin import MaxMargin as MaxMargin
from graft.objectives.reweighted import ReweightedWakeSleep as ReweightedWakeSleep
from graft.objectives.semi_supervised import SemiSupervised as SemiSupervised
from graft.objectives.softmax_margin import SoftmaxMargin as SoftmaxMargin
from graft.objectives.wake_sleep import WakeSleep as WakeSleep

__all__ = [
    "ELBO",
    "EM",
    "Alternating",
    "GaussianPrior",
    "ImportanceWeighted",
    "Likelihood",
    "MarginalLoss",
    "MaxMargin",
    "MixturePrior",
    "PseudoCounts",
    "ReweightedWakeSleep",
    "SemiSupervised",
    "SoftmaxMargin",
    "StepwiseEM",
    "WakeSleep",
    "from_model",
]

"""Gradient estimators, one for each variable of a guide."""

from graft.objectives.estimators.base import Estimator as Estimator
from graft.objectives.estimators.base import Parts as Parts
from graft.objectives.estimators.base import Signal as Signal
from graft.objectives.estimators.baselines import InputDependent as InputDependent
from graft.objectives.estimators.baselines import LeaveOneOut as LeaveOneOut
from graft.objectives.estimators.baselines import RunningAverage as RunningAverage
from graft.objectives.estimators.enumeration import Enumerate as Enumerate
from graft.objectives.estimators.pathwise import Reparameterised as Reparameterised
from graft.objectives.estimators.pathwise import StickingTheLanding as StickingTheLanding
from graft.objectives.estimators.rebar import REBAR as REBAR
from graft.objectives.estimators.relaxed import GumbelSoftmax as GumbelSoftmax
from graft.objectives.estimators.relaxed import StraightThrough as StraightThrough
from graft.objectives.estimators.score import VIMCO as VIMCO
from graft.objectives.estimators.score import ScoreFunction as ScoreFunction

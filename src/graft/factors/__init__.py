"""What stands right of a formula: conditionals, potentials, functions."""

from graft.factors.bernoulli import Bernoulli as Bernoulli
from graft.factors.bias import Bias as Bias
from graft.factors.bilinear import Bilinear as Bilinear
from graft.factors.categorical import Categorical as Categorical
from graft.factors.displacement import Displacement as Displacement
from graft.factors.energy import Energy as Energy
from graft.factors.flow import Flow as Flow
from graft.factors.function import Function as Function
from graft.factors.gaussian import Gaussian as Gaussian
from graft.factors.gaussian_potential import GaussianPotential as GaussianPotential
from graft.factors.linear_gaussian import LinearGaussian as LinearGaussian
from graft.factors.mixture import Mixture as Mixture
from graft.factors.priors import Beta as Beta
from graft.factors.priors import Dirichlet as Dirichlet
from graft.factors.priors import Fixed as Fixed
from graft.factors.priors import Normal as Normal
from graft.factors.recurrent import Recurrent as Recurrent
from graft.factors.scores import Scores as Scores
from graft.factors.select import Select as Select
from graft.factors.tables import Table as Table

__all__ = [
    "Bernoulli",
    "Beta",
    "Bias",
    "Bilinear",
    "Categorical",
    "Dirichlet",
    "Displacement",
    "Energy",
    "Fixed",
    "Flow",
    "Function",
    "Gaussian",
    "GaussianPotential",
    "LinearGaussian",
    "Mixture",
    "Normal",
    "Recurrent",
    "Scores",
    "Select",
    "Table",
]

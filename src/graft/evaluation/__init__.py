"""Figures of merit, each with its kind and its error, and comparisons of methods over seeds."""

from graft.evaluation.activity import ActiveUnits as ActiveUnits
from graft.evaluation.activity import active_units as active_units
from graft.evaluation.divergence import divergences as divergences
from graft.evaluation.figure import Figure as Figure
from graft.evaluation.gaps import Gap as Gap
from graft.evaluation.gaps import gap as gap
from graft.evaluation.kinds import Kind as Kind
from graft.evaluation.likelihood import LogLikelihood as LogLikelihood
from graft.evaluation.likelihood import log_likelihood as log_likelihood

__all__ = [
    "ActiveUnits",
    "Figure",
    "Gap",
    "Kind",
    "LogLikelihood",
    "active_units",
    "divergences",
    "gap",
    "log_likelihood",
]

"""From a model, a guide and a batch to a loss."""

from graft.objectives.elbo import ELBO as ELBO
from graft.objectives.likelihood import Likelihood as Likelihood

__all__ = ["ELBO", "Likelihood"]

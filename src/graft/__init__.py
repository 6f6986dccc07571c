"""graft: neural networks and graphical models, joined.

A model is written as the factorisation it has in a textbook: the key of each factor is the formula, the value the
module that computes it. The result scores, samples and answers queries exactly, and trains end to end.

Example:
    >>> import torch, graft
    >>> from graft.factors import Categorical, Gaussian
    >>> hmm = graft.Model({
    ...     "s[0]": Categorical(8),
    ...     "s[t] | s[t-1]": Categorical(8, given=8),
    ...     "y[t] | s[t]": Gaussian(dim=12, given=8),
    ... })
    >>> hmm.given(y=torch.randn(3, 20, 12)).marginals["s"].probs.shape
    torch.Size([3, 20, 8])
"""

from graft import evaluation as evaluation
from graft import factors as factors
from graft import formats as formats
from graft import objectives as objectives
from graft import structured as structured
from graft import training as training
from graft.approximate_posterior import ApproximatePosterior as ApproximatePosterior
from graft.distributions.supports import Binary as Binary
from graft.distributions.supports import Finite as Finite
from graft.distributions.supports import Real as Real
from graft.distributions.supports import Support as Support
from graft.errors import DataError as DataError
from graft.errors import FormatError as FormatError
from graft.errors import FormulaError as FormulaError
from graft.errors import GraftError as GraftError
from graft.errors import ImpossibleEvidence as ImpossibleEvidence
from graft.errors import IntractableError as IntractableError
from graft.errors import ShapeError as ShapeError
from graft.inference.approximate.gibbs import Gibbs as Gibbs
from graft.inference.approximate.loopy_bp import LoopyBP as LoopyBP
from graft.inference.approximate.mean_field import MeanField as MeanField
from graft.inference.approximate.tree_reweighted import TreeReweighted as TreeReweighted
from graft.inference.evidence import Missing as Missing
from graft.inference.evidence import Partial as Partial
from graft.inference.evidence import Soft as Soft
from graft.model import Model as Model
from graft.posterior import Posterior as Posterior
from graft.training.fit import fit as fit
from graft.training.run import Run as Run
from graft.training.stopping import EarlyStopping as EarlyStopping

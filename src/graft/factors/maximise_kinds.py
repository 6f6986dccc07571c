"""Which factors have an M-step in closed form."""

from __future__ import annotations

from typing import Any

from torch import nn

from graft.factors.bernoulli import Bernoulli
from graft.factors.categorical import Categorical
from graft.factors.gaussian import Gaussian
from graft.factors.linear_gaussian import LinearGaussian
from graft.factors.maximise import Maximiser
from graft.factors.maximise_gaussian import GaussianMaximiser
from graft.factors.maximise_linear import LinearMaximiser
from graft.factors.maximise_mixture import MixtureMaximiser
from graft.factors.maximise_prior import Prior
from graft.factors.maximise_tables import BernoulliMaximiser, CategoricalMaximiser
from graft.factors.mixture import Mixture

#: By class: the M-step, and the parameters that it knows.
KINDS: dict[type[nn.Module], tuple[type[Maximiser], frozenset[str]]] = {
    Categorical: (CategoricalMaximiser, frozenset({"table"})),
    Bernoulli: (BernoulliMaximiser, frozenset({"table"})),
    Gaussian: (GaussianMaximiser, frozenset({"loc", "raw_scale"})),
    Mixture: (MixtureMaximiser, frozenset({"logits", "loc", "raw_scale"})),
    LinearGaussian: (LinearMaximiser, frozenset({"linear.weight", "linear.bias", "raw_scale"})),
}


def maximiser(factor: Any, prior: Prior | None = None) -> Maximiser | None:
    """The closed-form M-step of a factor; None if it has none.

    A factor that reads a network has none, nor has a subclass or a parametrised module, which may compute anything.

    Example:
        >>> type(maximiser(Categorical(3))).__name__, maximiser(Categorical(nn.Linear(2, 3), 3))
        ('CategoricalMaximiser', None)
    """
    kind, names = KINDS.get(type(factor), (None, frozenset()))
    if kind is None or {name for name, _ in factor.named_parameters()} != names:
        return None
    return kind(factor, prior)

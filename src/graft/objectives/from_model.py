"""A guide that draws from the model itself: where nothing better proposes a variable, its own conditional does."""

from __future__ import annotations

from typing import Any

from graft.errors import GraftError
from graft.graph.nodes import Node
from graft.model import Model
from graft.objectives.truth import is_model


def from_model(model: Model, *names: str, guide: Model | None = None) -> Model:
    r"""A guide $q(z \mid \cdot) = p(z \mid \cdot)$ for some variables of a model, beside a guide for others.

    The factors are the model's own modules: what they learn, they learn once, and the divergence between the two is 0.
    So the bound is $E_{z \sim p(z)}[\log p(x \mid z)]$, and with several draws the model is its own proposal.

    Args:
        model: p.
        names: random variables that it draws, each by a conditional.
        guide: a guide of other variables.

    Raises:
        GraftError: a name is no variable with a conditional, is told twice, or the guide has it already.

    Example:
        >>> import torch
        >>> from graft.factors import Bernoulli
        >>> from graft.objectives.importance import ImportanceWeighted
        >>> from torch import nn
        >>> net = Model(
        ...     {"h | u": Bernoulli(nn.Linear(3, 2), dim=2), "x | h": Bernoulli(nn.Linear(2, 4), dim=4)}
        ... )
        >>> bound = ImportanceWeighted(net, from_model(net, "h"), samples=5)
        >>> bound({"u": torch.zeros(6, 3), "x": torch.ones(6, 4)}).shape
        torch.Size([])
    """
    is_model(model, "from_model")
    if not names or len(set(names)) < len(names):
        raise GraftError(f"from_model takes each name of a variable once, not {', '.join(map(repr, names)) or 'none'}")
    nodes = [node for name in names for node in _drawn(model, name, guide)]
    before = [] if guide is None else list(guide.graph.nodes)
    seen = {term.name for node in (*before, *nodes) for term in node.terms}
    letters = {letter for node in (*before, *nodes) for letter in node.letters}
    both: dict[str, Any] = {**({} if guide is None else guide.graph.variables), **model.graph.variables}
    sizes = {**({} if guide is None else guide.sizes), **model.sizes}
    return Model(
        [(node.formula.text, node.module) for node in (*before, *nodes)],
        support={name: both[name].support for name in seen if name in both and both[name].support is not None},
        sizes={letter: size for letter, size in sizes.items() if letter in letters},
    )


def _drawn(model: Model, name: str, guide: Model | None) -> tuple[Node, ...]:
    """The conditionals of a variable."""
    variable = model.graph.variables.get(name)
    found = () if variable is None else variable.producers("conditional")
    if not found:
        others = ", ".join(model.graph.random)
        raise GraftError(f"{name} has no conditional in the model that could draw it; its random variables: {others}")
    if guide is not None and name in guide.graph.variables and guide.graph.variables[name].nodes:
        raise GraftError(f"the guide has a factor for {name} already")
    return found

"""Exact (conditional) maximum likelihood."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from graft.errors import GraftError
from graft.inference.arguments import BUDGET
from graft.inference.gaussian_query import log_sum
from graft.inference.ratio import log_probability
from graft.model import Model
from graft.objectives.base import OfModel
from graft.objectives.truth import is_model, told


class Likelihood(OfModel):
    r"""Minus the mean of $\log p(\text{batch} \mid \text{given})$, unnamed variables summed out exactly.

    With names in `given` it is the conditional criterion
    $\log p(\text{batch}) - \log p(\text{given})$ (for a hidden Markov model: Bengio et al. 1992, "global optimisation";
    Bahl et al. 1986, maximum mutual information), each side by its own sum.

    Args:
        model: whose parameters are fitted.
        given: names conditioned on; inputs always are, and a computed variable that is also scored counts as evidence
            of its inputs.

    Raises:
        GraftError: the model is none, or `given` is no list of names of its variables; at a call, the batch is no dict.

    Example:
        >>> import torch
        >>> from graft.factors import Categorical
        >>> coin = Model({"x": Categorical(probs=torch.tensor([0.25, 0.75]))})
        >>> loss = Likelihood(coin)({"x": torch.tensor([1, 1, 0, 1])})
        >>> round(loss.item(), 4)
        0.5623
    """

    def __init__(self, model: Any, given: Any = ()) -> None:
        super().__init__()
        is_model(model, "Likelihood")
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise GraftError(f"given is a list of names, not {given!r}")
        self.model: Model
        self.model, self.given = model, tuple(given)
        for name in self.given:
            if not isinstance(name, str) or name not in model.graph.variables:
                raise GraftError(f"given names {name!r}; the model has {', '.join(model.graph.variables)}")

    def terms(self, batch: Any) -> dict[str, Tensor]:
        values, options = told(batch, "Likelihood")
        situation = self.model.settled(values, **options)
        if not self.given:
            return {"log_prob": log_probability(situation, BUDGET)}
        hidden = [name for name in self.model.graph.random if name in values and name not in self.given]
        # one situation: both sums read the same outputs of networks, and the normalisers cancel
        joint, evidence = (log_sum(one, BUDGET) for one in (situation, situation.without(hidden)))
        return {"log_prob": joint, "given": -evidence}

"""Log-probabilities as differences of two sums over one situation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.inference.gaussian_query import log_sum
from graft.inference.settle import Situation


def log_probability(situation: Situation, budget: int) -> Tensor:
    r"""$\log p(\text{random values} \mid \text{inputs})$ of a call; shape batch.

    The normaliser is the same call without its random values. Both read the same outputs of networks.
    """
    evidence = log_sum(situation, budget)
    if situation.graph.directed:
        return evidence
    whole = situation.without(situation.graph.random)
    return difference(evidence, log_sum(whole, budget, scored=False))


def joined(situation: Situation, asked: Mapping[str, Any], anew: Callable[[Mapping[str, Any]], Situation]) -> Situation:
    """A call's evidence together with values whose probability given it is asked for.

    Args:
        situation: of the call.
        asked: values by name.
        anew: the call made again with these values.

    Raises:
        GraftError: a name is given already, or the values cannot be.
    """
    for name in asked:
        found = situation.given.get(name)
        if found is not None and found.log_mask is None and found.cells is None:
            raise GraftError(f"{name} is evidence already")
    if situation.frame.batch or situation.frame.existence or situation.given:
        return situation.extended(asked)
    return anew(asked)  # nothing tells a batch shape yet, the values may


def conditional(merged: Situation, joint: Tensor, evidence: Tensor) -> Tensor:
    """log p(values | evidence) from the two sums; `-inf` where either is zero, or the values contradict each other."""
    result = torch.where(evidence == -torch.inf, evidence, difference(joint, evidence))
    for given in merged.given.values():
        if given.dead is not None:
            result = result.masked_fill(given.dead, -torch.inf)
    return result


def difference(evidence: Tensor, normaliser: Tensor) -> Tensor:
    """The log of a quotient; `-inf`, never NaN, where the numerator is zero."""
    dead = evidence == -torch.inf
    return torch.where(dead, evidence, evidence - torch.where(dead, 0.0, normaliser))

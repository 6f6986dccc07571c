"""Log-probabilities as differences of two sums over one situation."""

from __future__ import annotations

import torch
from torch import Tensor

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


def difference(evidence: Tensor, normaliser: Tensor) -> Tensor:
    """The log of a quotient; `-inf`, never NaN, where the numerator is zero."""
    dead = evidence == -torch.inf
    return torch.where(dead, evidence, evidence - torch.where(dead, 0.0, normaliser))

"""A Bernoulli that keeps probabilities of exactly zero and one."""

from __future__ import annotations

import torch
from torch import Tensor, distributions
from torch.nn.functional import logsigmoid

from graft.ops.logspace import safe_mul


class HardBernoulli(distributions.Bernoulli):
    r"""Zero or one with logits that may be infinite:
    $\log p(v) = v \log \sigma(\ell) + (1 - v) \log \sigma(-\ell)$.

    With infinite logits `torch.distributions.Bernoulli` gives NaN, and with `probs` it moves zero to 1e-7;
    here an impossible value has log-probability minus infinity, and infinite logits have zero gradient.

    Example:
        >>> sure = HardBernoulli(logits=torch.tensor(torch.inf))
        >>> [sure.log_prob(torch.tensor(v)).item() for v in (0.0, 1.0)]
        [-inf, 0.0]
    """

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        # promote_types, not result_type: that would let a logit without dimensions be rounded
        value = value.to(torch.promote_types(value.dtype, self.logits.dtype))
        return safe_mul(value, logsigmoid(self.logits)) + safe_mul(1 - value, logsigmoid(-self.logits))

    def entropy(self) -> Tensor:
        yes = self.logits.sigmoid()
        return -safe_mul(yes, logsigmoid(self.logits)) - safe_mul(1 - yes, logsigmoid(-self.logits))

r"""Whether confidences are to be believed: reliability tables and the expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from graft.errors import GraftError


@dataclass(frozen=True)
class Reliability:
    r"""Decisions in bins of equal width by their confidence.

    Args:
        counts: (bins,), decisions in each.
        confidence: (bins,), their mean confidence; 0 in an empty bin.
        accuracy: (bins,), the share of them that is right; 0 in an empty bin.
    """

    counts: Int[Tensor, " bins"]
    confidence: Float[Tensor, " bins"]
    accuracy: Float[Tensor, " bins"]

    @property
    def error(self) -> float:
        r"""The expected calibration error, $\sum_b \frac{n_b}{n} |\mathrm{acc}_b - \mathrm{conf}_b|$.

        It depends on the number of bins, and is above zero by chance alone when there are few decisions.

        Source: Guo et al., *On calibration of modern neural networks* (2017), equation 3.
        """
        gaps = (self.accuracy - self.confidence).abs()
        return float((self.counts * gaps).sum() / self.counts.sum())


def reliability(confidence: Float[Tensor, " n"], right: Bool[Tensor, " m"], bins: int = 15) -> Reliability:
    """Sort decisions into bins by confidence.

    Args:
        confidence: the probability that each decision was given, between 0 and 1.
        right: whether it was right.
        bins: how many, of equal width.

    Raises:
        GraftError: there are no decisions, or a confidence is no probability.

    Example:
        >>> found = reliability(torch.tensor([0.9, 0.9, 0.6]), torch.tensor([True, False, True]), bins=2)
        >>> found.counts.tolist(), round(found.error, 3)
        ([0, 3], 0.133)
    """
    if confidence.numel() == 0 or bins < 1:
        raise GraftError(f"there must be decisions and bins, not {confidence.numel()} and {bins}")
    if confidence.shape != right.shape:
        raise GraftError(f"confidences {tuple(confidence.shape)} and what is right {tuple(right.shape)} do not pair up")
    # a probability that was added up in float32 may exceed one by its last digit
    if not bool(((confidence >= 0) & (confidence <= 1 + 1e-5)).all()):
        raise GraftError("a confidence must lie between 0 and 1")
    place = (confidence * bins).long().clamp_max(bins - 1)
    counts = torch.bincount(place, minlength=bins)
    sums = (torch.bincount(place, weights=x.double(), minlength=bins) for x in (confidence, right))
    mean, share = (total / counts.clamp_min(1) for total in sums)
    return Reliability(counts, mean, share)

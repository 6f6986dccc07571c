"""Figures of a trained model on test images that are made binary once, alike for every arm and seed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from graft.data.images import Parts
from graft.evaluation.kinds import Kind
from graft.evaluation.likelihood import LogLikelihood, log_likelihood
from graft.model import Model
from graft.objectives.elbo import ELBO
from graft.zoo.experiment.settings import Settings

#: Of the binary test images.
TEST_SEED = 2008
KINDS = MappingProxyType(
    {"NLL": Kind.ESTIMATE, "-ELBO": Kind.UPPER, "effective": Kind.ESTIMATE, "NLL ±": Kind.ESTIMATE}
)


def likelihood(told: Settings, model: Model, guide: Model | None, data: Parts) -> dict[str, float]:
    """Negative log-likelihood and bound in nats an image, with what says how far the estimate can be trusted.

    Args:
        told: how many rows and draws.
        model: p.
        guide: q.
        data: its test part is measured.

    Returns:
        `NLL`, importance sampled, whose expectation lies above the true figure; `NLL ±`, the standard error of its
        draws; `effective`, the median over images of the effective sample size, and `doubtful`, the images with fewer
        than ten; `-ELBO` by one draw.
    """
    return of_batch(told, model, guide, {"x": data.test.spaced(told.rows).binary(TEST_SEED)})


def of_batch(told: Settings, model: Model, guide: Model | None, batch: Mapping[str, Tensor]) -> dict[str, float]:
    """The same of any evidence."""
    found = log_likelihood(model, guide, batch, samples=told.draws, seed=0)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bound = float(ELBO(model, guide)(batch))
    return {"NLL": -found.mean, "-ELBO": bound, **trust(found)}


def trust(found: LogLikelihood) -> dict[str, float]:
    """What says how far an estimate can be trusted."""
    return {
        "NLL ±": found.error,
        "effective": float(found.effective.median()),
        "doubtful": float(found.doubtful),
    }

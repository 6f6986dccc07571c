"""Free parameters of every row, fitted to the evidence lower bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from graft.model import Model
from graft.objectives.elbo import ELBO


def fitted(
    model: Model, guide: Model, free: list[nn.Parameter], batch: Any, steps: int, lr: float, draws: int
) -> list[Tensor]:
    """Follow the bound by Adam, whose rate falls linearly to 0 over the second half.

    Rows do not meet: the loss is a sum over rows, and Adam scales each parameter by itself.

    Args:
        model: p.
        guide: q, with parameters for each row.
        free: these parameters; others stay as they are.
        batch: the rows.
        steps: of Adam.
        lr: its rate in the first half.
        draws: of each row and step.

    Returns:
        The mean of each parameter over the last but one fifth of the steps: where a fit that is done was already. The
        mean, for a single step before the rate is 0 has noise that the end has not.

    Raises:
        GraftError: the bound is not finite.
    """
    objective = ELBO(model, guide, samples=draws)
    adam = torch.optim.Adam(free, lr=lr)
    half = max(1, steps // 2)
    rate = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: min(1.0, (steps - step) / half))
    before, first, last = [one.detach().clone() for one in free], 3 * steps // 5, 4 * steps // 5
    for step in range(steps):
        with torch.enable_grad():
            parts = objective.terms(batch)
            loss = objective.loss_of(parts) * next(iter(parts.values())).numel()
            gradients = torch.autograd.grad(loss, free, allow_unused=True, materialize_grads=True)
        for parameter, gradient in zip(free, gradients, strict=True):
            parameter.grad = gradient
        adam.step()
        rate.step()
        if first <= step < last:
            weight = 1 / (step - first + 1)
            before = [mean.lerp(one.detach(), weight) for mean, one in zip(before, free, strict=True)]
    return before


@contextmanager
def placed(free: Sequence[nn.Parameter], values: Sequence[Tensor]) -> Iterator[None]:
    """Parameters with other values for a while.

    Example:
        >>> one = nn.Parameter(torch.zeros(()))
        >>> with placed([one], [torch.ones(())]):
        ...     print(one.item())
        1.0
        >>> one.item()
        0.0
    """
    own = [one.data for one in free]
    try:
        for one, value in zip(free, values, strict=True):
            one.data = value
        yield
    finally:
        for one, value in zip(free, own, strict=True):
            one.data = value

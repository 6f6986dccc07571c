"""One step of an optimiser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from graft.errors import GraftError
from graft.training.batches import Source
from graft.training.share import Mean, Share


@runtime_checkable
class Movable(Protocol):
    """What can go to a device: tensors, and evidence made of them."""

    def to(self, device: torch.device) -> Any: ...


class Learner:
    """An objective and its optimiser, on the devices of a Fabric.

    Args:
        objective: turns a batch into a scalar loss.
        optimizer: over its parameters.
        fabric: launched.
        clip: the greatest norm of the gradient of all parameters.
    """

    def __init__(self, objective: nn.Module, optimizer: Optimizer, fabric: Any, clip: float | None) -> None:
        self.objective, self.optimizer, self.fabric, self.clip = objective, optimizer, fabric, clip
        self.module, self.stepper = fabric.setup(objective, optimizer)
        #: half precision scales the loss, and leaves out steps itself whose gradient overflows
        self.scaled = getattr(fabric.strategy.precision, "scaler", None) is not None

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """The loss of a batch, a scalar.

        Raises:
            GraftError: the objective gives something else.
        """
        device = self.fabric.device
        loss = self.module({name: v.to(device) if isinstance(v, Movable) else v for name, v in batch.items()})
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shown = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise GraftError(f"an objective gives a scalar, not {shown}")
        return loss.reshape(())

    def step(self, share: Share) -> Tensor:
        """One step; the loss before it.

        Raises:
            GraftError: the loss or a gradient is not finite; the parameters are those before the step.
        """
        self.stepper.zero_grad()
        loss = self.loss(share.batch)
        weight = share.weight(self.fabric.world_size)
        self.fabric.backward(loss if weight == 1 else loss * weight)
        self._check(loss.detach())
        if self.clip is not None:
            self._clip(self.clip)
        self.stepper.step()
        return loss.detach()

    def mean(self, data: Source) -> float:
        """The mean loss per row, in evaluation mode and without gradients."""
        mean = Mean(self.fabric.device)
        with evaluating(self.objective), torch.no_grad():
            for share in data.begin(0):
                mean.add(self.loss(share.batch), share)
        if mean.rows == 0:
            raise GraftError("the validation data gave no batch")
        return mean.value(self.fabric)

    def names(self) -> list[list[str]]:
        """Of the parameters in every group of the optimiser."""
        known = {id(p): name for name, p in self.objective.named_parameters()}
        groups = [group["params"] for group in self.optimizer.param_groups]
        return [
            [known.get(id(p), f"parameter {i} of group {g}") for i, p in enumerate(ps)] for g, ps in enumerate(groups)
        ]

    def _gradients(self) -> list[Tensor]:
        found = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        values = [gradient._values() if gradient.is_sparse else gradient for gradient in found]
        return [gradient for gradient in values if gradient.numel()]

    def _check(self, loss: Tensor) -> None:
        """The device is read once; only a fault is looked at more closely."""
        gradients = [] if self.scaled else self._gradients()
        # the greatest entry, which unlike a sum of squares is finite if all entries are
        greatest = torch.nn.utils.get_total_norm(gradients, float("inf")).to(loss.device) if gradients else loss
        if bool(torch.isfinite(loss) & torch.isfinite(greatest)):
            return
        kept = "the parameters before this step are kept"
        if not bool(torch.isfinite(loss)):
            raise GraftError(f"the loss is {loss.item()}; {kept}")
        raise GraftError(f"the gradient of {', '.join(self._faulty())} is not finite; {kept}")

    def _faulty(self) -> list[str]:
        names = [name for group in self.names() for name in group]
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        gradients = ((name, p.grad) for name, p in zip(names, parameters, strict=True) if p.grad is not None)
        return [name for name, gradient in gradients if not bool(torch.isfinite(gradient.to_dense()).all())]

    def _clip(self, norm: float) -> None:
        try:
            self.fabric.clip_gradients(self.module, self.stepper, max_norm=norm, error_if_nonfinite=not self.scaled)
        except RuntimeError as error:
            raise GraftError(
                f"the gradient cannot be clipped; the parameters before this step are kept: {error}"
            ) from error


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every part is in the mode it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode

"""One step of an optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from graft.errors import GraftError
from graft.training.batches import Source
from graft.training.finite import KEPT, Finite, all_finite, check_loss
from graft.training.late import Doubt, reads_late
from graft.training.share import Mean, Share
from graft.training.together import together


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
        self.finite = Finite([pair for pair in objective.named_parameters() if pair[1].requires_grad])
        self.module, self.stepper = fabric.setup(objective, optimizer)
        #: half precision scales the loss, and leaves out steps itself whose gradient overflows
        self.scaled = getattr(fabric.strategy.precision, "scaler", None) is not None
        self.doubt = Doubt(self._named()) if reads_late(fabric.device, fabric.world_size) else None

    def loss(self, batch: Mapping[str, Any]) -> Tensor:
        """The loss of a batch, a scalar.

        Raises:
            GraftError: the objective gives something else; in training also, if no parameter takes part in it.
        """
        device = self.fabric.device
        with self._trusted(batch):
            loss = self.module({name: v.to(device) if isinstance(v, Movable) else v for name, v in batch.items()})
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            shown = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise GraftError(f"an objective gives a scalar, not {shown}")
        if not loss.is_floating_point():
            raise GraftError(f"an objective gives a real number, not {str(loss.dtype).removeprefix('torch.')}")
        if torch.is_grad_enabled() and not loss.requires_grad:
            raise GraftError("the loss has no gradient: no parameter takes part in it, or it was detached")
        return loss.reshape(()) if loss.ndim else loss  # which keeps its `terms`

    def step(self, share: Share) -> Tensor:
        """One step; the loss before it.

        Raises:
            GraftError: the loss or a gradient is not finite, of this step or (where a device is not waited for) of the
                one before; the parameters are those before it.
        """
        self.stepper.zero_grad()
        # before the gradients of the processes meet: who failed alone would leave the others waiting
        loss = together(lambda: self._first(share.batch), self.fabric)
        weight = share.weight(self.fabric.world_size)
        self.fabric.backward(loss if weight == 1 else loss * weight)
        if self.doubt is None:
            together(lambda: self._check(loss, share.batch), self.fabric)
        else:
            self.doubt.settle()
            self.doubt.begin(loss, [] if self.scaled else self._gradients(), share.batch)
        if self.clip is not None:
            self._clip(self.clip)
        self.stepper.step()
        return loss.detach()

    def mean(self, data: Source) -> float:
        """The mean loss per row, in evaluation mode and without gradients.

        Raises:
            GraftError: it is not a number, or the objective refuses the data.
        """
        mean = Mean(self.fabric.device)
        with evaluating(self.objective), torch.no_grad():
            for share in data.begin(0):
                mean.add(together(lambda batch=share.batch: self._judged(batch), self.fabric), share)
        if mean.rows == 0:
            raise GraftError("the validation data gave no batch")
        value = mean.value(self.fabric)
        if math.isnan(value):
            raise GraftError("the loss of the validation data (valid) is not finite: it is nan")
        return value

    def check_parameters(self, step: int) -> None:
        """What is learned is finite; an infinite entry that was there at the start may stay.

        Args:
            step: that is over.

        Raises:
            GraftError: names the parameters that are not.
        """
        if self.doubt is not None:
            self.doubt.settle()
        self.finite.check(step)

    def names(self) -> list[list[str]]:
        """Of the parameters in every group of the optimiser."""
        known = {id(p): name for name, p in self.objective.named_parameters()}
        groups = [group["params"] for group in self.optimizer.param_groups]
        return [
            [known.get(id(p), f"parameter {i} of group {g}") for i, p in enumerate(ps)] for g, ps in enumerate(groups)
        ]

    def _first(self, batch: Mapping[str, Any]) -> Tensor:
        loss = self.loss(batch)
        if self.fabric.world_size > 1:
            check_loss(loss, batch)
        return loss

    def _judged(self, batch: Mapping[str, Any]) -> Tensor:
        try:
            return self.loss(batch)
        except GraftError as error:
            if error.args:
                error.args = (f"the validation data (valid): {error.args[0]}", *error.args[1:])
            raise

    def _trusted(self, batch: Mapping[str, Any]) -> AbstractContextManager[None]:
        """Values are looked at before they go to a device, which would have to be waited for afterwards."""
        trusting = getattr(self.objective, "trusting", None)
        return nullcontext() if trusting is None or self.doubt is None else trusting(batch)

    def _named(self) -> list[tuple[str, Tensor]]:
        return list(zip((name for group in self.names() for name in group), self._learned(), strict=True))

    def _gradients(self) -> list[tuple[str, Tensor]]:
        return [(name, p.grad) for name, p in self._named() if p.grad is not None]

    def _learned(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _check(self, loss: Tensor, batch: Mapping[str, Any]) -> None:
        """The device is read once; only a fault is looked at more closely."""
        gradients = [] if self.scaled else [p.grad for p in self._learned() if p.grad is not None]
        if bool(torch.isfinite(loss.detach()) & all_finite(gradients, loss.device)):
            return
        check_loss(loss, batch)
        names = [name for name, gradient in self._gradients() if not bool(all_finite([gradient], loss.device))]
        raise GraftError(f"the gradient of {', '.join(names)} is not finite; {KEPT}")

    def _clip(self, norm: float) -> None:
        try:
            self.fabric.clip_gradients(self.module, self.stepper, max_norm=norm, error_if_nonfinite=not self.scaled)
        except RuntimeError as error:
            raise GraftError(f"the gradient cannot be clipped; {KEPT}: {error}") from error


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

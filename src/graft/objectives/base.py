"""What every objective is: a module that turns a batch into a scalar loss with named terms."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from graft.errors import GraftError
from graft.model import Model
from graft.objectives.phases import Phase
from graft.objectives.schedules import Constant, Schedule, as_schedule

#: Names in a batch that are options of the call rather than variables.
OPTIONS = ("lengths", "mask", "sizes")


class Objective(nn.Module, ABC):
    """A loss to be minimised: `loss = objective(batch)`, a scalar with `.terms`."""

    @abstractmethod
    def terms(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Named parts of minus the loss, each of shape batch; the loss is minus the mean of their sum."""

    def forward(self, batch: Any) -> Tensor:
        """The loss of a batch: a mean over batch dimensions, a sum over axes.

        Args:
            batch: values and evidence by name, and possibly `lengths`, `mask` or `sizes`.

        Returns:
            A scalar whose attribute `terms` holds the mean of each part, detached.

        Raises:
            GraftError: if the batch is empty, or the loss is not finite; the part at fault is named.
        """
        return self.loss_of(self.terms(batch))

    def phases(self) -> tuple[Phase, ...]:
        """Losses that may be lowered in turn, and what each of them moves."""
        return (Phase("all", self, tuple(self.parameters())),)

    @contextmanager
    def trusting(self, batch: Mapping[str, Any]) -> Iterator[None]:
        """Look at a batch where it is, so that its copy on a device need not be read: a wrong one is found there."""
        with ExitStack() as stack:
            for part in self.modules():
                intake = getattr(part, "intake", None)
                if intake is not None:
                    stack.enter_context(intake.trusting(batch))
            yield

    def __add__(self, other: Objective) -> Objective:
        """The sum of two objectives of the same batches."""
        return Sum((*_summands(self), *_summands(other)))

    def __mul__(self, weight: Any) -> Objective:
        """An objective times a number or a schedule."""
        if isinstance(self, Sum):
            raise GraftError("scale the objectives of a sum one by one")
        return Sum(((as_schedule(weight, "the weight of an objective"), self),))

    __rmul__ = __mul__

    def loss_of(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Minus the mean of the sum of parts, each of shape batch.

        Raises:
            GraftError: as calling the objective.
        """
        whole = total(list(parts.values()))
        if whole.numel() == 0:
            raise GraftError("the batch is empty: there is nothing to take the mean of")
        loss = -whole.mean()
        means = Means(parts)
        # another device is not waited for: `fit` looks there
        if loss.device.type == "cpu" and not torch.compiler.is_compiling() and not math.isfinite(loss.item()):
            worst = next((name for name, mean in means.items() if not bool(torch.isfinite(mean))), "the sum")
            raise GraftError(f"the loss is {loss.item()}: {worst} is {means.get(worst, loss.detach())}")
        loss.terms = means  # type: ignore[attr-defined]
        return loss


class Sum(Objective):
    """A weighted sum of objectives, each called on the whole batch: what `+` and `*` make.

    Its phases are those of its parts: what one phase of a name moves, the others of that name move along.

    Example:
        >>> from graft.factors.gaussian import Gaussian
        >>> from graft.objectives.likelihood import Likelihood
        >>> fit = Likelihood(Model({"x": Gaussian(dim=1, learn=True)}))
        >>> both = fit + 0.5 * fit
        >>> loss = both({"x": torch.zeros(4, 1)})
        >>> sorted(loss.terms), bool(torch.isclose(loss, 1.5 * fit({"x": torch.zeros(4, 1)})))
        (['0 log_prob', '1 log_prob'], True)
    """

    def __init__(self, weighted: Sequence[tuple[Schedule, Objective]]) -> None:
        super().__init__()
        self.weights = nn.ModuleList(weight for weight, _ in weighted)
        self.objectives = nn.ModuleList(objective for _, objective in weighted)

    def terms(self, batch: Any) -> dict[str, Tensor]:
        """The means of all parts, scaled; numbered by objective where there are several."""
        found = {}
        for place, (weight, objective) in enumerate(self._pairs()):
            share = weight.now(self.training)
            for name, part in objective.terms(batch).items():
                found[f"{place} {name}" if len(self.objectives) > 1 else name] = share * part.mean()
        return found

    def phases(self) -> tuple[Phase, ...]:
        found: dict[str, list[tuple[Schedule, Phase]]] = {}
        for weight, objective in self._pairs():
            for phase in objective.phases():
                found.setdefault(phase.name, []).append((weight, phase))
        return tuple(_together(name, parts, self) for name, parts in found.items())

    def _pairs(self) -> list[tuple[Schedule, Objective]]:
        return list(zip(self.weights, self.objectives, strict=True))  # type: ignore[arg-type]


def _together(name: str, parts: Sequence[tuple[Schedule, Phase]], whole: nn.Module) -> Phase:
    def loss(batch: Any) -> Tensor:
        return total([weight.now(whole.training) * phase.loss(batch) for weight, phase in parts])

    return Phase(name, loss, tuple(dict.fromkeys(p for _, phase in parts for p in phase.parameters)))


def _summands(one: Any) -> tuple[tuple[Schedule, Objective], ...]:
    if not isinstance(one, Objective):
        raise GraftError(f"objectives add to objectives, not to {type(one).__name__}")
    return tuple(one._pairs()) if isinstance(one, Sum) else ((Constant(1.0), one),)


class Means(Mapping[str, Tensor]):
    """The mean of each part of a loss, detached; computed when it is read.

    Args:
        parts: by name, of shape batch or broadcast to it.

    Example:
        >>> dict(Means({"a": torch.tensor([1.0, 3.0])}))
        {'a': tensor(2.)}
    """

    def __init__(self, parts: Mapping[str, Tensor]) -> None:
        self._parts = {name: part.detach() for name, part in parts.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._parts[name].mean()

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return repr(dict(self))


def total(parts: Sequence[Tensor]) -> Tensor:
    """The sum of tensors, broadcast against each other."""
    found = parts[0]
    for part in parts[1:]:
        found = found + part
    return found


class OfModel(Objective):
    """An objective of one model, without a guide."""

    model: Model

    def draw(self, path: Any = None) -> Any:
        """The diagram of the model; see `Model.draw`."""
        return self.model.draw(path=path)


def split(batch: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A batch as (values, options of the call)."""
    options = {name: batch[name] for name in OPTIONS if name in batch}
    return {name: value for name, value in batch.items() if name not in options}, options

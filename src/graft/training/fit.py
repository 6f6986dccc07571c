"""`fit`: a small loop over Lightning Fabric that sees only `objective(batch) -> loss`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from graft.errors import GraftError
from graft.training.batches import batches


@runtime_checkable
class Movable(Protocol):
    """What can go to a device: tensors, and evidence made of them."""

    def to(self, device: torch.device) -> Any: ...


#: Figures measured after an epoch, by name.
Watch = Callable[[int], Mapping[str, float]]


@dataclass(frozen=True)
class Run:
    """What a fit leaves behind.

    Attributes:
        history: per epoch, its number, mean loss, seconds so far and watched figures.
        seconds: of the whole fit.
    """

    history: tuple[Mapping[str, float | int], ...] = ()
    seconds: float = 0.0


def fit(
    objective: nn.Module,
    data: Any,
    *,
    epochs: int,
    batch_size: int = 32,
    lr: float = 1e-3,
    optimizer: Optimizer | None = None,
    seed: int | None = None,
    accelerator: str = "cpu",
    progress: bool = True,
    watch: Watch | None = None,
) -> Run:
    """Minimise an objective over data.

    Args:
        objective: any module that turns a batch (a dict) into a scalar loss.
        data: a dict of tensors or evidence, a `Dataset` or a `DataLoader` of dicts.
        epochs: passes over the data.
        batch_size: rows of a batch (a `DataLoader` keeps its own).
        lr: learning rate of Adam (Kingma & Ba 2015), if no optimizer is given.
        optimizer: over the objective's parameters.
        seed: of the shuffling; the global random state is not touched.
        accelerator: as Fabric names it.
        progress: show a progress bar.
        watch: called with the number of each finished epoch.

    Returns:
        The run with its history.

    Raises:
        GraftError: empty data, nothing to learn, or a loss that is not finite (the parameters before that step
            are kept).

    Example:
        >>> from graft.factors import Gaussian
        >>> from graft.model import Model
        >>> from graft.objectives.likelihood import Likelihood
        >>> model = Model({"x": Gaussian(dim=1, learn=True)})
        >>> run = fit(Likelihood(model), {"x": torch.randn(64, 1)}, epochs=2, seed=0, progress=False)
        >>> len(run.history)
        2
    """
    parameters = [p for p in objective.parameters() if p.requires_grad]
    if not parameters:
        raise GraftError("the objective has no parameters to learn")
    if epochs < 0 or batch_size < 1:
        raise GraftError(f"epochs and batch_size must be positive, not {epochs} and {batch_size}")
    from lightning_fabric import Fabric  # as slow to import as torch itself

    fabric = Fabric(accelerator=accelerator, devices=1)
    module, stepper = fabric.setup(objective, optimizer or Adam(parameters, lr=lr))
    generator = torch.Generator()
    generator.manual_seed(torch.initial_seed() if seed is None else seed)
    loader = batches(data, batch_size, generator)
    started, history = time.perf_counter(), []
    with _bar(progress, epochs) as advance:
        for epoch in range(epochs):
            loss = _epoch(fabric, module, stepper, loader)
            figures: dict[str, float | int] = {
                "epoch": epoch + 1,
                "loss": loss,
                "seconds": time.perf_counter() - started,
            }
            history.append({**figures, **(watch(epoch + 1) if watch is not None else {})})
            advance(history[-1])
    return Run(tuple(history), time.perf_counter() - started)


def _epoch(fabric: Any, module: nn.Module, stepper: Optimizer, loader: Iterable[Any]) -> float:
    """One pass; the mean loss per batch."""
    total, count = 0.0, 0
    for batch in loader:
        if not isinstance(batch, Mapping):
            raise GraftError(f"a batch must be a dict of values by name, not {type(batch).__name__}")
        loss = _step(fabric, module, stepper, batch)
        total, count = total + float(loss), count + 1
    if count == 0:
        raise GraftError("the data gave no batch")
    return total / count


def _step(fabric: Any, module: nn.Module, stepper: Optimizer, batch: Mapping[str, Any]) -> Tensor:
    stepper.zero_grad()
    loss = module({n: v.to(fabric.device) if isinstance(v, Movable) else v for n, v in batch.items()})
    if not bool(torch.isfinite(loss)):
        raise GraftError(f"the loss is {loss.item()}; the parameters before this step are kept")
    fabric.backward(loss)
    stepper.step()
    return loss.detach()


@contextmanager
def _bar(shown: bool, epochs: int) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """A progress bar over epochs with the last figures beside it."""
    if not shown:
        yield lambda _: None
        return
    text = TextColumn("{task.fields[text]}")
    columns = (TextColumn("fit"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), text)
    with Progress(*columns) as bar:
        task = bar.add_task("fit", total=epochs, text="")

        def advance(figures: Mapping[str, float]) -> None:
            shown_ = "  ".join(f"{n} {v:.4g}" for n, v in figures.items() if n not in ("epoch", "seconds"))
            bar.update(task, advance=1, text=shown_)

        yield advance

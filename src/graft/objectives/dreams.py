"""What wake-sleep objectives share: dreams of the model, and the guide's part in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from graft.errors import GraftError
from graft.objectives.estimators.held import Held
from graft.objectives.guided import GuidedObjective, Run
from graft.objectives.truth import told


class DreamingObjective(GuidedObjective):
    """An objective that learns from draws of the model.

    Args:
        model: p, from which can be drawn.
        guide: q.
        samples: draws of the guide for each row.

    Raises:
        FormulaError: if the guide does not fit the model.
        GraftError: the guide proposes an input of the model.
    """

    def __init__(self, model: Any, guide: Any, samples: int) -> None:
        super().__init__(model, guide, samples, Held)
        for name in self.program.proposes:
            if self.program.model.variables[name].is_input:
                raise GraftError(f"{name} is an input of the model, which therefore cannot dream it")

    def dream(self, batch: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Draws of the model in the shape of a batch.

        Args:
            batch: whose inputs, shape, lengths and sizes the dream has.

        Returns:
            A batch of dreamt evidence, and dreamt values of the guide's variables.
        """
        values, options = told(batch, type(self).__name__)
        taken = self.intake.take(batch)
        variables = self.program.model.variables
        inputs = {name: value for name, value in values.items() if variables[name].is_input}
        sizes = {**self.model.sizes, **options.pop("sizes", {}), **taken.sizes}
        with torch.no_grad():
            posterior = self.model.given(inputs, sizes=sizes, **options)
            whole = self.model.settled(inputs, sizes=sizes, **options).frame.batch == taken.batch
            drawn = posterior.sample(() if whole else taken.batch)
        evidence = {name: drawn[name] for name in taken.known if name in drawn and name not in inputs}
        if sizes:
            options["sizes"] = sizes
        asleep = {name: drawn[name] for name in self.program.proposes if name not in taken.known}
        return {**inputs, **evidence, **options}, asleep

    def sleep_terms(self, batch: Any) -> dict[str, Tensor]:
        """The log-density of the guide at a dream, by factor: shape batch."""
        evidence, asleep = self.dream(batch)
        with held(self.model):  # which may compute what the guide reads
            run = self.run(evidence, samples=1, values=asleep)
            return {f"sleep q({node})": run.trace.log_q(node) for node in run.trace.guide}

    def sleep(self, batch: Any) -> Tensor:
        r"""The loss of the sleep phase, $-E_{p(x, z)}[\log q(z \mid x)]$, which moves the guide."""
        return self.loss_of(self.sleep_terms(batch))


@contextmanager
def held(module: nn.Module) -> Iterator[None]:
    """Within, nothing that the module computes passes a gradient to its parameters."""
    moving = [p for p in module.parameters() if p.requires_grad]
    for parameter in moving:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in moving:
            parameter.requires_grad_(True)


def model_terms(run: Run) -> dict[str, Tensor]:
    """The log-factors of the model by label, or their sum where unknowns are summed out."""
    if run.trace.unknown or not run.objective.program.model.directed:
        return {"log p": run.trace.log_joint()}
    return {f"p({node})": run.trace.log_p(node) for node in run.trace.model}

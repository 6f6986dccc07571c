"""Rows with labels and rows without: two bounds and a classifier in one objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graft.errors import GraftError
from graft.objectives.base import Objective
from graft.objectives.elbo import ELBO
from graft.objectives.estimators.base import Estimator
from graft.objectives.phases import Phase
from graft.objectives.schedules import Schedule, as_schedule
from graft.objectives.truth import told


class SemiSupervised(Objective):
    r"""$\mathcal{L}(x, y) + \alpha \log q(y \mid x)$ where the label is given, $\mathcal{U}(x)$ where it is not.

    $\mathcal{L}$ is the bound with $y$ as evidence; in $\mathcal{U}$ the guide's $q(y \mid x)$ weighs all labels
    exactly. The loss is a mean over all rows of a batch, labelled or not.

    Args:
        model: p.
        guide: q, with a factor for the label.
        label: name of a discrete variable without axes; -1 in a batch where it is missing.
        alpha: weight of the classifier's log-probability at labelled rows, a number or a schedule.
        samples: draws of the guide for each row.
        estimators: by variable, as in `ELBO`; the label is enumerated.
        form: of the bounds.

    Raises:
        FormulaError: if the guide does not fit the model.
        GraftError: the label is not discrete, has axes, or the guide lacks it; at a call, as a call of the model.

    Source: Kingma, Rezende, Mohamed & Welling 2014, eqs. 6 to 9 (M2).

    Example:
        >>> import torch
        >>> from graft.factors import Bernoulli, Categorical, Gaussian
        >>> from graft.model import Model
        >>> from torch import nn
        >>> p = Model({"y": Categorical(3), "z": Gaussian(dim=2), "x | y, z": Bernoulli(nn.Linear(5, 6), dim=6)})
        >>> q = Model({"y | x": Categorical(nn.Linear(6, 3), 3), "z | x, y": Gaussian(nn.Linear(9, 4), dim=2)})
        >>> objective = SemiSupervised(p, q, label="y", alpha=10.0)
        >>> loss = objective({"x": torch.zeros(4, 6), "y": torch.tensor([0, -1, -1, 2])})
        >>> [name for name in loss.terms if name.startswith("labelled")]
        ['labelled -KL(z)', 'labelled p(y)', 'labelled p(x | y, z)', 'labelled q(y)']
    """

    def __init__(
        self,
        model: Any,
        guide: Any,
        *,
        label: str,
        alpha: float | Schedule = 1.0,
        samples: int = 1,
        estimators: Mapping[str, Estimator] | None = None,
        form: str = "auto",
    ) -> None:
        super().__init__()
        self.bound = ELBO(model, guide, samples=samples, estimators=estimators, form=form)
        self.label, self.alpha = label, as_schedule(alpha, "alpha")
        if label not in self.bound.names:
            raise GraftError(
                f"the guide draws {', '.join(self.bound.names) or 'nothing'}: it has no factor for {label!r}"
            )
        variable = self.bound.program.model.variables[label]
        if variable.axes or not variable.is_discrete or variable.support is None or variable.support.event_rank:
            raise GraftError(f"{label} must be a discrete label without axes, one number a row")

    def terms(self, batch: Any) -> dict[str, Tensor]:
        values, options = told(batch, "SemiSupervised")
        if options:
            raise GraftError(f"SemiSupervised takes rows without {', '.join(options)}: they are picked apart by label")
        label = values.get(self.label)
        if not isinstance(label, Tensor):
            raise GraftError(f"a batch holds {self.label}, with -1 where the label is missing")
        if label.dim() != 1:
            raise GraftError(f"{self.label} has one batch dimension, not shape {tuple(label.shape)}")
        _rows(values, self.label, label)
        known = label >= 0
        alpha, parts = self.alpha.now(self.training), dict[str, Tensor]()
        for what, rows in (("labelled", known.nonzero().flatten()), ("unlabelled", (~known).nonzero().flatten())):
            if not rows.numel():
                continue
            mine = {name: value.index_select(0, rows) for name, value in values.items()}
            if what == "unlabelled":
                del mine[self.label]
            found = dict(self.bound.terms(mine))
            if what == "labelled":
                found[f"q({self.label})"] = alpha * self.classified(mine)
            for name, part in found.items():
                parts[f"{what} {name}"] = part.new_zeros(len(label)).index_copy(0, rows, part)
        if not parts:
            raise GraftError("the batch is empty: there is nothing to take the mean of")
        return parts

    def classified(self, batch: Mapping[str, Tensor]) -> Tensor:
        r"""$\log q(y \mid x)$ of labelled rows."""
        rest = {name: value for name, value in batch.items() if name != self.label}
        held = {self.label: batch[self.label].long()}
        run = self.bound.run(rest, samples=1, values=held)
        (node,) = run.nodes(self.label)
        return run.trace.log_q(node)

    def phases(self) -> tuple[Phase, ...]:
        return self.bound.phases()

    def explain(self, *given: str) -> Any:
        """How each variable is dealt with where the label is missing; see `ELBO.explain`."""
        return self.bound.explain(*given)

    def draw(self, path: Any = None) -> Any:
        """The diagram of the model with its guide dashed; see `Model.draw`."""
        return self.bound.draw(path)


def _rows(values: Mapping[str, Any], name: str, label: Tensor) -> None:
    """Labels are integers from -1, and every value has their rows.

    Raises:
        GraftError: naming what does not.
    """
    if label.is_floating_point() or label.dtype == torch.bool or (label.numel() and int(label.min()) < -1):
        raise GraftError(f"{name} holds integers, -1 where the label is missing, not {label.dtype} from below -1 on")
    for other, value in values.items():
        if not isinstance(value, Tensor) or not value.dim() or len(value) != len(label):
            shown = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise GraftError(f"{other} is {shown}; rows are picked by {name}, so it is a tensor of {len(label)} rows")

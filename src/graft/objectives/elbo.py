"""The evidence lower bound, by reparameterised draws from a guide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from graft.errors import GraftError
from graft.inference.arguments import BUDGET
from graft.inference.plan import make
from graft.inference.problem import pose
from graft.inference.program import join, propose
from graft.inference.settle import settle
from graft.inference.sweep import sweep
from graft.model import Model
from graft.objectives.base import Objective, split
from graft.ops.dense import sum_from


class ELBO(Objective):
    r"""$E_{q(z \mid x)}[\log p(x, z) - \log q(z \mid x)] \le \log p(x)$, one reparameterised draw per datum.

    Discrete unknowns that the guide leaves out are summed exactly for each draw (a Rao-Blackwellised bound).

    Args:
        model: p.
        guide: q; reads evidence, its own variables and the model's computed ones.

    Raises:
        FormulaError: if the guide does not fit the model.
        GraftError: at a call, if a draw of the guide has no reparameterised gradient.

    Source: Kingma & Welling 2014, eq. 3; Rezende, Mohamed & Wierstra 2014.

    Example:
        >>> import torch
        >>> from graft.factors import Gaussian
        >>> from torch import nn
        >>> p = Model({"z": Gaussian(dim=2), "x | z": Gaussian(nn.Linear(2, 6), dim=3)})
        >>> q = Model({"z | x": Gaussian(nn.Linear(3, 4), dim=2)})
        >>> loss = ELBO(p, q)({"x": torch.zeros(5, 3)})
        >>> loss.shape, sorted(loss.terms)
        (torch.Size([]), ['p(x | z)', 'p(z)', 'q(z | x)'])
    """

    def __init__(self, model: Model, guide: Model) -> None:
        super().__init__()
        self.model, self.guide = model, guide
        self.program = join(model.graph, guide.joined(model))

    def terms(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        values, options = split(batch)
        one = next((p for p in self.parameters() if p.is_floating_point()), None)
        situation = settle(self.model.graph, values, like=one, **{**self._sizes(), **options})
        proposal = propose(self.program, situation, _reparameterised)
        problem = pose(proposal.situation)
        frame = situation.frame
        plan = make(problem, BUDGET)
        tables = problem.tables()
        parts = {}
        if problem.unknowns or not self.model.graph.directed:
            parts["log p"] = sweep(problem, plan, tables).value
            if not self.model.graph.directed:
                raise GraftError("the bound of a model with potentials needs its normaliser, which is not built")
        else:
            for sketch, table in zip(problem.sketches, tables, strict=True):
                parts[f"p({sketch.node})"] = sum_from(table.dense(frame, problem.sizes), frame.rank)
        for node, table in proposal.log_q.items():
            parts[f"q({node})"] = -sum_from(table.dense(frame, frame.sizes), frame.rank)
        return {name: part.expand(frame.batch) for name, part in parts.items()}

    def draw(self, path: Any = None) -> Any:
        """The diagram of the model with its guide dashed; see `Model.draw`."""
        return self.model.draw(self.guide, path)

    def _sizes(self) -> dict[str, Any]:
        return {"sizes": self.model.sizes} if self.model.sizes else {}


def _reparameterised(dist: Distribution) -> Tensor:
    if not dist.has_rsample:
        raise GraftError(
            f"{type(dist).__name__} has no reparameterised draws, which this bound needs: leave the variable out of "
            "the guide, so that it is summed exactly"
        )
    return dist.rsample()

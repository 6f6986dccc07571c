"""Units of a latent variable that the guide uses: those whose posterior mean moves with the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float64
from torch import Tensor

from graft.distributions.density import Density
from graft.distributions.supports import Finite
from graft.errors import GraftError
from graft.evaluation.drawing import Drawing
from graft.evaluation.kinds import Kind
from graft.evaluation.moments import Moments
from graft.evaluation.positions import Positions
from graft.evaluation.rows import Rows, at_once, at_rest, portions
from graft.graph.nodes import Node, Variable
from graft.inference.draws import seeded
from graft.inference.how_many import positive


@dataclass(frozen=True, eq=False)
class ActiveUnits:
    """How much the mean of each unit moves with the data.

    Args:
        name: of the variable.
        kind: exact, or an estimate where means were taken over draws.
        variance: of $E_q[z_u]$ over the data, event shape.
        threshold: a unit is active above it.
        rows: of data.
    """

    name: str
    kind: Kind
    variance: Float64[Tensor, "*event"]
    threshold: float
    rows: int

    @property
    def active(self) -> int:
        """How many units are."""
        return int((self.variance > self.threshold).sum())

    @property
    def units(self) -> int:
        """How many units there are."""
        return self.variance.numel()

    def __str__(self) -> str:
        over = f"variance of the mean of q over {self.rows} rows > {self.threshold:g}"
        return f"{self.name}: {self.active} of {self.units} units active ({over}; {self.kind.value})"


def active_units(
    model: Any,
    guide: Any,
    data: Any,
    name: str,
    threshold: float = 0.01,
    samples: int = 100,
    chunk: int | None = None,
    seed: int | None = None,
) -> ActiveUnits:
    r"""$A_u = \operatorname{Var}_x\big(E_{q(z \mid x)}[z_u]\big)$ of each unit u of a latent variable.

    The mean of q is exact where the factor of the guide reads evidence alone and its family has a mean in closed form;
    otherwise it is taken over draws, and what their noise adds to the variance in mean is taken off again.

    Elements of a plate are data, as rows are. Along a time axis each position has its variance over the data, and
    these are averaged: a mean that follows the clock alone does not move with the data.

    Args:
        model: p.
        guide: q.
        data: a batch, or batches one after the other, such as a `DataLoader` of dicts.
        name: a variable that the guide draws.
        threshold: a unit is active above it; it is in the variable's own units, squared.
        samples: draws for each row, where the mean is not known in closed form; at least two.
        chunk: rows (times samples) of one run.
        seed: makes the draws repeatable without touching the global random state.

    Raises:
        FormulaError: if the guide does not fit the model.
        GraftError: the guide does not draw the variable, it is categorical, or there are fewer than two data.

    Source: Burda, Grosse & Salakhutdinov 2016, section 5.2 and appendix C.

    Example:
        >>> import torch
        >>> from graft.factors import Gaussian
        >>> from graft.model import Model
        >>> from torch import nn
        >>> p = Model({"z": Gaussian(dim=2), "x | z": Gaussian(nn.Linear(2, 3), dim=3, scale=1.0)})
        >>> q = Model({"z | x": Gaussian(nn.Linear(3, 4), dim=2)})
        >>> with torch.no_grad():
        ...     _ = q.factors[0].net.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]))
        >>> print(active_units(p, q, {"x": torch.eye(3)}, "z"))
        z: 1 of 2 units active (variance of the mean of q over 3 rows > 0.01; exact)
    """
    objective = Drawing(model, guide, "active_units")
    variable = _units(objective, name)
    count, limit = positive(samples, "samples"), _number(threshold)
    if count < 2:
        raise GraftError("samples must be at least 2: the noise of one draw cannot be told")
    means = Means(objective, variable, count)
    with at_rest(model, guide), seeded(seed):
        for batch in _batches(data):
            rows = Rows(model, batch, "active_units", empty=True)
            most = at_once(chunk, rows.width)
            size = max(1, most // 4)
            for piece in rows.pieces(size):
                means.add(rows.take(*piece), max(1, most // size))
            means.rows += rows.count
    kind = Kind.ESTIMATE if means.drawn else Kind.EXACT
    return ActiveUnits(name, kind, means.positions.variance(name), limit, means.rows)


class Means:
    """The means of a variable's units, over batches.

    Args:
        objective: of model and guide.
        variable: whose means.
        samples: of each row, where they are not known in closed form.
    """

    def __init__(self, objective: Drawing, variable: Variable, samples: int) -> None:
        self.objective, self.variable, self.samples = objective, variable, samples
        time = objective.program.model.time
        self.positions = Positions(variable.axes, tuple(letter for letter in variable.axes if letter in time))
        self.rows = 0
        #: some mean was taken over draws
        self.drawn = False

    def add(self, batch: dict[str, Any], most: int) -> None:
        """Take in some rows; a run holds at most so many samples of each."""
        taken = self.objective.intake.take(batch)
        if self.variable.name in taken.known:
            raise GraftError(f"{self.variable.name} is given in the data: the guide does not draw it there")
        frame = None if taken.straight is not None else taken.situation.frame
        mask = None if frame is None else frame.exists(self.variable.axes)
        found = self._exact(batch, taken.known)
        noise = None
        if found is None:
            found, noise = self._over_draws(batch, most)
        if bool(found.isnan().any()):
            raise GraftError(f"the mean of {self.variable.name} under the guide is NaN: its family has none")
        rank = len(taken.batch)
        self.positions.add(found.cpu().double(), noise, mask, rank)

    def _exact(self, batch: dict[str, Any], known: frozenset[str]) -> Tensor | None:
        """The means in closed form; None if there is none, or they hang on draws."""
        reached = self.objective.reached(known)
        mine = [n for n in self.objective.program.guide.nodes if n.head.name == self.variable.name]
        if any(reached.of(node, head=False) for node in mine):
            return None
        try:
            return self.objective.observe(batch, self._mean).draws[self.variable.name]
        except NotImplementedError:
            return None

    def _over_draws(self, batch: dict[str, Any], most: int) -> tuple[Tensor, Tensor]:
        """The means over draws, and the variance of each about what it stands for."""
        self.drawn = True
        found = Moments()
        for count in portions(self.samples, most):
            drawn = self.objective.run(batch, samples=count).trace.draws[self.variable.name]
            found.add(drawn if count > 1 else drawn.unsqueeze(0))
        return found.mean, found.error.square()

    def _mean(self, node: Node, density: Density, lead: tuple[int, ...]) -> Tensor:
        if node.head.name != self.variable.name:
            return density.draw(lead)
        return density.distribution().mean.expand((*lead, *density.event))


def _units(objective: Drawing, name: Any) -> Variable:
    """The variable whose units are counted.

    Raises:
        GraftError: the guide does not draw it, or it has no units.
    """
    if name not in objective.names:
        raise GraftError(f"the guide draws {', '.join(objective.names) or 'nothing'}, not {name!r}")
    variable = objective.program.model.variables[name]
    if isinstance(variable.support, Finite):
        raise GraftError(f"{name} is categorical ({variable.support}): its states are no numbers that have a mean")
    return variable


def _number(threshold: Any) -> float:
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not threshold >= 0:
        raise GraftError(f"threshold must be a number of at least 0, not {threshold!r}")
    return float(threshold)


def _batches(data: Any) -> Iterator[Mapping[str, Any]]:
    """A batch alone, or those that come one after the other.

    Raises:
        GraftError: it is neither.
    """
    if isinstance(data, Mapping):
        yield data
        return
    if not isinstance(data, Iterable):
        raise GraftError(f"data are a dict of values by name, or dicts one after the other, not {type(data).__name__}")
    for batch in data:
        if not isinstance(batch, Mapping):
            raise GraftError(f"data are dicts of values by name; one of them is a {type(batch).__name__}")
        yield batch

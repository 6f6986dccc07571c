r"""Structured prediction: the lower half of a digit from its upper half, by a net of binary units.

$p(h_1 \mid u)\, p(h_2 \mid h_1)\, p(l \mid h_2)$, every factor a linear map and a logistic function for each unit.
The net is its own proposal: the guide's factors are the model's own modules, so the divergences of the bound are those
of a distribution to itself, zero with their gradients, and what remains is $E_{h \sim p(h \mid u)} \log p(l \mid h)$.
Its gradient reaches the hidden layers through the draws alone, by the estimator of the arm: see `estimator_arms`.
Measured is $-\log \frac1m \sum_j p(l \mid h_j)$ with m = `draws` draws of the discrete net.

`graft train lower_half data=mnist folder=... epochs=40` repeats the figures of the docs.

Every arm has the same epochs, batches and optimiser (Adam, its rate falling to nothing), and a learning rate of its own
from a search of the same size: see `estimator_arms`.

Source: Raiko et al., Techniques for learning binary stochastic feedforward neural networks, 2015, for the
task; Jang, Gu & Poole, Categorical reparameterization with Gumbel-softmax, 2017, section 4.1, for the net and the
comparison, which has SGD with momentum, images made binary once, and more learning rates to choose from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from graft.data.halves import Halves, halves
from graft.data.images import Parts, batches
from graft.distributions.supports import Binary
from graft.errors import GraftError
from graft.factors.bernoulli import Bernoulli
from graft.model import Model
from graft.objectives.elbo import ELBO
from graft.objectives.from_model import from_model
from graft.zoo.estimator_arms import ARMS, ArmSettings, EstimatorArms, estimator
from graft.zoo.experiment.experiment import Pair
from graft.zoo.experiment.measure import TEST_SEED, of_batch
from graft.zoo.experiment.nets import from_mean, layers
from graft.zoo.lower_half_pictures import pictures

FOUND = MappingProxyType({"digits": dict.fromkeys(ARMS, 3e-3), "mnist": dict.fromkeys(ARMS, 3e-3)})


@dataclass(frozen=True)
class Config(ArmSettings):
    """Everything that `graft train lower_half` can be told.

    Args:
        layers: binary units of each hidden layer, from the upper half on.
        temperature: of the relaxed draws.
    """

    layers: tuple[int, ...] = (200, 200)
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers or min(self.layers) < 1:
            raise GraftError(f"layers must be at least 1 each, and one at least, not {self.layers}")
        if not self.temperature > 0:
            raise GraftError(f"temperature must be positive, not {self.temperature}")


class LowerHalf(EstimatorArms[Config]):
    """See the head of this file."""

    name = "lower_half"
    title = "lower_half: lower halves of test images, nats an image"
    settings = Config
    found = FOUND

    def pair(self, told: Config, arm: str, data: Parts) -> Pair:
        seen = halves(data.train.pixels, data.train.shape)
        return own_proposal(seen["upper"].shape[-1], told.layers, seen["lower"])

    def objective(self, told: Config, arm: str, pair: Pair) -> nn.Module:
        assert pair.guide is not None
        support = pair.model.graph.variables["upper"].support
        assert support is not None
        cells = support.event_shape[0]
        each = {name: estimator(arm, "upper", cells, told.temperature) for name in pair.guide.graph.random}
        # the closed form, which is zero: differences of drawn log-densities would be so in mean only
        return ELBO(pair.model, pair.guide, estimators=each, form="kl")

    def batches(self, told: Config, arm: str, data: Parts, seed: int) -> DataLoader[Any]:
        return batches(Halves(data.train), told.batch, seed)

    def figures(self, told: Config, arm: str, pair: Pair, data: Parts) -> dict[str, float]:
        test = data.test.spaced(told.rows)
        return of_batch(told, pair.model, pair.guide, halves(test.binary(TEST_SEED), test.shape))

    def pictures(self, told: Config, trained: Mapping[str, Pair], data: Parts, folder: Path) -> Sequence[Path]:
        return pictures(trained, data.test, folder)


def own_proposal(cells: int, units: Sequence[int], lower: Tensor) -> Pair:
    """The net, and its hidden layers again as the guide: the same modules.

    Args:
        cells: of the upper half.
        units: of each hidden layer.
        lower: intensities of lower halves, (n, cells), whose means its visible offsets start at.

    Example:
        >>> import torch
        >>> pair = own_proposal(6, (4, 3), torch.rand(10, 5))
        >>> [str(node) for node in pair.model.graph.nodes], [str(node) for node in pair.guide.graph.nodes]
        (['h1 | upper', 'h2 | h1', 'lower | h2'], ['h1 | upper', 'h2 | h1'])
        >>> pair.guide.factors[0] is pair.model.factors[0]
        True
    """
    sizes = (cells, *units)
    names = ("upper", *(f"h{k}" for k in range(1, len(sizes))))
    hidden = {
        f"{after} | {before}": Bernoulli(layers(wide, dim), dim=dim)
        for (before, wide), (after, dim) in pairwise(zip(names, sizes, strict=True))
    }
    visible = Bernoulli(from_mean(layers(sizes[-1], lower.shape[-1]), lower), dim=lower.shape[-1])
    support = {"upper": Binary(cells)}
    model = Model({**hidden, f"lower | {names[-1]}": visible}, support=support)
    return Pair(model, from_model(model, *names[1:]))


RECIPE = LowerHalf()

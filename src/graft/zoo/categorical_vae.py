r"""The categorical VAE: twenty variables of ten states, $p(z_k)$ a learnt table each, $p(x \mid z)$ a network.

The guide's twenty variables come from one network of x. Both networks are linear maps, with `hidden=` one layer of
tanh units each. What the guide is charged, $\mathrm{KL}(q(z \mid x) \| p(z))$, is that of the discrete variables and
in closed form, in every arm; only $E_q \log p(x \mid z)$ is estimated. Arms: see `estimator_arms`. The temperature of
relaxed draws falls from 1 to 0.5 as $e^{-r t}$ with the step t.

`graft train categorical_vae data=mnist folder=... epochs=35 rows=500 draws=5000` repeats the figures of the docs.

Every arm has the same epochs, batches and optimiser (Adam, its rate falling to nothing), and a learning rate of its own
from a search of the same size: see `estimator_arms`.

Source: Jang, Gu & Poole, Categorical reparameterization with Gumbel-softmax, 2017, section 4.2, which has SGD with
momentum, images made binary once, and more learning rates to choose from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import nn
from torch.distributions import Categorical as States

from graft.data.images import Parts
from graft.distributions.supports import Finite
from graft.errors import GraftError
from graft.factors.bernoulli import Bernoulli
from graft.factors.categorical import Categorical
from graft.model import Model
from graft.objectives.elbo import ELBO
from graft.objectives.schedules import ExponentialSchedule
from graft.zoo.categorical_vae_pictures import pictures
from graft.zoo.estimator_arms import ARMS, ArmSettings, EstimatorArms, estimator
from graft.zoo.experiment.experiment import Pair
from graft.zoo.experiment.nets import from_mean, layers

FOUND = MappingProxyType({"digits": dict.fromkeys(ARMS, 3e-3), "mnist": dict.fromkeys(ARMS, 3e-3)})
#: r by data. That of MNIST is the paper's, not searched; the digits have too few steps for it (held-out bounds of
#: `gumbel`: 25.8 with 1e-3, 26.0 with 1e-4).
COOLING = MappingProxyType({"digits": 1e-3, "mnist": 1e-4})


@dataclass(frozen=True)
class Config(ArmSettings):
    """Everything that `graft train categorical_vae` can be told.

    Args:
        variables: how many z there are.
        states: of each.
        hidden: tanh units between x and z, both ways; 0 for linear maps.
        cooling: r, per step; 0 for 1e-4 on MNIST and 1e-3 on the digits.
    """

    variables: int = 20
    states: int = 10
    hidden: int = 0
    cooling: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variables < 1 or self.states < 2:
            raise GraftError(f"{self.variables} variables of {self.states} states: at least 1 of 2 are needed")
        if self.hidden < 0 or not self.cooling >= 0:
            raise GraftError("hidden and cooling must not be negative")


class Tables(nn.Module):
    """A learnt distribution for every variable of a plate; all start uniform."""

    def __init__(self, variables: int, states: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(variables, states))

    def forward(self) -> States:
        return States(logits=self.logits)


class CategoricalVAE(EstimatorArms[Config]):
    """See the head of this file."""

    name = "categorical_vae"
    title = "categorical_vae: test images, nats an image"
    settings = Config
    found = FOUND

    def pair(self, told: Config, arm: str, data: Parts) -> Pair:
        cells, grid, between = data.train.cells, (told.variables, told.states), (told.hidden,) * bool(told.hidden)
        wide = told.variables * told.states
        encoder = nn.Sequential(layers(cells, *between, wide), nn.Unflatten(-1, grid))
        decoder = nn.Sequential(nn.Flatten(), from_mean(layers(wide, *between, cells), data.train.pixels))
        return Pair(
            Model(
                {"z[k]": Tables(*grid), "x | z": Bernoulli(decoder, dim=cells)},
                sizes={"k": told.variables},
                support={"z": Finite(told.states)},
            ),
            Model({"z[k] | x": Categorical(encoder, told.states)}),
        )

    def objective(self, told: Config, arm: str, pair: Pair) -> nn.Module:
        falling = ExponentialSchedule(1.0, told.cooling or COOLING[told.data], least=0.5)
        support = pair.model.graph.variables["x"].support
        assert support is not None
        one = estimator(arm, "x", support.event_shape[0], falling)
        return ELBO(pair.model, pair.guide, estimators={"z": one}, form="kl")

    def pictures(self, told: Config, trained: Mapping[str, Pair], data: Parts, folder: Path) -> Sequence[Path]:
        return pictures(trained, data.test, folder)


RECIPE = CategoricalVAE()

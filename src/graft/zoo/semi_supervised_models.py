"""The models and guides of the semi-supervised VAE, arm by arm."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graft.data.images import Images
from graft.factors.bernoulli import Bernoulli
from graft.factors.categorical import Categorical
from graft.factors.function import Function
from graft.factors.gaussian import Gaussian
from graft.model import Model
from graft.zoo.experiment.experiment import Pair
from graft.zoo.experiment.nets import from_mean, layers

CLASSES = 10


class Shifted(nn.Module):
    r"""The rest of a network of one hidden layer on $(x, y)$: $V \max(0, h + U y) + c$, where $h = W x + b$.

    Where all labels of an image are gone through, the dear part $h$ is computed once, outside. One entry of y is 1, so
    what it adds to a unit is one weight: drawn with the deviation 1/2, it is heard beside $h$ from the first step on,
    and labels differ.

    Args:
        hidden: units.
        out: numbers it returns.

    Example:
        >>> Shifted(8, 2)(torch.zeros(3, 8), torch.eye(10)[:3]).shape
        torch.Size([3, 2])
    """

    def __init__(self, hidden: int, out: int) -> None:
        super().__init__()
        self.shift = nn.Linear(CLASSES, hidden, bias=False)
        nn.init.normal_(self.shift.weight, std=0.5)
        self.out = layers(hidden, out)

    def forward(self, units: Tensor, label: Tensor) -> Tensor:
        found: Tensor = self.out(torch.relu(units + self.shift(label)))
        return found


class Styled(nn.Module):
    """A network of one hidden layer on a label and a style, started as `Shifted` says.

    Args:
        latent: dimensions of the style.
        hidden: units.
        out: numbers it returns.

    Example:
        >>> Styled(3, 8, 2)(torch.eye(10)[:4], torch.zeros(4, 3)).shape
        torch.Size([4, 2])
    """

    def __init__(self, latent: int, hidden: int, out: int) -> None:
        super().__init__()
        self.units, self.rest = layers(latent, hidden), Shifted(hidden, out)

    def forward(self, label: Tensor, style: Tensor) -> Tensor:
        found: Tensor = self.rest(self.units(style), label)
        return found


def m2(images: Images, hidden: int, latent: int, dropout: float) -> Pair:
    """y, z, x | y, z, with the guide y | x, z | x, y."""
    cells = images.cells
    decoder = Styled(latent, hidden, cells)
    from_mean(decoder.rest.out, images.pixels)
    drawn = Bernoulli(decoder, dim=cells, concat=False)
    model = Model({"y": uniform(), "z": Gaussian(dim=latent), "x | y, z": drawn})
    return Pair(model, Model(labelling("x", "z", cells, hidden, latent, dropout)))


def m1m2(images: Images, features: int, hidden: int, latent: int, dropout: float) -> Pair:
    """M2 over features z1 of the images, which M1 has made: y, z2, z1 | y, z2, x | z1."""
    cells = images.cells
    decoder = from_mean(layers(features, hidden, hidden, cells, between=nn.ReLU), images.pixels)
    encoder = layers(cells, hidden, hidden, 2 * features, between=nn.ReLU)
    model = Model(
        {
            "y": uniform(),
            "z2": Gaussian(dim=latent),
            "z1 | y, z2": Gaussian(Styled(latent, hidden, 2 * features), dim=features, concat=False),
            "x | z1": Bernoulli(decoder, dim=cells),
        }
    )
    above = labelling("z1", "z2", features, hidden, latent, dropout)
    return Pair(model, Model({"z1 | x": Gaussian(encoder, dim=features), **above}))


def supervised(images: Images, hidden: int, dropout: float) -> Pair:
    """y | x alone, the network that the guide of M2 has."""
    return Pair(Model({"y | x": classifier(images.cells, hidden, dropout)}), None)


def uniform() -> Categorical:
    """A label, all classes alike, with nothing to learn."""
    found = Categorical(probs=torch.full((CLASSES,), 1 / CLASSES))
    return found.requires_grad_(False)


def classifier(inputs: int, hidden: int, dropout: float) -> Categorical:
    """A network of one hidden layer, with dropout after it."""
    net = layers(inputs, hidden, CLASSES, between=lambda: nn.Sequential(nn.ReLU(), nn.Dropout(dropout)))
    return Categorical(net, CLASSES)


def labelling(x: str, z: str, inputs: int, hidden: int, latent: int, dropout: float) -> dict[str, nn.Module]:
    """The factors y | x and z | x, y of a guide."""
    return {
        f"y | {x}": classifier(inputs, hidden, dropout),
        f"h = {x}": Function(layers(inputs, hidden), dim=hidden),
        f"{z} | h, y": Gaussian(Shifted(hidden, 2 * latent), dim=latent, concat=False),
    }


def first_stage(pair: Pair, features: int) -> Pair:
    """M1 of the arm `m1m2`, which shares its networks: z1, x | z1 / z1 | x."""
    assert pair.guide is not None
    own = {"z1": Gaussian(dim=features), "x | z1": module_of(pair.model, "x | z1")}
    return Pair(Model(own), part(pair.guide, "z1 | x"))


def second_stage(pair: Pair) -> Pair:
    """M2 of the arm `m1m2`, whose evidence is z1: all but what the first stage has learnt."""
    assert pair.guide is not None
    return Pair(part(pair.model, "y", "z2", "z1 | y, z2"), part(pair.guide, "y | z1", "h = z1", "z2 | h, y"))


def part(model: Model, *formulas: str) -> Model:
    """The model of some of its factors, which it shares with the whole."""
    return Model({formula: module_of(model, formula) for formula in formulas})


def module_of(model: Model, formula: str) -> nn.Module:
    """The factor of a formula."""
    found = next(node.module for node in model.graph.nodes if node.formula.text == formula)
    assert isinstance(found, nn.Module)
    return found

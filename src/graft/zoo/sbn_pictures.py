"""What the arms of the sigmoid belief net have learnt, as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from graft.data.images import Images
from graft.model import Model
from graft.plots.images import draw
from graft.zoo.experiment.experiment import Pair
from graft.zoo.experiment.measure import TEST_SEED
from graft.zoo.experiment.pictures import diagram, mean_of, squares

#: Images in a line, and lines of each held layer.
COUNT, LINES = 12, 3


def pictures(trained: Mapping[str, Pair], test: Images, folder: Path) -> Sequence[Path]:
    """Diagram, reconstructions by way of each layer, dreams, and dreams below a layer that is held.

    Args:
        trained: arms by name.
        test: images that were not trained on.
        folder: for the files.
    """
    paths = []
    for arm, pair in trained.items():
        paths.append(folder / f"{arm}-images.png")
        draw(_lines(pair, test), title=f"{arm}: test images, the same by way of each layer, dreams", path=paths[-1])
        held = _held(pair.model, test.shape)
        if held:
            paths.append(folder / f"{arm}-held.png")
            draw(held, title=f"{arm}: dreams that share a layer, what is below drawn anew", path=paths[-1])
    return [*paths, diagram(trained, folder)]


def depth(model: Model) -> int:
    """How many hidden layers a net has."""
    return len(model.graph.random) - 1


def below(model: Model, layer: int) -> Model:
    """The part of a net below a hidden layer, which is its input: the modules are the net's own.

    A net whose layer is given would have to infer what is above it; this part has nothing above.

    Args:
        model: with layers `h1`, `h2`, ... from the visible side.
        layer: counted from 1.

    Example:
        >>> from graft.data import digits
        >>> from graft.zoo.sbn import belief_net
        >>> net = belief_net((20, 15, 10), digits.load()).model
        >>> [str(node) for node in below(net, 2).graph.nodes]
        ['h1 | h2', 'x | h1']
    """
    wanted = {"x", *(f"h{k}" for k in range(1, layer))}
    return Model({str(node): node.module for node in model.graph.nodes if node.head.name in wanted})


def means(model: Model, h1: Tensor) -> Tensor:
    """The mean of x for each state of the lowest layer."""
    return mean_of(below(model, 1), "x", {"h1": h1})


def descended(model: Model, layer: int, state: Tensor, seed: int, count: int | None = None) -> Tensor:
    """The mean of x after drawing all that lies between a layer and x.

    Args:
        model: the net.
        layer: counted from 1.
        state: of the layer, (batch, units).
        seed: of the draws.
        count: draws for each state, which stand before the batch; one draw and no dimension if not told.
    """
    shape = () if count is None else (count,)
    if layer == 1:
        return means(model, state.expand(*shape, *state.shape))
    return means(model, below(model, layer).sample(shape, {f"h{layer}": state}, seed=seed)["h1"])


def _lines(pair: Pair, test: Images) -> list[tuple[str, np.ndarray]]:
    """Images, what is left of them after going up to a layer and down again, and dreams."""
    assert pair.guide is not None
    x = test.spaced(COUNT).binary(TEST_SEED)
    up = pair.guide.sample(x=x, seed=0)
    lines = [("image", x)]
    for layer in range(1, depth(pair.model) + 1):
        lines.append((f"by h{layer}", descended(pair.model, layer, up[f"h{layer}"], seed=1)))
    lines += [("dream", means(pair.model, pair.model.sample((COUNT,), seed=seed)["h1"])) for seed in range(2)]
    return [(word, squares(rows, test.shape)) for word, rows in lines]


def _held(model: Model, shape: tuple[int, int]) -> list[tuple[str, np.ndarray]]:
    """Dreams in lines that share the top layer, then the one below it, down to the second."""
    dreams = model.sample((LINES,), seed=2)
    lines = []
    for layer in range(depth(model), 1, -1):
        found = descended(model, layer, dreams[f"h{layer}"], seed=3, count=COUNT)
        lines += [(f"h{layer} held", squares(found[:, line], shape)) for line in range(LINES)]
    return lines

"""What the arms of the VAE have learnt, as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graft.data.images import Images
from graft.plots.images import draw
from graft.plots.latent import draw_plane, draw_units
from graft.zoo.experiment.experiment import Pair
from graft.zoo.experiment.measure import TEST_SEED
from graft.zoo.experiment.pictures import diagram, mean_of, squares

COUNT, SIDE = 12, 16


def pictures(trained: Mapping[str, Pair], test: Images, folder: Path) -> Sequence[Path]:
    """Diagram, reconstructions, samples, aggregate posteriors, and the manifold of the arm with two dimensions.

    Args:
        trained: arms by name.
        test: images that were not trained on.
        folder: for the files.
    """
    paths = []
    for arm, pair in trained.items():
        path = folder / f"{arm}-images.png"
        draw(_lines(pair, arm, test), title=f"{arm}: test images, their reconstructions, samples", path=path)
        paths.append(path)
        path = folder / f"{arm}-posterior.png"
        images = test.spaced(2000)
        mean, scale = _posterior(pair, _seen(arm, images))
        if arm == "plane":
            drawn = mean + scale * torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
            draw_plane(
                drawn.numpy(), images.labels.numpy(), title="plane: draws of q(z), the prior's circles", path=path
            )
            paths.append(_manifold(pair, test.shape, folder / "plane-manifold.png"))
        else:
            draw_units(mean.numpy(), scale.numpy(), title=f"{arm}: units of the aggregate posterior", path=path)
        paths.append(path)
    return [*paths, diagram(trained, folder)]


def _seen(arm: str, images: Images) -> Tensor:
    if arm == "grey":
        return images.continuous(torch.Generator().manual_seed(TEST_SEED))
    return images.binary(TEST_SEED)


def _posterior(pair: Pair, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every unit for every image."""
    assert pair.guide is not None
    with torch.no_grad():
        found: Any = pair.guide.given(x=x).marginals["z"]
        return found.mean, found.stddev


def _lines(pair: Pair, arm: str, test: Images) -> list[tuple[str, np.ndarray]]:
    """Images, the means of their reconstructions, and means of the model at draws of the prior."""
    images = test.spaced(COUNT)
    x = _seen(arm, images)
    mean, _ = _posterior(pair, x)
    again = means(pair, mean)
    drawn = means(pair, pair.model.sample((COUNT,), seed=0)["z"])
    return [(word, squares(rows, test.shape)) for word, rows in (("image", x), ("again", again), ("drawn", drawn))]


def means(pair: Pair, z: Tensor) -> Tensor:
    """The mean of x for each z, as grey as can be shown."""
    return mean_of(pair.model, "x", {"z": z}).clamp(0, 1)


def _manifold(pair: Pair, shape: tuple[int, int], path: Path) -> Path:
    """The model's means over a grid that is even in probability, as in figure 4 of the paper."""
    quantiles = (torch.arange(SIDE) + 0.5) / SIDE
    at = torch.distributions.Normal(0.0, 1.0).icdf(quantiles)
    lines = []
    for height in at.flip(0):
        z = torch.stack([at, height.expand(SIDE)], -1)
        lines.append(("", squares(means(pair, z), shape)))
    draw(lines, title="plane: the model's mean over the plane of z", path=path, height=0.4)
    return path

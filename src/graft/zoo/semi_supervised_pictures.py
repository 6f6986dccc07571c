"""What the arms of the semi-supervised VAE have learnt, as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from graft.data.images import Images
from graft.plots.images import draw
from graft.zoo.experiment.experiment import Pair
from graft.zoo.experiment.measure import TEST_SEED
from graft.zoo.experiment.pictures import mean_of, squares
from graft.zoo.semi_supervised_models import CLASSES, part

COUNT = 10


def pictures(trained: Mapping[str, Pair], test: Images, folder: Path) -> Sequence[Path]:
    """Samples of each class, analogies and the diagram, of every arm with a guide.

    Args:
        trained: arms by name.
        test: images that were not trained on.
        folder: for the files.
    """
    paths = []
    for arm, pair in trained.items():
        diagram = folder / f"{arm}-model.png"
        pair.model.draw(pair.guide, diagram)
        paths.append(diagram)
        if pair.guide is None:
            continue
        samples, analogies = folder / f"{arm}-classes.png", folder / f"{arm}-analogies.png"
        draw(by_class(pair, test.shape), title=f"{arm}: a class a line, a style a column", path=samples)
        title = f"{arm}: a test image, then all classes in its style"
        draw(by_style(pair, test), title=title, path=analogies)
        paths += [samples, analogies]
    return paths


def by_class(pair: Pair, shape: tuple[int, int]) -> list[tuple[str, np.ndarray]]:
    """Means of the model for every class at the same draws of the style's prior."""
    drawn = pair.model.sample((COUNT,), seed=0)
    style = drawn[style_of(pair)]
    return [(str(k), squares(means(pair, torch.full((COUNT,), k), style), shape)) for k in range(CLASSES)]


def by_style(pair: Pair, test: Images) -> list[tuple[str, np.ndarray]]:
    """A line for an image of each class: itself, then the means of all classes at the style that the guide finds."""
    every = torch.arange(CLASSES)
    rows = torch.stack([(test.labels == k).nonzero()[0, 0] for k in every if bool((test.labels == k).any())])
    images = test.take(rows)
    found = styles(pair, images.binary(TEST_SEED), images.labels)
    lines = []
    for image, style in zip(images.pixels, found, strict=True):
        drawn = means(pair, every, style.expand(CLASSES, -1))
        lines.append(("", squares(torch.cat([image[None], drawn]), test.shape)))
    return lines


def style_of(pair: Pair) -> str:
    """The variable beside the label."""
    return "z2" if "z2" in pair.model.graph.variables else "z"


def styles(pair: Pair, x: Tensor, y: Tensor) -> Tensor:
    """The mean of the guide's style for images of known labels."""
    assert pair.guide is not None
    features = {"z1": mean_of(pair.guide, "z1", {"x": x})} if style_of(pair) == "z2" else {}
    return mean_of(pair.guide, style_of(pair), {"x": x, "y": y, **features})


def means(pair: Pair, y: Tensor, style: Tensor) -> Tensor:
    """The mean of x for labels and styles; by way of the mean of z1, if there is one."""
    if style_of(pair) == "z":
        return mean_of(pair.model, "x", {"y": y, "z": style})
    features = mean_of(pair.model, "z1", {"y": y, "z2": style})
    return mean_of(part(pair.model, "x | z1"), "x", {"z1": features})

"""What the arms of the lower-half task make of upper halves, as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from graft.data.halves import halves
from graft.data.images import Images
from graft.plots.images import draw
from graft.zoo.experiment.experiment import Pair
from graft.zoo.experiment.measure import TEST_SEED
from graft.zoo.experiment.pictures import diagram, mean_of, squares

COUNT, DRAWN, AVERAGED = 12, 4, 200


def pictures(trained: Mapping[str, Pair], test: Images, folder: Path) -> Sequence[Path]:
    """Of every arm the completions of upper halves, one by one and in the mean; the diagram.

    Args:
        trained: arms by name.
        test: images that were not trained on.
        folder: for the files.
    """
    paths = []
    for arm, pair in trained.items():
        path = folder / f"{arm}-completions.png"
        draw(_lines(pair, test), title=f"{arm}: upper halves of test images, completed", path=path)
        paths.append(path)
    return [*paths, diagram(trained, folder)]


def completions(pair: Pair, upper: Tensor, count: int) -> Tensor:
    """The mean of the lower half at draws of the hidden units, (count, n, cells)."""
    drawn = pair.model.sample((count,), upper=upper, seed=0)
    known = {name: value.flatten(0, 1) for name, value in drawn.items() if name != "lower"}
    found = mean_of(pair.model, "lower", {**known, "upper": upper.repeat(count, 1)})
    return found.unflatten(0, (count, len(upper)))


def _lines(pair: Pair, test: Images) -> list[tuple[str, np.ndarray]]:
    images = test.spaced(COUNT)
    x = images.binary(TEST_SEED)
    upper = halves(x, images.shape)["upper"]
    found = completions(pair, upper, AVERAGED)
    lines = [("image", x), ("given", _joined(upper, torch.zeros_like(found[0])))]
    lines += [("drawn", _joined(upper, lower)) for lower in found[:DRAWN]]
    lines.append(("mean", _joined(upper, found.mean(0))))
    return [(word, squares(rows, images.shape)) for word, rows in lines]


def _joined(upper: Tensor, lower: Tensor) -> Tensor:
    return torch.cat([upper, lower], -1)

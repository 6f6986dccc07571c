"""What the arms of the categorical VAE have learnt, as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graft.data.images import Images
from graft.plots.images import draw
from graft.zoo.experiment.experiment import Pair
from graft.zoo.experiment.measure import TEST_SEED
from graft.zoo.experiment.pictures import diagram, mean_of, squares

COUNT = 12


def pictures(trained: Mapping[str, Pair], test: Images, folder: Path) -> Sequence[Path]:
    """Of every arm reconstructions and samples, and one image with single variables changed; the diagram.

    Args:
        trained: arms by name.
        test: images that were not trained on.
        folder: for the files.
    """
    paths = []
    for arm, pair in trained.items():
        path = folder / f"{arm}-images.png"
        draw(_lines(pair, test), title=f"{arm}: test images, their reconstructions, samples", path=path)
        paths += [path, _changed(pair, test, arm, folder / f"{arm}-variables.png")]
    return [*paths, diagram(trained, folder)]


def guessed(pair: Pair, x: Tensor) -> Tensor:
    """The guide's probabilities of every state, (n, variables, states)."""
    assert pair.guide is not None
    with torch.no_grad():
        found: Any = pair.guide.given(x=x).marginals["z"]
        return found.probs


def means(pair: Pair, z: Tensor) -> Tensor:
    """The mean of x for each row of states."""
    return mean_of(pair.model, "x", {"z": z})


def _lines(pair: Pair, test: Images) -> list[tuple[str, np.ndarray]]:
    """Images, what the model makes of the guide's likeliest states, and its means at draws of the prior."""
    x = test.spaced(COUNT).binary(TEST_SEED)
    again = means(pair, guessed(pair, x).argmax(-1))
    drawn = means(pair, pair.model.sample((COUNT,), seed=0)["z"])
    return [(word, squares(rows, test.shape)) for word, rows in (("image", x), ("again", again), ("drawn", drawn))]


def _changed(pair: Pair, test: Images, arm: str, path: Path) -> Path:
    """The variables that tell most of x, one a line, each put through all its states while the others stay."""
    x = test.spaced(500).binary(TEST_SEED)
    q = guessed(pair, x)
    overall = q.mean(0)
    # the mutual information of each variable with the image
    told = (q * (q.clamp_min(1e-12) / overall.clamp_min(1e-12)).log()).sum(-1).mean(0)
    start, states = q[0].argmax(-1), q.shape[-1]
    lines = []
    for k in told.argsort(descending=True)[:6].tolist():
        z = start.repeat(states, 1)
        z[:, k] = torch.arange(states)
        lines.append((f"z[{k}]", squares(means(pair, z), test.shape)))
    draw(lines, title=f"{arm}: one variable through its states", path=path)
    return path

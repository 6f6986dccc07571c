r"""Handwritten digits strung into sequences that follow a grammar: scikit-learn's 8x8 images, no download.

A string of 3 to 7 digits is drawn from the grammar of `graft.data.grammar`. Each digit takes one of the
images and is read from left to right in 2 to 6 frames: frame $k$ of $d$ is the blurred image seen through a
soft window of columns, with noise on top,
$$x_{rc} = \exp\left(-\tfrac12 \left(\frac{c - c_k}{w}\right)^2\right) (G_\sigma * I)_{rc} + \epsilon_{rc},
  \qquad c_k = \frac{8 (k + 1/2)}{d} - \frac12, \quad \epsilon_{rc} \sim \mathcal N(0, \nu^2),$$
as 64 numbers, row by row, where the ink $I$ lies between 0 and 1. So one frame alone is ambiguous, but not
hopeless.

Images 0-1076 make the training strings, 1077-1436 the validation and 1437-1796 the test strings. Neighbouring
images tend to be of one writer, so blocks hold writers apart better than a shuffle would.

How the difficulty was fixed: blur $\sigma = 0.5$, noise $\nu = 0.2$ and window $w = 1.5$ were chosen from
eight settings, once and before any graphical model was run, so that a network alone is right on about 80 % of
the validation frames. The network is an MLP with two hidden layers of 64 tanh units over 3 frames (one to
each side, zeros beyond the ends), trained by cross-entropy for 25 epochs with Adam (batches of 128 frames,
learning rate 0.002, weight decay 0.0001) on the 600 training strings of `seed=0`. Frame accuracy on the 200
validation strings after the last epoch, mean of three network seeds: 78.9 % (78.5, 79.1, 79.2);
from one frame alone 61.0 %, from five frames 82.6 %.

Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
1998.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from graft.data.batches import Segment, SequenceData, Splits
from graft.data.grammar import DIGITS, NAMES, check_range
from graft.errors import DataError

SPLITS = (slice(0, 1077), slice(1077, 1437), slice(1437, 1797))


@dataclass(frozen=True)
class Difficulty:
    r"""How hard the frames are to tell apart.

    Args:
        blur: standard deviation of the Gaussian blur, in pixels; 0 for none.
        noise: standard deviation of the noise on each pixel, where full ink is 1; 0 for none.
        window: standard deviation of the window of columns that a frame sees, in pixels.

    Raises:
        DataError: a figure is negative, or the window is not positive.
    """

    blur: float = 0.5
    noise: float = 0.2
    window: float = 1.5

    def __post_init__(self) -> None:
        if not (self.blur >= 0 and self.noise >= 0 and self.window > 0):
            raise DataError(f"blur and noise must be at least 0 and window positive, but got {self}")


FIXED = Difficulty()


def load(
    sequences: tuple[int, int, int] = (600, 200, 200),
    *,
    digits: tuple[int, int] = (3, 7),
    durations: tuple[int, int] = (2, 6),
    difficulty: Difficulty = FIXED,
    seed: int = 0,
) -> Splits:
    """Training, validation and test strings with frames (N, T, 64), the same for the same arguments.

    Args:
        sequences: how many strings in each split.
        digits: fewest and most digits a string.
        durations: fewest and most frames a digit.
        difficulty: blur, noise and window; the default is what was fixed (see the head of this module).
        seed: of strings, choice of images, durations and noise. Which image is in which split is fixed.

    Raises:
        DataError: a count is less than 1, or a range is empty.

    Example:
        >>> splits = load((20, 5, 5))
        >>> splits.train.frames.shape[-1], len(splits.test)
        (64, 5)
        >>> splits.train.strings[0]
        [2, 2, 2, 5, 8, 9, 6]
    """
    if min(sequences) < 1:
        raise DataError(f"every split needs at least one sequence, but sequences={sequences}")
    check_range("digits", digits)
    check_range("durations", durations)
    images, labels = _images(difficulty.blur)
    parts = []
    for k, (count, split) in enumerate(zip(sequences, SPLITS, strict=True)):
        writer = _Writer(
            pools=[images[split][labels[split] == label] for label in range(10)],
            durations=durations,
            difficulty=difficulty,
            rng=np.random.default_rng([seed, k]),
        )
        rows = [writer.string(digits) for _ in range(count)]
        parts.append(SequenceData.from_segments(rows, names=NAMES))
    return Splits(*parts)


@dataclass(frozen=True)
class _Writer:
    """Writes strings with the images of one split; `pools` holds the images of each label."""

    pools: list[np.ndarray]
    durations: tuple[int, int]
    difficulty: Difficulty
    rng: np.random.Generator

    def string(self, digits: tuple[int, int]) -> list[Segment]:
        length = self.rng.integers(*digits, endpoint=True)
        return [self.digit(label) for label in DIGITS.draw(int(length), self.rng)]

    def digit(self, label: int) -> Segment:
        image = self.rng.choice(self.pools[label])
        duration = int(self.rng.integers(*self.durations, endpoint=True))
        frames = image * _windows(duration, self.difficulty.window)
        noise = self.difficulty.noise * self.rng.standard_normal(frames.shape)
        return _flat(frames + noise), label


def _windows(duration: int, width: float) -> np.ndarray:
    """What each frame lets through of each column: (duration, 1, 8)."""
    centres = (np.arange(duration) + 0.5) * 8 / duration - 0.5
    return np.exp(-0.5 * ((np.arange(8) - centres[:, None, None]) / width) ** 2)


def _flat(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(frames.reshape(len(frames), 64)).float()


def _images(blur: float) -> tuple[np.ndarray, np.ndarray]:
    """The blurred images (1797, 8, 8), ink between 0 and 1, and their labels (1797,)."""
    from sklearn.datasets import load_digits  # takes a second to import

    data = load_digits()
    return gaussian_filter(data.images / 16, sigma=(0, blur, blur)), data.target

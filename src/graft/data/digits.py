"""Handwritten digits of 8x8 cells, which come with scikit-learn: no download.

Images 0-1076 train, 1077-1436 are for choosing settings, 1437-1796 for measuring, as in `digit_strings`: neighbouring
images tend to be of one writer, so blocks hold writers apart better than a shuffle would.

Source: E. Alpaydin & C. Kaynak, Optical Recognition of Handwritten Digits, 1998 (CC BY 4.0).
"""

from __future__ import annotations

from itertools import pairwise

import torch

from graft.data.images import Images, Parts

BOUNDS = (1077, 1437)


def load() -> Parts:
    """The three parts, intensities from 0 to 1.

    Example:
        >>> parts = load()
        >>> len(parts.train), len(parts.valid), len(parts.test), parts.test.shape
        (1077, 360, 360, (8, 8))
    """
    from sklearn.datasets import load_digits

    told = load_digits()
    pixels = torch.from_numpy(told.data / 16.0).float()
    labels = torch.from_numpy(told.target).long()
    edges = (0, *BOUNDS, len(labels))
    return Parts(*(Images(pixels[a:b], labels[a:b], (8, 8), 17) for a, b in pairwise(edges)))

"""MNIST: 60,000 handwritten digits of 28x28 cells to learn from and 10,000 to measure on.

Source: Y. LeCun, C. Cortes & C. Burges, The MNIST database of handwritten digits, 1998.
"""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from graft.data.images import Images, Parts
from graft.errors import DataError

#: Magic numbers of the IDX format: unsigned bytes in three dimensions, and in one.
_PIXELS, _LABELS = 0x803, 0x801
SIDE = 28


def load(folder: str | Path, held_out: int = 0) -> Parts:
    """The digits, intensities from 0 to 1.

    Args:
        folder: with the four `*-ubyte.gz` files; `graft.data.fetch.fetch("mnist", folder)` brings them.
        held_out: how many of the training images, from the end, are the part to choose settings by.

    Raises:
        DataError: a file is not there or is not as the format says.

    Example:
        >>> load("no/such/folder")
        Traceback (most recent call last):
        graft.errors.DataError: ...train-images-idx3-ubyte.gz is not there: ...
    """
    train, test = _part(Path(folder), "train"), _part(Path(folder), "t10k")
    if not 0 <= held_out < len(train):
        raise DataError(f"held_out must be from 0 to {len(train) - 1}, not {held_out}")
    rows = torch.arange(len(train))
    kept = len(train) - held_out
    return Parts(train.take(rows[:kept]), train.take(rows[kept:]), test)


def _part(folder: Path, name: str) -> Images:
    pixels = _read(folder / f"{name}-images-idx3-ubyte.gz", _PIXELS)
    labels = _read(folder / f"{name}-labels-idx1-ubyte.gz", _LABELS)
    count, highest = len(labels), int(labels.max())
    if pixels.shape != (count, SIDE, SIDE) or highest > 9:
        raise DataError(
            f"{folder}: {name} has images {tuple(pixels.shape)} and {count} labels up to {highest}; "
            f"expected as many {SIDE}x{SIDE} images as labels from 0 to 9"
        )
    return Images(pixels.flatten(1).float() / 255, labels.long(), (SIDE, SIDE))


def _read(path: Path, magic: int) -> Tensor:
    """The bytes of an IDX file: a magic number, the sizes (big-endian), the entries."""
    if not path.is_file():
        raise DataError(
            f"{path} is not there: folder= tells where the four files of MNIST are; to download them, "
            f'from graft.data.fetch import fetch; fetch("mnist", {str(path.parent)!r})'
        )
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as a gzip file: {error}") from error
    rank = magic & 0xFF
    start = 4 * (1 + rank)
    if len(content) < start or int.from_bytes(content[:4]) != magic:
        raise DataError(f"{path} does not begin as an IDX file of {rank} dimensions")
    sizes = np.frombuffer(content[4:start], ">u4").tolist()
    body = np.frombuffer(content, np.uint8, offset=start)
    if len(body) == 0 or len(body) != prod(sizes):
        raise DataError(f"{path} says {sizes}, but holds {len(body)} entries")
    return torch.from_numpy(body.reshape(sizes).copy())

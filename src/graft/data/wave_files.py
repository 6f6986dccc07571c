"""Recordings of the Free Spoken Digit Dataset: where they are, who speaks, and the samples."""

from __future__ import annotations

import re
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from graft.errors import DataError

RATE = 8000
NAME = re.compile(r"([0-9])_([a-z]+)_([0-9]+)\.wav")
_HINT = (
    "expected files named {digit}_{speaker}_{index}.wav (8 kHz, 16 bit, mono), there or in its subfolder "
    "'recordings'; get them with graft.data.fetch.fetch(\"fsdd\", folder)"
)


@dataclass(frozen=True)
class Recording:
    """One spoken digit: the file, and what its name says."""

    path: Path
    digit: int
    speaker: str
    index: int


def find(folder: str | Path) -> list[Recording]:
    """The recordings in `folder` or its subfolder `recordings`, sorted by digit, speaker and index.

    Raises:
        DataError: the folder is not there or holds no recordings, or a file is not named as expected.

    Example:
        >>> find("no/such/folder")
        Traceback (most recent call last):
        graft.errors.DataError: there is no data folder no/such/folder: expected files named ...
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"there is no data folder {folder}: {_HINT}")
    inner = folder / "recordings"
    paths = (inner if inner.is_dir() else folder).glob("*.wav")
    found = sorted((_parse(path) for path in paths), key=lambda r: (r.digit, r.speaker, r.index))
    if not found:
        raise DataError(f"the data folder {folder} holds no recordings: {_HINT}")
    return found


def read(path: str | Path) -> Float[Tensor, " samples"]:
    """The samples of a wave file (8 kHz, 16 bit, mono), between -1 and 1.

    Raises:
        DataError: the file is malformed, cut short, empty or of another format.

    Example:
        >>> read("no/such/3_theo_0.wav")
        Traceback (most recent call last):
        graft.errors.DataError: no/such/3_theo_0.wav cannot be read as a wave file: ...
    """
    try:
        with wave.open(str(path), "rb") as file:
            form = (file.getframerate(), 8 * file.getsampwidth(), file.getnchannels())
            count, content = file.getnframes(), file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise DataError(f"{path} cannot be read as a wave file: {error or type(error).__name__}") from error
    if form != (RATE, 16, 1):
        rate, bits, channels = form
        raise DataError(f"{path} has {rate} Hz, {bits} bit, {channels} channels; expected {RATE}, 16, 1")
    if count == 0 or len(content) != 2 * count:
        raise DataError(f"{path} is cut short: it holds {len(content) // 2} of {count} samples")
    samples = np.frombuffer(content, dtype="<i2").astype(np.float32)
    return torch.from_numpy(samples / 32768)


def _parse(path: Path) -> Recording:
    match = NAME.fullmatch(path.name)
    if match is None:
        raise DataError(f"{path} is not named {{digit}}_{{speaker}}_{{index}}.wav")
    digit, speaker, index = match.groups()
    return Recording(path, int(digit), speaker, int(index))

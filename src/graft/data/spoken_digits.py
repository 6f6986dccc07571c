"""Spoken digits strung into sentences that follow a grammar: the Free Spoken Digit Dataset as log-mel frames.

A sentence is a string of 3 to 7 digits, drawn from the grammar of `graft.data.grammar`, of one speaker; each
digit takes one of the speaker's recordings in the split. The recordings are joined without pauses: a pause
with a label of its own would hide the digit before it from a first-order chain over labels. So there are ten
labels. Quiet edges of a recording (35 dB below its loudest frame; some have a second of them) are cut off but
for 50 ms, which carry the label of their digit.

Frames. 20 log-mel bands (windows of 25 ms, every 10 ms), three neighbours stacked: 60 numbers every 30 ms.
The mean of each band over the sentence is taken off, so that level and microphone count less; then each band
is divided by its standard deviation over the training recordings, so no figure of a held-out split is used.

Splits. `"official"`: recordings 0-4 of each speaker and digit are the test set, as the authors of the data
say, 5-9 are held out for validation, the rest trains. `"speakers"`: nobody is heard in two splits: jackson,
nicolas and theo train, yweweler validates, george and lucas test.

A network alone (MLP and training as in `graft.data.digit_strings`, but 8 epochs) is right on 76.8 % of
the validation frames of "official" from 3 frames and 80.7 % from 5; on 55.0 % and 59.1 % of "speakers" (means
of three network seeds). The preparation above was chosen on these validation data; taking off one mean for
all sentences instead gives 78.6 % and 50.1 % from 3 frames (one seed).

Source: Z. Jackson and others, Free Spoken Digit Dataset, github.com/Jakobovski/free-spoken-digit-dataset,
recordings under CC BY-SA 4.0.
"""

from __future__ import annotations

import math
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from graft.data.batches import Segment, SequenceData, Splits
from graft.data.grammar import DIGITS, NAMES, check_range
from graft.data.log_mel import log_mel
from graft.data.wave_files import Recording, find, read
from graft.errors import DataError

BANDS = 20
STACK = 3
QUIET = 35 * math.log(10) / 10  # 35 dB, as a difference of log energies
MARGIN = 5  # frames
SPEAKERS = {"train": ("jackson", "nicolas", "theo"), "valid": ("yweweler",), "test": ("george", "lucas")}
PARTS = ("train", "valid", "test")
Utterance = tuple[Recording, Tensor]  # log-mel frames (duration, BANDS), a multiple of STACK of them
Pools = dict[str, list[list[Tensor]]]  # by speaker, then digit: the recordings to choose from


def load(
    folder: str | Path,
    *,
    split: str = "official",
    sequences: tuple[int, int, int] = (600, 200, 200),
    digits: tuple[int, int] = (3, 7),
    seed: int = 0,
) -> Splits:
    """Training, validation and test sentences with frames (N, T, 60), the same for the same arguments.

    Args:
        folder: where the recordings are; `graft.data.fetch` can put them there.
        split: "official" or "speakers" (see the head of this module).
        sequences: how many sentences in each split.
        digits: fewest and most digits a sentence.
        seed: of strings, speakers and choice of recordings. Which recording is in which split is fixed.

    Raises:
        DataError: the folder, a speaker or a digit is missing, a file is malformed, or an argument is wrong.

    Example:
        >>> load("no/such/folder")
        Traceback (most recent call last):
        graft.errors.DataError: there is no data folder .../no/such/folder: expected files named ...
    """
    if min(sequences) < 1:
        raise DataError(f"every split needs at least one sequence, but sequences={sequences}")
    check_range("digits", digits)
    held = _divide(utterances(Path(folder).absolute()), split)
    scale = torch.cat([frames - frames.mean(0) for _, frames in held["train"]]).std(0)
    parts = []
    for k, (count, part) in enumerate(zip(sequences, PARTS, strict=True)):
        pools, rng = _pools(held[part], part), np.random.default_rng([seed, k])
        rows = [_sentence(pools, digits, rng) for _ in range(count)]
        parts.append(SequenceData.from_segments([_finish(row, scale) for row in rows], names=NAMES))
    return Splits(*parts)


@lru_cache(maxsize=2)
def utterances(folder: Path) -> tuple[Utterance, ...]:
    """Every recording in the folder with its log-mel frames; kept in memory after the first call."""
    return tuple((recording, _frames(recording)) for recording in find(folder))


def _frames(recording: Recording) -> Float[Tensor, "frames bands"]:
    frames = _trim(log_mel(read(recording.path), bands=BANDS))
    if len(frames) < STACK:
        raise DataError(f"{recording.path} is too short: {STACK} frames of 10 ms are needed")
    return frames[: len(frames) // STACK * STACK]


def _trim(frames: Tensor) -> Tensor:
    energy = frames.logsumexp(-1)
    loud = (energy > energy.max() - QUIET).nonzero()
    return frames[max(0, int(loud[0]) - MARGIN) : int(loud[-1]) + 1 + MARGIN]


def _divide(spoken: tuple[Utterance, ...], split: str) -> dict[str, list[Utterance]]:
    if split not in ("official", "speakers"):
        raise DataError(f"unknown split {split!r}; expected 'official' or 'speakers'")
    part_of = _by_index if split == "official" else _by_speaker
    held: dict[str, list[Utterance]] = {part: [] for part in PARTS}
    for recording, frames in spoken:
        held[part_of(recording)].append((recording, frames))
    for part, content in held.items():
        if not content:
            raise DataError(f"the {part} part of split {split!r} is empty: no recordings belong to it")
    return held


def _by_index(recording: Recording) -> str:
    return "test" if recording.index < 5 else "valid" if recording.index < 10 else "train"


def _by_speaker(recording: Recording) -> str:
    for part, speakers in SPEAKERS.items():
        if recording.speaker in speakers:
            return part
    raise DataError(f"{recording.path}: split 'speakers' does not know the speaker {recording.speaker!r}")


def _pools(spoken: list[Utterance], part: str) -> Pools:
    pools: Pools = defaultdict(lambda: [[] for _ in NAMES])
    for recording, frames in spoken:
        pools[recording.speaker][recording.digit].append(frames)
    for speaker, by_digit in pools.items():
        missing = [digit for digit, choice in enumerate(by_digit) if not choice]
        if missing:
            raise DataError(f"the {part} part has no recordings of the digits {missing} by {speaker}")
    return dict(pools)


def _sentence(pools: Pools, digits: tuple[int, int], rng: np.random.Generator) -> list[Segment]:
    by_digit = pools[sorted(pools)[rng.integers(len(pools))]]
    string = DIGITS.draw(int(rng.integers(*digits, endpoint=True)), rng)
    return [(by_digit[digit][rng.integers(len(by_digit[digit]))], digit) for digit in string]


def _finish(row: list[Segment], scale: Tensor) -> list[Segment]:
    """Level the bands over the sentence, scale them, and stack neighbouring frames."""
    mean = torch.cat([frames for frames, _ in row]).mean(0)
    return [(((frames - mean) / scale).reshape(-1, STACK * BANDS), digit) for frames, digit in row]

"""Labelled sequences of unequal length as padded tensors, and minibatches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.utils.data import Sampler

from graft.errors import DataError

PAD_LABEL = -1

Segment = tuple[Tensor, int]  # frames (duration, D) and their label


@dataclass(frozen=True)
class SequenceData:
    r"""N sequences of frames, each cut into labelled segments, padded to the longest.

    Two neighbouring segments may have the same label ("3 3"), so the frame labels alone do not tell the
    string; `starts` marks where each segment begins.

    Args:
        frames: floats (N, T, D); zero after the end of a row.
        lengths: integers (N,), how many frames of each row exist, between 1 and T.
        labels: integers (N, T), the label of each frame; -1 after the end.
        starts: booleans (N, T), True on the first frame of each segment.
        names: what the labels 0, 1, ... are called.

    Raises:
        DataError: the data are empty, of wrong type or shape, not finite, or a label is out of range.

    Example:
        >>> rows = [[(torch.ones(2, 4), 3), (torch.ones(1, 4), 3)], [(torch.ones(1, 4), 0)]]
        >>> data = SequenceData.from_segments(rows, names=tuple("0123456789"))
        >>> data.frames.shape, data.strings
        (torch.Size([2, 3, 4]), [[3, 3], [0]])
    """

    # plain tensors: shapes are checked below, with an error that a user can read
    frames: Tensor
    lengths: Tensor
    labels: Tensor
    starts: Tensor
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_types(self)
        _check_shapes(self)
        _check_frames(self)
        _check_labels(self)

    @classmethod
    def from_segments(cls, rows: Sequence[Sequence[Segment]], *, names: tuple[str, ...]) -> SequenceData:
        """Join the segments of each row, frames (duration, D) with a label each, and pad the rows."""
        if not rows or not all(rows):
            raise DataError("empty data: at least one sequence with at least one segment is needed")
        labels = [[label for frames, label in row for _ in range(len(frames))] for row in rows]
        starts = [[k == 0 for frames, _ in row for k in range(len(frames))] for row in rows]
        return cls(
            frames=pad([torch.cat([frames for frames, _ in row]) for row in rows]),
            lengths=torch.tensor([len(row) for row in labels]),
            labels=pad([torch.tensor(row, dtype=torch.long) for row in labels], value=PAD_LABEL),
            starts=pad([torch.tensor(row, dtype=torch.bool) for row in starts]),
            names=names,
        )

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def mask(self) -> Bool[Tensor, "N T"]:
        """Which frames exist."""
        return torch.arange(self.labels.shape[1], device=self.lengths.device) < self.lengths.unsqueeze(-1)

    @property
    def strings(self) -> list[list[int]]:
        """The label string of each sequence: one label a segment."""
        return [row[start].tolist() for row, start in zip(self.labels, self.starts, strict=True)]

    def batch(self, indices: Sequence[int] | Int[Tensor, " n"]) -> SequenceData:
        """The sequences with these indices, in this order, cut to the longest of them."""
        index = torch.as_tensor(indices, dtype=torch.long, device=self.lengths.device)
        if index.numel() == 0:
            raise DataError("an empty batch: no indices were given")
        lengths = self.lengths[index]
        longest = int(lengths.max())
        frames, labels, starts = (x[index, :longest] for x in (self.frames, self.labels, self.starts))
        return replace(self, frames=frames, lengths=lengths, labels=labels, starts=starts)

    def to(self, device: torch.device | str) -> SequenceData:
        """The same data on another device."""
        tensors = {name: value.to(device) for name, value in self.tensors().items()}
        return SequenceData(**tensors, names=self.names)

    def tensors(self) -> dict[str, Tensor]:
        """The padded tensors by name: `frames`, `lengths`, `labels`, `starts`."""
        return {"frames": self.frames, "lengths": self.lengths, "labels": self.labels, "starts": self.starts}


class Splits(NamedTuple):
    """Training, validation and test data that share no recording and no image."""

    train: SequenceData
    valid: SequenceData
    test: SequenceData


def pad(rows: Sequence[Tensor], *, value: int | float = 0) -> Tensor:
    """Rows (T_n, ...) of unequal length as one tensor (N, max T_n, ...), filled up with `value`.

    Raises:
        DataError: there are no rows.

    Example:
        >>> pad([torch.tensor([1, 2]), torch.tensor([3])], value=-1).tolist()
        [[1, 2], [3, -1]]
    """
    if not rows:
        raise DataError("empty data: there are no rows to pad")
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)


def minibatches(
    data: SequenceData, size: int, *, generator: torch.Generator | None = None, by_length: bool = False
) -> Iterator[SequenceData]:
    """One pass over the data in batches of at most `size` sequences.

    Args:
        data: what to go through.
        size: sequences a batch, at least 1; the last batch may be smaller.
        generator: shuffles sequences and batches; without one they come in order.
        by_length: whether to put sequences of like length together, so that little is padded.

    Raises:
        DataError: `size` is less than 1.

    Example:
        >>> rows = [[(torch.zeros(duration, 1), 0)] for duration in (5, 1, 4)]
        >>> data = SequenceData.from_segments(rows, names=("a",))
        >>> [batch.lengths.tolist() for batch in minibatches(data, 2, by_length=True)]
        [[1, 4], [5]]
    """
    if size < 1:
        raise DataError(f"a batch needs at least one sequence, but size={size}")
    return (data.batch(index) for index in _partition(data.lengths, size, generator, by_length))


class ByLength(Sampler[list[int]]):
    """The indices of shuffled batches, sequences of like length together; for a `DataLoader` without a batch size.

    Args:
        lengths: integers (N,).
        size: sequences a batch.
        generator: shuffles anew at each pass.

    Example:
        >>> batches = ByLength(torch.tensor([5, 1, 4]), 2, torch.Generator().manual_seed(0))
        >>> sorted(sorted(batch) for batch in batches)
        [[0], [1, 2]]
    """

    def __init__(self, lengths: Tensor, size: int, generator: torch.Generator) -> None:
        self.lengths, self.size, self.generator = lengths, size, generator

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        for part in _partition(self.lengths, self.size, self.generator, True):
            yield part.tolist()


def _partition(lengths: Tensor, size: int, generator: torch.Generator | None, by_length: bool) -> list[Tensor]:
    order = torch.arange(len(lengths)) if generator is None else torch.randperm(len(lengths), generator=generator)
    if by_length:
        # stable, so that the shuffle decides among sequences of the same length
        order = order[lengths.cpu()[order].argsort(stable=True)]
    parts = list(order.split(size))
    if generator is None:
        return parts
    return [parts[int(k)] for k in torch.randperm(len(parts), generator=generator)]


def _check_types(data: SequenceData) -> None:
    found = {name: value.dtype for name, value in data.tensors().items()}
    integer = (torch.int16, torch.int32, torch.int64)
    good = found["frames"].is_floating_point and found["starts"] == torch.bool
    if not (good and found["lengths"] in integer and found["labels"] in integer):
        raise DataError(f"frames must be floats, lengths and labels integers, starts booleans; got {found}")


def _check_shapes(data: SequenceData) -> None:
    if data.frames.dim() != 3 or 0 in data.frames.shape:
        raise DataError(f"frames must be (N, T, D) and not empty, but have shape {tuple(data.frames.shape)}")
    rows, steps, _ = data.frames.shape
    for name, expected in {"lengths": (rows,), "labels": (rows, steps), "starts": (rows, steps)}.items():
        shape = tuple(getattr(data, name).shape)
        if shape != expected:
            raise DataError(f"{name} must have shape {expected} to go with the frames, but has {shape}")
    if bool(((data.lengths < 1) | (data.lengths > steps)).any()):
        raise DataError(f"lengths must lie between 1 and {steps}, but are {data.lengths.tolist()[:20]}")


def _check_frames(data: SequenceData) -> None:
    wrong = (~data.frames.isfinite().all(-1) & data.mask).any(-1)
    if bool(wrong.any()):
        raise DataError(f"frames are not finite in sequences {wrong.nonzero().flatten().tolist()[:20]}")


def _check_labels(data: SequenceData) -> None:
    inside = (data.labels >= 0) & (data.labels < len(data.names))
    wrong = torch.where(data.mask, ~inside, data.labels != PAD_LABEL)
    if bool(wrong.any()):
        row, step = wrong.nonzero()[0].tolist()
        expected = f"0 to {len(data.names) - 1} up to its length, {PAD_LABEL} after it"
        raise DataError(f"labels[{row}, {step}] is {int(data.labels[row, step])}; expected {expected}")
    change = torch.ones_like(data.starts)
    change[:, 1:] = data.labels[:, 1:] != data.labels[:, :-1]
    if bool(((change & data.mask & ~data.starts) | (data.starts & ~data.mask)).any()):
        raise DataError("starts must be True where a row begins and its label changes, False after its end")

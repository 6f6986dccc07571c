r"""The states of the chain: every label has several, passed from left to right.

State $k$ of label $l$ has the number $l K + k$. A label is entered by its first state, which lasts one frame;
from there one goes onward or stays, and leaves by the last state only. So the first states mark where segments
begin: what the frame labels and the starts of segments say is exactly a set of allowed states at each frame,
and "3 3" is another event than one long "3". The shortest segment has two frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from graft.data.batches import SequenceData
from graft.errors import DataError, GraftError
from graft.inference.evidence import Partial

#: Added to the count of every possible move, so that none that was not seen becomes impossible.
PSEUDOCOUNT = 0.1


@dataclass(frozen=True)
class States:
    """Numbers the left-to-right states of labels.

    Args:
        labels: how many labels there are.
        per_label: how many states each has, at least two.

    Raises:
        GraftError: there is no label, or fewer than two states: one alone could not tell "3 3" from "3".

    Example:
        >>> states = States(labels=2, per_label=3)
        >>> states.moves.int()[:3]
        tensor([[0, 1, 1, 0, 0, 0],
                [0, 1, 1, 0, 0, 0],
                [1, 0, 1, 1, 0, 0]], dtype=torch.int32)
    """

    labels: int
    per_label: int

    def __post_init__(self) -> None:
        if self.labels < 1 or self.per_label < 2:
            raise GraftError(f"at least one label of at least two states is needed, not {self}")

    @property
    def count(self) -> int:
        """How many states there are in all."""
        return self.labels * self.per_label

    @property
    def label(self) -> Int[Tensor, " states"]:
        """The label of each state."""
        return torch.arange(self.count) // self.per_label

    @property
    def first(self) -> Bool[Tensor, " states"]:
        """Which states a segment begins with."""
        return torch.arange(self.count) % self.per_label == 0

    @property
    def last(self) -> Bool[Tensor, " states"]:
        """Which states a segment is left by."""
        return self.first.roll(-1)

    @property
    def moves(self) -> Bool[Tensor, "states states"]:
        """Which state may follow which: from row to column."""
        place = torch.arange(self.count)
        onward = (self.label[:, None] == self.label) & (place[:, None] <= place) & ~self.first
        return onward | (self.last[:, None] & self.first)

    def evidence(self, data: SequenceData) -> Partial:
        """What labels and starts of segments say of the states (N, T, states)."""
        return Partial(self._of_label(data) & (data.starts.unsqueeze(-1) == self.first))

    def frame_evidence(self, data: SequenceData) -> Partial:
        """What the frame labels alone say: any state of the label, wherever segments begin."""
        return Partial(self._of_label(data))

    def _of_label(self, data: SequenceData) -> Bool[Tensor, "N T states"]:
        return data.labels.unsqueeze(-1) == self.label

    def aligned(self, data: SequenceData) -> Int[Tensor, "N T"]:
        r"""A first guess of the states: frame $p$ of $d$ is in state $\lceil p (K - 1) / (d - 1) \rceil$.

        At frames that do not exist it is -1.

        Raises:
            DataError: a segment has one frame only.
        """
        position, duration = _places(data)
        if bool(((duration == 1) & data.mask).any()):
            raise DataError("a segment has one frame, but a label lasts two at least")
        place = -(-position * (self.per_label - 1) // (duration - 1).clamp_min(1))
        return torch.where(data.mask, data.labels * self.per_label + place, -1)

    def counted(self, data: SequenceData) -> tuple[Float[Tensor, " states"], Float[Tensor, "states states"]]:
        """Probabilities of the first state and of each move, counted on `aligned`; 0 where none is possible."""
        path = self.aligned(data)
        entry = torch.bincount(path[:, 0], minlength=self.count) + PSEUDOCOUNT
        there = data.mask[:, 1:]
        pairs = path[:, :-1][there] * self.count + path[:, 1:][there]
        moves = torch.bincount(pairs, minlength=self.count**2).reshape(self.count, self.count) + PSEUDOCOUNT
        return _normalised(entry * self.first), _normalised(moves * self.moves)

    def strings(self, path: Int[Tensor, "N T"], lengths: Int[Tensor, " N"]) -> list[list[int]]:
        """The label strings of paths of states: one label for each first state.

        Example:
            >>> States(2, 2).strings(torch.tensor([[2, 3, 2, 3, 3, 0]]), torch.tensor([5]))
            [[1, 1]]
        """
        label, first = self.label, self.first
        rows = [row[:length] for row, length in zip(path, lengths.tolist(), strict=True)]
        return [label[row[first[row]]].tolist() for row in rows]

    def pooled(self, marginals: Float[Tensor, "*batch states"]) -> Float[Tensor, "*batch labels"]:
        """The probability of each label: the sum over its states."""
        return marginals.unflatten(-1, (self.labels, self.per_label)).sum(-1)


def _places(data: SequenceData) -> tuple[Int[Tensor, "N T"], Int[Tensor, "N T"]]:
    """Where each frame stands in its segment, counted from 0, and how many frames that has."""
    time = torch.arange(data.labels.shape[1]).expand_as(data.labels)
    begin = torch.where(data.starts, time, 0).cummax(-1).values
    ends = torch.where(data.starts | ~data.mask, time, data.labels.shape[1])
    after = torch.cat([ends[:, 1:], torch.full_like(ends[:, :1], data.labels.shape[1])], -1)
    end = after.flip(-1).cummin(-1).values.flip(-1)
    return time - begin, end - begin


def _normalised(counts: Tensor) -> Tensor:
    return counts / counts.sum(-1, keepdim=True)

"""What a segmentation must be to have a score."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import pad

from graft.errors import GraftError
from graft.structured.checks import expand_states, integers_only, spread
from graft.structured.existence import Existence


class Cut(NamedTuple):
    """A segmentation of compacted elements.

    Attributes:
        labels: (..., slots).
        durations: (..., slots), 0 where no segment starts.
        alive: (..., slots), which elements exist.
        lengths: (..., 1).
    """

    labels: Int[Tensor, "*n slots"]
    durations: Int[Tensor, "*n slots"]
    alive: Bool[Tensor, "*#n slots"]
    lengths: Int[Tensor, "*#n 1"]


def cut(labels: Tensor, durations: Tensor, existence: Existence, states: int) -> Cut:
    """Labels and durations of existing elements, moved to the front.

    Raises:
        ShapeError: the last dimension is not T, or the others do not broadcast with the batch.
        GraftError: a type is not an integer one, a label is outside 0..S-1, or the durations do not tile each row.
    """
    batch = existence.batch_shape
    exists, alive = (x.reshape(*batch, existence.slots) for x in (existence.mask, existence.alive))
    lengths = existence.lengths.reshape(*batch, 1)
    found = []
    for name, x in (("labels", labels), ("durations", durations)):
        integers_only(x, name)
        x = pad(expand_states(x, batch, existence.length), (0, existence.slots - existence.length))
        x = torch.where(exists, x, 0).long()
        order = existence.order
        found.append(x if order is None else x.gather(-1, order.reshape(*batch, existence.slots).expand_as(x)))
    labels, durations = torch.broadcast_tensors(*found)
    if bool(((labels < 0) | (labels >= states)).any()):
        raise GraftError(f"labels must be in 0..{states - 1} at existing elements, not {spread(labels)}")
    _refuse_torn(labels, durations, lengths)
    return Cut(labels, durations, alive, lengths)


def _refuse_torn(labels: Tensor, durations: Tensor, lengths: Tensor) -> None:
    time = torch.arange(labels.shape[-1], device=labels.device)
    starts = durations > 0
    before = durations.cumsum(-1) - durations
    tiled = (~starts | (before == time)).all(-1) & (durations.sum(-1) == lengths[..., 0]) & (durations >= 0).all(-1)
    start = torch.where(starts, time, 0).cummax(-1).values
    same = ((labels == labels.gather(-1, start)) | (time >= lengths)).all(-1)
    if not bool((tiled | (lengths[..., 0] == 0)).all()):
        where = (~tiled).nonzero()[0].tolist()
        raise GraftError(
            f"durations of row {where} do not tile it: from the first existing element on, each segment starts where"
            " the one before it ends, durations stand at starts and are 0 elsewhere, and they sum to the row's length"
        )
    if not bool(same.all()):
        raise GraftError(f"labels of row {(~same).nonzero()[0].tolist()} change within a segment")

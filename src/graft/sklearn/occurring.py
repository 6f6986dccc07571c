"""Which weights of a chain are learnt: by default, as in CRFsuite, those of what occurs in the training data."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from graft.data.tag_schemes import Allowed
from graft.sklearn.array_reader import ArrayReader
from graft.sklearn.attribute_reader import AttributeReader
from graft.sklearn.labels import UNKNOWN
from graft.sklearn.sequences import Sequences
from graft.sklearn.structure import Parts
from graft.sklearn.weights import Weights


def learnt(
    parts: Parts,
    reader: AttributeReader | ArrayReader,
    sequences: Sequences,
    codes: np.ndarray,
    rule: Allowed,
    *,
    all_states: bool,
    all_transitions: bool,
    ends: bool,
) -> Weights:
    """The weights to learn; the others stay at zero, and what is forbidden at minus infinity.

    An element that is not annotated may have every label, so everything about it occurs.

    Args:
        parts: of the model.
        reader: of the inputs.
        sequences: the inputs.
        codes: (elements,), numbers of the labels.
        rule: what labels may do.
        all_states: learn weights of all attributes with all labels.
        all_transitions: learn weights of all allowed pairs of labels.
        ends: learn weights of the first and the last label.
    """
    possible = np.where((codes == UNKNOWN)[:, None], True, codes[:, None] == np.arange(len(rule.first)))
    pairs = rule.pairs if all_transitions else rule.pairs & _pairs(possible, sequences)
    masks = {"transitions": pairs}
    if ends:
        masks |= {"first": rule.first, "last": rule.last}
    if reader.intercept:
        masks["intercept"] = torch.ones_like(rule.first)
    free = [(parts.tables[name], mask) for name, mask in masks.items()]
    scores = torch.ones_like(parts.scores, dtype=torch.bool)
    if not all_states:
        found = reader.occur(sequences, possible)
        scores[: len(found)] = found
    return Weights([*free, (parts.scores, scores)])


def _pairs(possible: np.ndarray, sequences: Sequences) -> Tensor:
    """Which labels stand side by side within a sequence."""
    inside = np.ones(len(possible), dtype=bool)
    inside[sequences.starts[:-1][sequences.lengths > 0]] = False
    later = np.flatnonzero(inside)
    count = possible[later - 1].T.astype(np.float64) @ possible[later].astype(np.float64)
    return torch.from_numpy(count > 0)

"""Labels of sequences as numbers, and back."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from torch import Tensor

from graft.errors import GraftError
from graft.sklearn.items import hashable, plain

#: The number of an element that nobody annotated, and of a label that fitting has not seen.
UNKNOWN, UNSEEN = -1, -2


def flattened(y: Sequence[Any], lengths: np.ndarray, ignore: Any) -> list[Any]:
    """All labels in a row, None where nothing is annotated.

    Args:
        y: a sequence of labels for every sequence of X.
        lengths: (sequences,), those of X.
        ignore: a value that means the same as None.

    Raises:
        GraftError: the lengths differ from those of X, or a label is not hashable or not equal to itself.

    Example:
        >>> flattened([["N", None], [-100]], np.array([2, 1]), -100)
        ['N', None, None]
    """
    if len(y) != len(lengths):
        raise GraftError(f"X has {len(lengths)} sequences, y has {len(y)}")
    found: list[Any] = []
    for number, (one, length) in enumerate(zip(y, lengths.tolist(), strict=True)):
        if len(one) != length:
            raise GraftError(f"X[{number}] has {length} elements, y[{number}] has {len(one)} labels")
        for place, label in enumerate(one.tolist() if isinstance(one, np.ndarray | Tensor) else one):
            found.append(_checked(plain(label), ignore, f"y[{number}][{place}]"))
    return found


def classes_of(flat: Sequence[Any], told: Any, ignore: Any = None) -> list[Hashable]:
    """The labels that sequences may have: those told, else those seen, sorted if they can be.

    Raises:
        GraftError: no label is there, one is told twice or means "not annotated", or one is seen that was not told.

    Example:
        >>> classes_of(["V", None, "N"], None), classes_of(["N"], ["O", "N"])
        (['N', 'V'], ['O', 'N'])
    """
    seen = list(dict.fromkeys(label for label in flat if label is not None))
    if told is None:
        if not seen:
            raise GraftError("y holds no label: there is nothing to learn from")
        return _sorted(seen)
    known = _told(told, ignore)
    missing = [label for label in seen if label not in set(known)]
    if missing:
        raise GraftError(f"y holds the label {missing[0]!r}, which labels= does not list")
    return known


def _told(told: Any, ignore: Any) -> list[Hashable]:
    if isinstance(told, str | bytes | Mapping | Set) or not isinstance(told, Iterable):
        raise GraftError(f"labels must be a list of labels, not {told!r}")
    known = []
    for number, label in enumerate(told.tolist() if isinstance(told, np.ndarray | Tensor) else told):
        known.append(_checked(plain(label), ignore, f"labels[{number}]"))
        if known[-1] is None:
            raise GraftError(f"labels[{number}] is {label!r}, which stands for no label")
    if not known or len(set(known)) < len(known):
        raise GraftError(f"labels must be distinct, at least one; got {known!r}")
    return known


def coded(flat: Sequence[Any], classes: Sequence[Hashable]) -> np.ndarray:
    """(elements,), the number of each label.

    Example:
        >>> coded(["V", None, "?"], ["N", "V"])
        array([ 1, -1, -2])
    """
    numbers = {label: number for number, label in enumerate(classes)}
    return np.array([UNKNOWN if label is None else numbers.get(label, UNSEEN) for label in flat], dtype=np.int64)


def _checked(label: Any, ignore: Any, where: str) -> Any:
    if label is None or (ignore is not None and label == ignore):
        return None
    if not hashable(label) or label != label:
        raise GraftError(f"{where} is {label!r}; a label is hashable and equal to itself, None is unannotated")
    return label


def _sorted(labels: list[Any]) -> list[Any]:
    try:
        return sorted(labels)
    except TypeError:
        return labels

"""Which reader a kind of sequences needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graft.errors import GraftError
from graft.sklearn.array_reader import ArrayReader
from graft.sklearn.attribute_reader import AttributeReader
from graft.sklearn.sequences import is_array

Reader = AttributeReader | ArrayReader


def reader_for(sequences: Sequence[Any]) -> Reader:
    """The reader of this kind of sequences, told by the first that is not empty.

    Raises:
        GraftError: there is none.

    Example:
        >>> import numpy as np
        >>> reader_for([[], ["time", "flies"]]).kind, reader_for([np.zeros((3, 2))]).kind
        ('attributes', 'arrays')
    """
    first = next((one for one in sequences if len(one)), None)
    if first is None:
        raise GraftError("X holds no element: there is nothing to learn from")
    return ArrayReader() if is_array(first) else AttributeReader()

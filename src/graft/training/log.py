"""The log of a run: a row an epoch, the same bytes however often the run was interrupted."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from torch import Tensor

from graft.errors import GraftError
from graft.training.durable import named, put

Row = dict[str, float | int]
#: Columns that a watched figure cannot be called.
OWN = ("epoch", "step", "loss", "valid", "seconds")


def figures(found: Any) -> Row:
    """Watched figures as plain numbers.

    Raises:
        GraftError: they are no dict, or one is no number, or is called like a column of the log's own.
    """
    if not isinstance(found, Mapping):
        raise GraftError(f"watch must give a dict of figures by name, not {found!r}")
    row: Row = {}
    for name, value in found.items():
        if name in OWN:
            raise GraftError(f"a watched figure cannot be called {name!r}: the log has one of its own")
        number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        if not isinstance(number, Real):
            raise GraftError(f"the watched figure {name} is a {type(value).__name__}, not a number")
        row[str(name)] = int(number) if isinstance(number, Integral) else float(number)
    return row


class Table:
    """Rows of numbers as a CSV file; floats are written so that reading gives the same number.

    Args:
        path: of the file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Table(Path(folder, "log.csv")).write([{"epoch": 1, "loss": 0.1}])
        ...     Path(folder, "log.csv").read_text()
        'epoch,loss\\n1,0.1\\n'
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = []

    def write(self, rows: Sequence[Row]) -> None:
        """The whole file anew.

        Raises:
            GraftError: it cannot be written.
        """
        self.columns = list(dict.fromkeys(name for row in rows for name in row))
        put(self.path, self._lines([dict(zip(self.columns, self.columns, strict=True)), *rows]))

    def add(self, rows: Sequence[Row]) -> None:
        """The file with the last of the rows added.

        Raises:
            GraftError: it cannot be written.
        """
        if not self.columns or any(name not in self.columns for name in rows[-1]):
            return self.write(rows)
        with named(self.path), self.path.open("ab") as file:
            file.write(self._lines(rows[-1:]))
        return None

    def _lines(self, rows: Sequence[Mapping[str, Any]]) -> bytes:
        text = io.StringIO()
        cells = [[_cell(row.get(name, "")) for name in self.columns] for row in rows]
        csv.writer(text, lineterminator="\n").writerows(cells)
        return text.getvalue().encode()


def _cell(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)

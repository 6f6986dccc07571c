"""How functions are compiled: without Python's lock, and once per machine."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache

_HERE = Path(__file__).parent
_IMPORT = re.compile(rb"^from graft\.ops\.cpu(?:\.(\w+) import|\simport (.+))", re.MULTILINE)


@cache
def _files(path: Path) -> frozenset[Path]:
    """A file of kernels and all that it imports from its folder, near and far."""
    named = b", ".join(one or many for one, many in _IMPORT.findall(path.read_bytes())).decode()
    return frozenset({path}).union(*(_files(_HERE / f"{name.split()[0]}.py") for name in named.split(", ") if name))


def _stamp(path: Path) -> int:
    return zlib.crc32(b"".join(file.read_bytes() for file in sorted({*_files(path), Path(__file__)})))


class _Cache(FunctionCache):
    """numba's cache sees changes of a function's own file only, and kernels are built of functions in several."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._stamp = _stamp(Path(function.__code__.co_filename))

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), self._stamp)


def compiled(function: Callable[..., Any]) -> Any:
    """Compiles a function at its first call for each type of its arguments; machine code is kept on disk.

    Where no folder for it can be written to, each process compiles for itself.
    """
    dispatcher: Any = njit(nogil=True, error_model="numpy")(function)
    with suppress(RuntimeError):  # numba: "no locator available"
        dispatcher._cache = _Cache(dispatcher.py_func)
    return dispatcher


def inlined(function: Callable[..., Any]) -> Any:
    """Compiles a small function into those that call it."""
    return njit(nogil=True, error_model="numpy", forceinline=True)(function)

"""How functions are compiled: without Python's lock, and once per machine."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache

#: numba's cache sees changes of a function's own file only, and kernels are built of functions in several.
_STAMP = zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))


class _Cache(FunctionCache):
    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), _STAMP)


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

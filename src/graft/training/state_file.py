"""Plain values and tensors as a file that PyTorch reads without running anything that stands in it."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graft.errors import GraftError

_PLAIN = (bool, int, float, str, bytes, type(None), torch.Size, torch.dtype, torch.device)
_DICTS, _LISTS = (dict, OrderedDict, Counter), (list, tuple, set)


def encoded(state: dict[str, Any]) -> bytes:
    """Plain values and tensors as bytes.

    Raises:
        GraftError: something in it is of another kind, and could not be read back safely; names it.
    """
    for name, value in _leaves(state, ""):
        if type(value) not in _PLAIN and not isinstance(value, Tensor):
            raise GraftError(f"{name} is a {type(value).__name__}, which a checkpoint cannot hold safely")
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def decoded(path: Path) -> dict[str, Any]:
    """What `encoded` wrote, with tensors on the CPU.

    Raises:
        GraftError: the file is not such a one.
    """
    try:
        _check_sizes(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}, not a dict")
        for name, value in _leaves(state, ""):
            if isinstance(value, Tensor) and value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise ValueError(f"{name} claims more elements than there are")
    # what a damaged archive or pickle gives is one of many
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, EOFError) as error:
        raise GraftError(f"{path} does not hold the state of a run: {_first_line(error)}") from error
    except (pickle.UnpicklingError, zipfile.BadZipFile, NotImplementedError, MemoryError) as error:
        raise GraftError(f"{path} does not hold the state of a run: {_first_line(error)}") from error
    return state


def _check_sizes(path: Path) -> None:
    """PyTorch's archives hold everything as it is; a packed or overlapping one would grow when read."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ValueError("its parts are compressed")
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise ValueError("its parts claim to be larger than the file")


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if type(value) in _DICTS:
        for key, one in value.items():
            yield from _leaves(one, f"{name}.{key}" if name else str(key))
    elif type(value) in _LISTS:
        for number, one in enumerate(value):
            yield from _leaves(one, f"{name}[{number}]")
    else:
        yield name, value


def _first_line(error: BaseException) -> str:
    return str(error).split("\n")[0] or type(error).__name__

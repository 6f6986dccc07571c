"""Files that are whole or absent: written under another name, flushed to the disk, renamed into place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from graft.errors import GraftError

#: How the name of what is being written, or removed, ends; it starts with a full stop.
WRITING, REMOVED = ".writing", ".removed"


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Failures of the file system as errors that name the file and the reason."""
    try:
        yield
    except OSError as error:
        raise GraftError(f"{path} could not be written: {error.strerror or error}") from error


def put(path: Path, content: bytes) -> Path:
    """A file that holds the content or is as it was before.

    Args:
        path: its folder is there.
        content: all of it.

    Returns:
        The path.

    Raises:
        GraftError: the file cannot be written; names it and the reason.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     put(Path(folder, "a"), b"all").read_bytes()
        b'all'
    """
    temporary = path.with_name(f".{path.name}{WRITING}")
    with named(path):
        try:
            _flushed(temporary, content)
            os.replace(temporary, path)
            _settle(path.parent)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    return path


def put_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    """A folder that holds all the files or is not there.

    Args:
        path: what stands there already is replaced.
        files: contents by name.

    Returns:
        The path.

    Raises:
        GraftError: something cannot be written; names it and the reason.
    """
    temporary = path.with_name(f".{path.name}{WRITING}")
    with named(path):
        try:
            _remove(temporary)
            temporary.mkdir()
            for name, content in files.items():
                with named(path / name):
                    _flushed(temporary / name, content)
            _settle(temporary)
            discard(path)
            os.rename(temporary, path)
            _settle(path.parent)
        except (OSError, GraftError):
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return path


def discard(path: Path) -> None:
    """Remove a folder so that no half of it is ever seen under its name."""
    if not path.exists():
        return
    with named(path):
        gone = path.with_name(f".{path.name}{REMOVED}")
        _remove(gone)
        os.rename(path, gone)
        _remove(gone)


def sweep(folder: Path) -> None:
    """Remove what interrupted writes left in a folder."""
    for left in folder.glob(".*"):
        if left.name.endswith((WRITING, REMOVED)):
            with named(left):
                _remove(left)


def _flushed(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _settle(folder: Path) -> None:
    """Names are on the disk only once their folder is."""
    if os.name == "nt":  # folders cannot be opened there, and need not be
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

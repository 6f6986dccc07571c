"""What downloads share: one file from one address, digests, and writing files whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from graft.errors import DataError


def retrieve(url: str, scratch: Path, sha256: str | None = None) -> Path:
    """Download one file into an empty folder.

    Args:
        url: its address.
        scratch: the folder.
        sha256: what the file must have, if that is known.

    Raises:
        DataError: the download fails, or another file came.
    """
    import pooch  # needed for downloads only

    known = None if sha256 is None else f"sha256:{sha256}"
    try:
        return Path(pooch.retrieve(url, known_hash=known, fname="download", path=scratch))
    except (OSError, ValueError) as error:
        raise DataError(f"{url} could not be downloaded: {error}") from error


def sha256(content: bytes) -> str:
    """The digest, in hexadecimal.

    Example:
        >>> sha256(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(content).hexdigest()


def digest(hashes: Mapping[str, str]) -> str:
    """One digest of many files, given the SHA-256 of each by name; the order does not matter.

    Example:
        >>> digest({"b": "12", "a": "34"}) == digest({"a": "34", "b": "12"})
        True
    """
    return sha256("".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)).encode())


def write(contents: Mapping[str, bytes], target: Path) -> None:
    """Write files by name into a folder, which is made if need be.

    Raises:
        DataError: the folder cannot be made or written to.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            # a file is whole or absent, even if the process is killed
            partial = target / f".{name}.partial"
            partial.write_bytes(content)
            os.replace(partial, target / name)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error}") from error

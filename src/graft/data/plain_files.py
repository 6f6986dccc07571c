"""A data set that comes as several files, each from the first of several mirrors that has it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graft.data.download import retrieve, sha256, write
from graft.errors import DataError


@dataclass(frozen=True)
class PlainFiles:
    """Where the files come from and what they must be.

    Args:
        mirrors: addresses before the files' names, in the order in which they are tried.
        hashes: SHA-256 of each file, by name.
    """

    mirrors: tuple[str, ...]
    hashes: Mapping[str, str]

    def bring(self, folder: Path) -> None:
        """Download into `folder` what it lacks; all of it is at hand and checked before anything is written.

        Raises:
            DataError: no mirror has a file as it must be.
        """
        contents = {name: self._download(name) for name in self.missing(folder)}
        write(contents, folder)

    def missing(self, folder: Path) -> list[str]:
        """Names of the files that are not there, or not as they must be (other files there are ignored)."""
        return [name for name, wanted in self.hashes.items() if not _holds(folder / name, wanted)]

    def _download(self, name: str) -> bytes:
        faults = []
        for mirror in self.mirrors:
            # a folder for each, so that what one mirror left is not taken for another's
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    return retrieve(mirror + name, Path(scratch), self.hashes[name]).read_bytes()
                except DataError as error:
                    faults.append(str(error))
        raise DataError(f"no mirror has {name}:\n" + "\n".join(faults))


def _holds(path: Path, wanted: str) -> bool:
    return path.is_file() and sha256(path.read_bytes()) == wanted

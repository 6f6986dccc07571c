"""A data set that comes as one zip archive."""

from __future__ import annotations

import re
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from graft.data.download import digest, retrieve, sha256, write
from graft.errors import DataError


@dataclass(frozen=True)
class Archive:
    """Where an archive comes from and what it must contain.

    Its files are checked one by one before anything is written; only the members that belong to the data set are
    taken out.

    Args:
        url: a zip archive.
        member: pattern of the paths to take out; its first group is the file's name in `subfolder`.
        subfolder: where the files go, inside the user's folder.
        files: how many there are.
        largest: bytes that no file exceeds, which guards against an archive that explodes.
        digest: SHA-256 of the lines "<SHA-256 of the file>  <name>", sorted by name.
    """

    url: str
    member: re.Pattern[str]
    subfolder: str
    files: int
    largest: int
    digest: str

    def bring(self, folder: Path) -> None:
        """Download into `folder` unless all is there.

        Raises:
            DataError: the download fails, or what came is not the data set.
        """
        if self.is_complete(folder):
            return
        with tempfile.TemporaryDirectory() as scratch:
            # the digest of the archive itself is not fixed: the host packs it anew; its files are checked instead
            contents = self._unpack(retrieve(self.url, Path(scratch)))
        write(contents, folder / self.subfolder)

    def is_complete(self, folder: Path) -> bool:
        """Whether the files of the data set are all there, unaltered (other files there are ignored)."""
        target = folder / self.subfolder
        if not target.is_dir():
            return False
        paths = [path for path in target.iterdir() if self._belongs(path.name)]
        return digest({path.name: sha256(path.read_bytes()) for path in paths}) == self.digest

    def _unpack(self, archive: Path) -> dict[str, bytes]:
        """The contents of the data set's files by name, checked; nothing is written."""
        try:
            with zipfile.ZipFile(archive) as packed:
                wanted = [item for item in packed.infolist() if self._wanted(item)]
                contents = {self._name(item): packed.read(item) for item in wanted}
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise DataError(f"what came from {self.url} is not a zip archive: {error}") from error
        if len(contents) != self.files:
            raise DataError(f"{self.url} holds {len(contents)} files of the data set; expected {self.files}")
        if digest({name: sha256(content) for name, content in contents.items()}) != self.digest:
            raise DataError(f"the files from {self.url} are not those of the data set: their digest differs")
        return contents

    def _wanted(self, item: zipfile.ZipInfo) -> bool:
        if self.member.fullmatch(item.filename) is None:
            return False
        if item.file_size > self.largest:
            raise DataError(f"{item.filename} from {self.url} is too large: {item.file_size} bytes")
        return True

    def _name(self, item: zipfile.ZipInfo) -> str:
        match = self.member.fullmatch(item.filename)
        assert match is not None
        return match[1]

    def _belongs(self, name: str) -> bool:
        return self.member.fullmatch(str(PurePosixPath("-", self.subfolder, name))) is not None

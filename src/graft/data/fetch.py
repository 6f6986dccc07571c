"""Downloads of the data sets that graft reads: `fetch("fsdd", folder)`.

An archive from the data set's own repository is checked against a digest in this file, file by file, before
anything is written; only the members that belong to the data set are taken out of it.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from graft.errors import DataError


@dataclass(frozen=True)
class Source:
    """Where a data set comes from and what it must contain.

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


SOURCES = {
    # recordings of Z. Jackson and others, CC BY-SA 4.0
    "fsdd": Source(
        url="https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aa.zip",
        member=re.compile(r"[^/]+/recordings/([0-9]_[a-z]+_[0-9]+\.wav)"),
        subfolder="recordings",
        files=3000,
        largest=1 << 20,
        digest="1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959",
    ),
    # annotations of Universal Dependencies 2.16, CC BY-SA 4.0; the texts have various owners
    "ud_english_ewt": Source(
        url="https://github.com/UniversalDependencies/UD_English-EWT/archive/15d613d.zip",
        member=re.compile(r"[^/]+/(en_ewt-ud-(?:train|dev|test)\.conllu)"),
        subfolder="",
        files=3,
        largest=1 << 25,
        digest="ae69dea11c1e577d53ba2e9264f6bfe8ace7b099502459decb60ad26c323ad89",
    ),
}


def fetch(name: str, folder: str | Path) -> Path:
    """Download a data set into `folder` unless it is there already, and return the folder.

    Args:
        name: "fsdd", the Free Spoken Digit Dataset (21 MB, CC BY-SA 4.0), or "ud_english_ewt", a treebank (Universal
            Dependencies 2.16, 18 MB; annotations CC BY-SA 4.0).
        folder: made if need be.

    Raises:
        DataError: the name is unknown, the download fails, or what came is not the data set.

    Example:
        >>> fetch("timit", "data")
        Traceback (most recent call last):
        graft.errors.DataError: unknown data set 'timit'; graft can fetch: fsdd, ud_english_ewt
    """
    if name not in SOURCES:
        raise DataError(f"unknown data set {name!r}; graft can fetch: {', '.join(SOURCES)}")
    source, folder = SOURCES[name], Path(folder)
    target = folder / source.subfolder
    if not is_complete(target, source):
        with tempfile.TemporaryDirectory() as scratch:
            contents = _unpack(_download(source, Path(scratch)), source)
        _write(contents, target)
    return folder


def is_complete(target: Path, source: Source) -> bool:
    """Whether the files of the data set are all in `target`, unaltered (other files there are ignored)."""
    if not target.is_dir():
        return False
    paths = [path for path in target.iterdir() if _belongs(path.name, source)]
    hashes = {path.name: _sha256(path.read_bytes()) for path in paths}
    return digest(hashes) == source.digest


def digest(hashes: dict[str, str]) -> str:
    """One digest of many files, given the SHA-256 of each by name; the order does not matter.

    Example:
        >>> digest({"b": "12", "a": "34"}) == digest({"a": "34", "b": "12"})
        True
    """
    return _sha256("".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)).encode())


def _download(source: Source, scratch: Path) -> Path:
    import pooch  # needed for downloads only

    try:
        # the digest of the archive itself is not fixed: the host packs it anew; its files are checked instead
        return Path(pooch.retrieve(source.url, known_hash=None, fname="archive.zip", path=scratch))
    except OSError as error:
        raise DataError(f"{source.url} could not be downloaded: {error}") from error


def _unpack(archive: Path, source: Source) -> dict[str, bytes]:
    """The contents of the data set's files by name, checked; nothing is written."""
    try:
        with zipfile.ZipFile(archive) as packed:
            wanted = [item for item in packed.infolist() if _wanted(item, source)]
            contents = {_name(item, source): packed.read(item) for item in wanted}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DataError(f"what came from {source.url} is not a zip archive: {error}") from error
    if len(contents) != source.files:
        raise DataError(f"{source.url} holds {len(contents)} files of the data set; expected {source.files}")
    if digest({name: _sha256(content) for name, content in contents.items()}) != source.digest:
        raise DataError(f"the files from {source.url} are not those of the data set: their digest differs")
    return contents


def _wanted(item: zipfile.ZipInfo, source: Source) -> bool:
    if source.member.fullmatch(item.filename) is None:
        return False
    if item.file_size > source.largest:
        raise DataError(f"{item.filename} from {source.url} is too large: {item.file_size} bytes")
    return True


def _name(item: zipfile.ZipInfo, source: Source) -> str:
    match = source.member.fullmatch(item.filename)
    assert match is not None
    return match[1]


def _belongs(name: str, source: Source) -> bool:
    return source.member.fullmatch(str(PurePosixPath("-", source.subfolder, name))) is not None


def _write(contents: dict[str, bytes], target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        # a file is whole or absent, even if the process is killed
        partial = target / f".{name}.partial"
        partial.write_bytes(content)
        os.replace(partial, target / name)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

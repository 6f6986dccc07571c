"""The text of a file, plain or gzip, and errors that name its lines."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from graft.errors import DataError, FormatError

#: No network that fits into memory as tables is longer; a small gzip file can claim any length.
LONGEST = 2**30

_GZIP = b"\x1f\x8b"


@runtime_checkable
class Readable(Protocol):
    """An open file, of text or of bytes."""

    def read(self) -> str | bytes:
        """All that is left of it."""


#: What can be read: a path, or an open file.
File = str | os.PathLike[str] | Readable


@dataclass(frozen=True)
class Source:
    """A text and where it comes from.

    Attributes:
        name: of the file, for messages.
        text: all of it, lines ended by a line feed.
    """

    name: str
    text: str

    def error(self, rule: str, at: int) -> FormatError:
        """The error that names the line of a character.

        Example:
            >>> Source("a.uai", "MARKOV\\nx").error("a number is expected, not 'x'", 7).line
            2
        """
        return FormatError(rule, self.name, self.text.count("\n", 0, at) + 1)


def opened(source: File) -> Source:
    """Read all of a file.

    Args:
        source: a path, or an open file of text or bytes; bytes may be gzip.

    Returns:
        Its text.

    Raises:
        DataError: there is no such file.
        FormatError: it is no text in UTF-8, or broken gzip.

    Example:
        >>> opened(io.BytesIO(gzip.compress(b"MARKOV"))).text
        'MARKOV'
    """
    name = name_of(source)
    content = _content(source, name)
    if isinstance(content, bytes):
        content = _decoded(_unpacked(content, name), name)
    # a text may begin with a byte-order mark; one that was opened as UTF-8 still has it
    content = content.removeprefix("\ufeff")
    return Source(name, content.replace("\r\n", "\n").replace("\r", "\n"))


def name_of(source: File) -> str:
    """What messages call a file.

    Example:
        >>> name_of(Path("nets", "asia.bif")), name_of(io.StringIO("MARKOV"))
        ('asia.bif', 'the file')
    """
    if isinstance(source, str | os.PathLike):
        return Path(source).name
    name = getattr(source, "name", None)
    return Path(name).name if isinstance(name, str) else "the file"


def _content(source: File, name: str) -> bytes | str:
    if not isinstance(source, str | os.PathLike):
        return source.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise DataError(f"{source} could not be read: {error.strerror or error}") from error


def _unpacked(content: bytes, name: str) -> bytes:
    if not content.startswith(_GZIP):
        if name.endswith(".gz"):
            raise FormatError("the name ends in .gz, but the content is no gzip", name)
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(LONGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FormatError(f"broken gzip: {error}", name) from error
    if len(unpacked) > LONGEST:
        raise FormatError(f"unpacks to more than {LONGEST:,} bytes", name)
    return unpacked


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FormatError(
            f"a text in UTF-8 is expected; byte {content[error.start]:#04x} is none", name, line
        ) from None

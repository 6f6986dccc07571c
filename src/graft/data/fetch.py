"""Downloads of the data sets that graft reads: `fetch("mnist", folder)`.

What comes is checked against digests in this file before anything is written.
"""

from __future__ import annotations

import re
from pathlib import Path

from graft.data.archive import Archive
from graft.data.plain_files import PlainFiles
from graft.errors import DataError

SOURCES: dict[str, Archive | PlainFiles] = {
    # recordings of Z. Jackson and others, CC BY-SA 4.0
    "fsdd": Archive(
        url="https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aa.zip",
        member=re.compile(r"[^/]+/recordings/([0-9]_[a-z]+_[0-9]+\.wav)"),
        subfolder="recordings",
        files=3000,
        largest=1 << 20,
        digest="1801eae019c063377d98f831d3f93574f259475df7332bb0e3d1b080fb5e6959",
    ),
    # annotations of Universal Dependencies 2.16, CC BY-SA 4.0; the texts have various owners
    "ud_english_ewt": Archive(
        url="https://github.com/UniversalDependencies/UD_English-EWT/archive/15d613d.zip",
        member=re.compile(r"[^/]+/(en_ewt-ud-(?:train|dev|test)\.conllu)"),
        subfolder="",
        files=3,
        largest=1 << 25,
        digest="ae69dea11c1e577d53ba2e9264f6bfe8ace7b099502459decb60ad26c323ad89",
    ),
    # images of Y. LeCun, C. Cortes and C. Burges; their own site no longer hands them out
    "mnist": PlainFiles(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        hashes={
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
}


def fetch(name: str, folder: str | Path) -> Path:
    """Download a data set into `folder` unless it is there already, and return the folder.

    Args:
        name: "fsdd", the Free Spoken Digit Dataset (21 MB, CC BY-SA 4.0); "ud_english_ewt", a treebank (Universal
            Dependencies 2.16, 18 MB; annotations CC BY-SA 4.0); or "mnist", handwritten digits (12 MB).
        folder: made if need be.

    Raises:
        DataError: the name is unknown, the download fails, what came is not the data set, or the folder cannot be
            written to.

    Example:
        >>> fetch("timit", "data")
        Traceback (most recent call last):
        graft.errors.DataError: unknown data set 'timit'; graft can fetch: fsdd, ud_english_ewt, mnist
    """
    if name not in SOURCES:
        raise DataError(f"unknown data set {name!r}; graft can fetch: {', '.join(SOURCES)}")
    folder = Path(folder)
    SOURCES[name].bring(folder)
    return folder

"""`write`: a model to a file, by the ending of its name."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from graft.errors import GraftError
from graft.formats.bif_writing import text_of as bif_text
from graft.formats.network import Kind
from graft.formats.networks import network_of
from graft.formats.reading import format_of
from graft.formats.uai_writing import text_of as uai_text
from graft.model import Model


def write(model: Model, path: str | os.PathLike[str], *, kind: Kind | None = None) -> Path:
    """Write a model of discrete variables to a BIF or UAI file.

    Factors are tabulated over all states of their variables, networks among them, as in evaluation mode. Numbers are
    written so that they read back to the same float64; a model that came from a file is written with decimals that
    give its tables back to the bit. The file is whole or as it was before.

    Args:
        model: with discrete variables alone, without axes and inputs.
        path: ends in .bif or .uai, possibly followed by .gz.
        kind: of a UAI file, "BAYES" or "MARKOV"; by default BAYES where every factor is a conditional.

    Returns:
        The path.

    Raises:
        FormatError: the model is more than the format can say; nothing is written.
        GraftError: the file cannot be written.

    Example:
        >>> import tempfile, torch
        >>> from graft.factors import Categorical
        >>> from graft.formats.reading import read
        >>> model = Model({"rain": Categorical(probs=torch.tensor([0.8, 0.2]))}, labels={"rain": ["no", "yes"]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     read(write(model, Path(folder, "rain.bif.gz"))).graph.variables["rain"].labels
        ('no', 'yes')
    """
    path = Path(path)
    format = format_of(path)
    if kind not in (None, "BAYES", "MARKOV"):
        raise GraftError(f"kind is 'BAYES' or 'MARKOV', not {kind!r}")
    if format == "bif" and kind == "MARKOV":
        raise GraftError("a BIF file holds a directed network: kind='MARKOV' is of UAI files")
    kind = kind or ("BAYES" if model.graph.directed or format == "bif" else "MARKOV")
    network = network_of(model, kind, path.name)
    text = bif_text(network, path.name) if format == "bif" else uai_text(network)
    return put(path, text)


def put(path: Path, text: str) -> Path:
    """A file that holds the text, packed if its name ends in .gz, or is as it was before.

    Raises:
        GraftError: it cannot be written; names it and the reason.
    """
    content = text.encode()
    if path.name.lower().endswith(".gz"):
        # without a time, so that the same model makes the same file
        content = gzip.compress(content, mtime=0)
    try:
        _put(path, content)
    except OSError as error:
        raise GraftError(f"{path} could not be written: {error.strerror or error}") from error
    return path


def _put(path: Path, content: bytes) -> None:
    """Under another name first, flushed to the disk, then renamed."""
    temporary = path.with_name(f".{path.name}.writing")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise

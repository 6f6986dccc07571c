"""`read`: a model from a file, by the ending of its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from graft.errors import FormatError, GraftError
from graft.formats.bif_reading import parse as parse_bif
from graft.formats.models import model_of
from graft.formats.network import Network
from graft.formats.source import File, Source, name_of, opened
from graft.formats.uai_reading import parse as parse_uai
from graft.model import Model

PARSERS: Mapping[str, Callable[[Source], Network]] = MappingProxyType({"bif": parse_bif, "uai": parse_uai})


def read(source: File, *, format: str | None = None, dtype: torch.dtype = torch.float64) -> Model:
    r"""A model from a BIF or UAI file.

    A BIF file, and a UAI file that says BAYES, gives conditionals, $p(x) = \prod_i p(x_i \mid x_{\mathrm{pa}(i)})$; a
    UAI file that says MARKOV gives potentials, $p(x) = \frac{1}{Z} \prod_f f(x_f)$. Zeros stay exact. Rows of
    probabilities that sum to one within 1e-4 are renormalised. Nothing in the file is executed.

    Args:
        source: a path that ends in .bif or .uai, possibly followed by .gz, or an open file of text or bytes.
        format: "bif" or "uai", where the name does not tell.
        dtype: of the tables, float64 or float32.

    Returns:
        A model; names of states are its labels. Variables of a UAI file are called x0, x1, ...

    Raises:
        FormatError: the file is not what its format asks for; names the line, what was found and what was expected.
        DataError: there is no such file.
        GraftError: the format is not known.

    Source: F. G. Cozman, The Interchange Format for Bayesian Networks, version 0.15 (1998); the model format of the UAI
    inference competitions (2006 to 2022).

    Example:
        >>> import io
        >>> text = '''
        ... variable rain { type discrete [ 2 ] { no, yes }; }
        ... variable wet { type discrete [ 2 ] { no, yes }; }
        ... probability ( rain ) { table 0.8, 0.2; }
        ... probability ( wet | rain ) { (no) 0.9, 0.1; (yes) 0.2, 0.8; }
        ... '''
        >>> model = read(io.StringIO(text), format="bif")
        >>> model.given(wet=torch.tensor(1)).marginals["rain"].probs.detach()
        tensor([0.3333, 0.6667], dtype=torch.float64)
    """
    if dtype not in (torch.float64, torch.float32):
        raise GraftError(f"dtype is torch.float64 or torch.float32, not {dtype}")
    parse = PARSERS[format_of(source, format)]
    return model_of(parse(opened(source)), dtype)


def format_of(source: File, told: str | None = None) -> str:
    """The format that was told, or that the ending of a name tells.

    Raises:
        GraftError: neither does.

    Example:
        >>> format_of("nets/asia.bif.gz"), format_of("grid.uai")
        ('bif', 'uai')
    """
    if told is None:
        name = name_of(source).lower()
        told = name.removesuffix(".gz").rpartition(".")[2]
        if told not in PARSERS:
            raise FormatError(
                "the name should end in .bif or .uai (or these and .gz); else say format=", name_of(source)
            )
    if told not in PARSERS:
        raise GraftError(f"format is {' or '.join(map(repr, PARSERS))}, not {told!r}")
    return told

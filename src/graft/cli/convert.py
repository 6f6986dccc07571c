"""`graft convert FROM TO`: networks of tables from one file format to another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from graft.cli.settings import wants_help
from graft.errors import GraftError
from graft.formats.names import order
from graft.formats.network import Kind
from graft.formats.reading import format_of, read
from graft.formats.writing import write
from graft.model import Model

_HELP = """graft convert FROM TO [kind=BAYES|MARKOV]: reads a network from one file and writes it to another

  FROM, TO   files that end in .bif or .uai, possibly followed by .gz
  kind=KIND  of a UAI file; BAYES by default where every factor is a conditional, else MARKOV"""
_SHOWN = 8


def convert(words: Sequence[str]) -> int:
    """Read a network and write it in the format that the other file's name tells.

    Args:
        words: two files, then possibly kind=BAYES or kind=MARKOV.

    Raises:
        GraftError: too few or too many words, a file that is wrong or cannot be written.
    """
    if wants_help(words):
        print(_HELP)
        return 0
    if len(words) not in (2, 3):
        raise GraftError("say which files: graft convert FROM TO [kind=BAYES|MARKOV]")
    start, end = Path(words[0]), Path(words[1])
    kind = _kind(words[2:])
    target = format_of(end)
    if end.exists() and start.exists() and end.samefile(start):
        raise GraftError(f"{start} and {end} are one file")
    model = read(start)
    write(model, end, kind=kind)
    print(f"read {start}: {_measure(model)}")
    if target == "uai" and (lost := _lost(model)):
        print(lost)
    print(f"wrote {end}")
    return 0


def _kind(words: Sequence[str]) -> Kind | None:
    if not words:
        return None
    kinds: dict[str, Kind] = {"kind=BAYES": "BAYES", "kind=MARKOV": "MARKOV"}
    if words[0] not in kinds:
        raise GraftError(f"graft convert takes {' or '.join(kinds)} after the files, not {words[0]!r}")
    return kinds[words[0]]


def _measure(model: Model) -> str:
    entries = sum(parameter.numel() for parameter in model.parameters())
    what = "conditionals" if model.graph.directed else "potentials"
    return f"{len(model.graph.variables)} variables, {len(model.graph.nodes)} {what}, {entries:,} entries"


def _lost(model: Model) -> str:
    """What a UAI file has no place for."""
    names = order(model)
    if names == tuple(f"x{place}" for place in range(len(names))):
        return ""
    shown = ", ".join(f"{place} {name}" for place, name in enumerate(names[:_SHOWN]))
    return f"UAI has numbers for names: {shown}{', ...' if len(names) > _SHOWN else ''}"

"""Directed networks as BIF texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from graft.errors import FormatError
from graft.formats.network import Network, Table, Variable

#: What may stand without quotes: no mark, no white space, nothing that begins a comment.
_BARE = re.compile(r'(?:[^\s{}()\[\],;|"/\x00-\x1f\x7f]|/(?![/*]))+')
_SAYABLE = re.compile(r'[^"\x00-\x1f\x7f]+')


def text_of(network: Network, name: str) -> str:
    """The BIF text of a network.

    States without names are called s0, s1, ...

    Args:
        network: directed.
        name: of the file, for messages.

    Raises:
        FormatError: a name that BIF cannot say.

    Example:
        >>> from graft.formats.bif_reading import parse
        >>> from graft.formats.source import Source
        >>> text = "variable rain {type discrete[2] {no, yes};} probability (rain) {table 0.8 0.2;}"
        >>> print(text_of(parse(Source("a.bif", text)), "b.bif"), end="")
        network unknown {
        }
        variable rain {
          type discrete [ 2 ] { no, yes };
        }
        probability ( rain ) {
          table 0.8, 0.2;
        }
    """
    words = {variable.name: _word(variable.name, name) for variable in network.variables}
    states = [tuple(_word(label, name) for label in _labels(variable)) for variable in network.variables]
    names = tuple(words[variable.name] for variable in network.variables)
    return "".join(f"{line}\n" for line in _lines(network, names, states))


def _labels(variable: Variable) -> tuple[str, ...]:
    return variable.labels or tuple(f"s{number}" for number in range(variable.states))


def _word(text: str, name: str) -> str:
    """A name as BIF has it, in quotes where it needs them.

    Raises:
        FormatError: no quotes can hold it.
    """
    if not _SAYABLE.fullmatch(text):
        raise FormatError(f"BIF cannot say the name {text!r}: it is empty, or has quotes or control characters", name)
    return text if _BARE.fullmatch(text) else f'"{text}"'


def _lines(network: Network, names: tuple[str, ...], states: list[tuple[str, ...]]) -> Iterator[str]:
    yield from ("network unknown {", "}")
    for name, labels in zip(names, states, strict=True):
        yield f"variable {name} {{"
        yield f"  type discrete [ {len(labels)} ] {{ {', '.join(labels)} }};"
        yield "}"
    for table in network.tables:
        yield from _block(table, names, states)


def _block(table: Table, names: tuple[str, ...], states: list[tuple[str, ...]]) -> Iterator[str]:
    *parents, child = table.scope
    bar = f" | {', '.join(names[place] for place in parents)}" if parents else ""
    yield f"probability ( {names[child]}{bar} ) {{"
    rows = table.values.reshape(-1, table.values.shape[-1]).tolist()
    for key, row in zip(product(*(states[place] for place in parents)), rows, strict=True):
        start = f"({', '.join(key)})" if parents else "table"
        yield f"  {start} {', '.join(map(repr, row))};"
    yield "}"

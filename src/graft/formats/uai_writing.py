"""Networks as UAI texts."""

from __future__ import annotations

from collections.abc import Iterator

from graft.formats.network import Network, Table


def text_of(network: Network) -> str:
    """The UAI text of a network; names of variables and states have no place in it.

    Args:
        network: directed or not.

    Example:
        >>> from graft.formats.uai_reading import parse
        >>> from graft.formats.source import Source
        >>> print(text_of(parse(Source("a.uai", "BAYES 1 2 1 1 0 2 .25 .75"))), end="")
        BAYES
        1
        2
        1
        1 0
        <BLANKLINE>
        2
        0.25 0.75
    """
    return "".join(f"{line}\n" for line in _lines(network))


def _lines(network: Network) -> Iterator[str]:
    yield network.kind
    yield str(len(network.variables))
    yield " ".join(str(variable.states) for variable in network.variables)
    yield str(len(network.tables))
    for table in network.tables:
        yield " ".join(map(str, (len(table.scope), *table.scope)))
    for table in network.tables:
        yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    yield ""
    yield str(table.values.numel())
    for row in table.values.reshape(-1, table.values.shape[-1]).tolist():
        yield " ".join(map(repr, row))

"""Mutated files: an accepted one means exactly what its text says, any other gives an error with its line.

What a text says is told by an independent reader. Seeds are fixed, so these tests always or never fail.
"""

import io
import math
import random
import signal
from contextlib import contextmanager
from itertools import product

import pytest
from tests.reference import formats as reference
from tests.reference.formats_mutants import mutant
from tests.reference.formats_texts import BIF, UAI

from graft import formats
from graft.errors import FormatError

#: Mutants in one test.
EACH = 100
#: Far more than any needs: what takes longer hangs.
SECONDS = 20


@contextmanager
def bounded():
    """A mutant that hangs fails, instead of holding up the tests."""

    def stop(*_):
        raise TimeoutError(f"more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def meaning(content, read):
    """What the independent reader makes of it, or None."""
    try:
        return read(content.decode("utf-8-sig"))
    except (reference.Wrong, UnicodeDecodeError):
        return None


def accepted(content, format):
    """The model, or None where an error with a line within the text refuses it."""
    try:
        return formats.read(io.BytesIO(content), format=format)
    except FormatError as error:
        line = error.line
    assert line is not None
    assert 1 <= line <= content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1
    return None


def near(found, expected):
    """Zeros are exact; other numbers are equal up to rounding."""
    return (found == 0) == (expected == 0) and math.isclose(found, expected, rel_tol=1e-9)


def assert_bif(said, content, model):
    states, tables = said
    assert {name: list(v.labels) for name, v in model.graph.variables.items()} == states
    assert len(model.graph.nodes) == len(tables)
    for node in model.graph.nodes:
        parents, rows = tables[node.head.name]
        assert tuple(term.name for term in node.reads) == parents
        flat = [value for key in product(*(states[name] for name in parents)) for value in rows[key]]
        assert all(map(near, node.module.table.exp().flatten().tolist(), flat))


def assert_uai(said, content, model):
    kind, sizes, tables = said
    assert model.graph.directed == (kind == "BAYES")
    assert {name: v.support.states for name, v in model.graph.variables.items()} == {
        f"x{place}": size for place, size in enumerate(sizes)
    }
    for node, (scope, values) in zip(model.graph.nodes[: len(tables)], tables, strict=True):
        found = node.module.table if kind == "BAYES" else node.module.values
        terms = (*node.reads, node.head) if kind == "BAYES" else node.formula.left
        if scope:
            assert tuple(term.name for term in terms) == tuple(f"x{place}" for place in scope)
        assert all(map(near, found.exp().flatten().tolist(), values if scope else values * found.numel()))
    ones = model.graph.nodes[len(tables) :]
    assert all(bool((node.module.values == 0).all()) for node in ones)


#: How to read each format otherwise, how to compare, and what to mutate.
FORMATS = {
    "bif": (reference.bif, assert_bif, list(BIF.values())),
    "uai": (reference.uai, assert_uai, list(UAI.values())),
}


def run(format, seed, folder):
    """So many mutants; returns how many were accepted."""
    read, same, texts = FORMATS[format]
    draw, count = random.Random(f"{format} {seed}"), 0
    for _ in range(EACH):
        content = mutant(draw.choice(texts), draw)
        with bounded():
            said, model = meaning(content, read), accepted(content, format)
            assert (said is None) == (model is None), content
            if model is None:
                continue
            same(said, content, model)
            again = formats.write(model, folder / f"again.{format}").read_bytes()
            assert_same_text(format, said, meaning(again, read), again)
        count += 1
    return count


def assert_same_text(format, said, again, content):
    """The written text means the same, told by the independent reader alone."""
    if format == "bif":
        (states, tables), (others, written) = said, again
        assert states == others
        assert {n: parents for n, (parents, _) in tables.items()} == {n: parents for n, (parents, _) in written.items()}
        pairs = []
        for name, (_, rows) in tables.items():
            assert rows.keys() == written[name][1].keys()
            pairs += [pair for key, row in rows.items() for pair in zip(row, written[name][1][key], strict=True)]
    else:
        assert said[:2] == again[:2]
        pairs = []
        for (scope, values), (other, found) in zip(said[2], again[2][: len(said[2])], strict=True):
            assert not scope or scope == other
            pairs += zip(values if scope else values * len(found), found, strict=True)
        assert all(value == 1 for _, values in again[2][len(said[2]) :] for value in values)
    assert all(near(float(a), float(b)) for a, b in pairs), content


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("format", FORMATS)
def test_mutants(format, seed, tmp_path):
    assert 0 < run(format, seed, tmp_path) < EACH


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5, 40))
@pytest.mark.parametrize("format", FORMATS)
def test_more_mutants(format, seed, tmp_path):
    assert 0 < run(format, seed, tmp_path) < EACH
